"""The explorer as a browser draws it: no text leaves its box, keys lead to every bit, and it answers in JupyterLab."""

import json
import os

import pytest
from test_browser import COMPLAINTS, MODEL, blank_page, chromium, is_labs_own, jupyterlab, pytestmark
from test_explorer import many, view_of

import efimm
from benchmarks.views.lab import run_all
from efimm.machines import table_files
from efimm.show.drawing.kit import WIDTH
from efimm.show.drawing.shapes import PATTERNS
from efimm.show.explorer.scene import cell_rows, draw
from efimm.x86 import load_tables

__all__ = ["chromium", "pytestmark"]  # a fixture and the marks of this module: pytest finds them by name

# Texts that stand in a cell and run out of it on either side.
OUT_OF_CELLS = """
(root) => {
  const texts = [...root.querySelectorAll("svg.picture text")];
  const boxes = [...root.querySelectorAll("svg.picture rect.bit")].map((node) => node.getBoundingClientRect());
  const wrong = [];
  for (const node of texts) {
    const a = node.getBoundingClientRect(), x = (a.left + a.right) / 2, y = (a.top + a.bottom) / 2;
    const home = boxes.filter((b) => b.left < x && x < b.right && b.top < y && y < b.bottom)
        .sort((one, other) => one.width - other.width)[0];
    if (home && (a.left < home.left || a.right > home.right || a.top < home.top - 1 || a.bottom > home.bottom + 1)) {
      wrong.push("runs out of its cell: " + node.textContent);
    }
  }
  return wrong;
}
"""
SCRIPTS = ("picture.js", "explorer.js")


def packed(found):
    scene = draw(found)
    shapes = [shape.plain() for shape in scene.shapes]
    pools = {"width": WIDTH, "patterns": {k: list(v) for k, v in PATTERNS.items()}, "shapes": shapes}
    return [[scene.height, scene.title, scene.description, list(range(len(shapes)))], pools]


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.nightly)])
def test_no_text_overlaps_or_leaves_its_cell(chromium, every):
    page = blank_page(chromium)
    assert len(list(many())) > 200
    walks = list(many())[::every]
    draw_all = f"""
    (scenes) => scenes.map(([scene, pools]) => {{
      const root = document.getElementById("root");
      root.replaceChildren(drawScene(scene, pools));
      return [...({COMPLAINTS})(root), ...({OUT_OF_CELLS})(root)];
    }})"""
    found = page.evaluate(draw_all, [packed(walk) for walk in walks])
    page.close()

    assert {k: (hex(walks[k].va), walks[k].mode, wrong) for k, wrong in enumerate(found) if wrong} == {}


def test_the_check_itself_sees_a_text_that_is_too_long(chromium):
    page = blank_page(chromium)
    bad = """<svg class="picture" viewBox="0 0 960 100" width="960"><rect class="bit" x="100" y="10" width="40"
        height="30"/><text class="middle" x="120" y="30">much too long</text></svg>"""
    page.evaluate("(html) => { document.getElementById('root').innerHTML = html; }", bad)
    found = page.evaluate(OUT_OF_CELLS, page.query_selector("#root"))
    page.close()

    assert found == ["runs out of its cell: much too long"]


def shown(chromium, view, width=1000):
    page = blank_page(chromium, width, SCRIPTS)
    state = {name: value for name, value in view.get_state().items() if name in view.traits(sync=True)}
    plain = {name: value for name, value in state.items() if not name.startswith("_") and name != "layout"}
    page.evaluate(MODEL, json.loads(json.dumps(plain)))
    return page


def test_keys_lead_to_every_bit_and_its_meaning_is_said(chromium):
    view = view_of(None, "0x402000", access="fetch")
    page = shown(chromium, view)
    page.locator("details summary").focus()
    page.keyboard.press("Shift+Tab")
    told = []
    for row in cell_rows(view.explained):
        page.keyboard.press("Home")
        for cell in row.cells:
            told.append((page.locator("p.about").inner_text(), f"{row.name}: {cell.meaning}"))
            page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
    stops = page.locator("svg [tabindex='0']").count()
    page.close()

    assert [one for one, _ in told] == [" ".join(other.split()) for _, other in told]
    assert len(told) > 60
    assert stops == 1


def test_controls_ask_python_once_with_what_was_chosen(chromium):
    page = shown(chromium, view_of())
    page.evaluate("model.saved = 0; model.save_changes = () => { model.saved += 1; }; null")
    page.get_by_label("Address", exact=True).fill("0x7000")
    page.keyboard.press("Enter")
    page.get_by_role("combobox", name="Mode", exact=True).select_option("PAE")
    page.get_by_label("CR4.SMAP").check()
    page.get_by_label("Kind of access").select_option("write")
    asked = page.evaluate("[model.saved, ...['address', 'again', 'mode', 'smap', 'access'].map((k) => model.get(k))]")
    page.close()

    assert asked == [4, "0x7000", 1, "PAE", True, "write"]


def test_a_mistake_is_told_beside_the_old_picture(chromium):
    view = view_of()
    view.address = "hello"
    page = shown(chromium, view)
    said, drawn = page.locator("p.feedback").inner_text(), page.locator("svg.walk").count()
    page.close()

    assert said.startswith("'hello': expected an address")
    assert drawn == 1


def test_a_phone_scrolls_the_picture_and_cuts_nothing(chromium):
    page = shown(chromium, view_of(efimm.boot(efimm.machine("2G"), "3.5"), "ffff880000001234"), width=360)
    wide = page.evaluate("document.documentElement.scrollWidth")
    scrolls = page.evaluate("(() => { const s = document.querySelector('.scroll'); return s.scrollWidth; })()")
    complaints = page.evaluate(COMPLAINTS, page.query_selector("body"))
    outside = page.evaluate(
        "[...document.querySelectorAll('.controls *')].filter((n) => n.getBoundingClientRect().right > 360).length"
    )
    page.close()

    assert wide <= 360
    assert scrolls == 860  # so that what is printed at 12 px stays above 10
    assert complaints == []
    assert outside == 0


def test_bit_0_is_in_sight_in_the_cell_of_a_small_laptop(chromium):
    """914 px is what JupyterLab leaves for an output beside its file browser, in a window of 1366."""
    page = shown(chromium, view_of(efimm.boot(efimm.machine("2G"), "3.5"), "ffff880000001234"), width=914)
    rights = page.evaluate("[...document.querySelectorAll('svg rect.bit')].map((n) => n.getBoundingClientRect().right)")
    seen = page.evaluate("document.querySelector('.scroll').getBoundingClientRect().right")
    page.close()

    assert max(rights) < seen <= 914


# How far the picture goes up or down as each bit is pointed at, and the text that moves it.
MOVES = """
() => {
  const svg = document.querySelector("svg.walk"), top = svg.getBoundingClientRect().top, moves = {};
  for (const cell of document.querySelectorAll("[data-cell]")) {
    cell.dispatchEvent(new PointerEvent("pointerenter"));
    moves[svg.getBoundingClientRect().top - top] = document.querySelector("p.about").textContent;
  }
  return moves;
}
"""


@pytest.mark.parametrize("width", [320, 360, 480, 700])
def test_the_picture_stays_where_it_is_while_a_finger_points(chromium, width):
    real = load_tables(table_files()["debian-6.1-600g"])
    longest = view_of(real, "0xffffffff81000000", table="init_top_pgt", access="write", user=True, maxphyaddr=40)
    moved = []
    for view in (longest, view_of(None, "0x403000", access="write", user=True)):
        page = shown(chromium, view, width)
        moved.append(page.evaluate(MOVES))
        page.close()

    assert [list(moves) for moves in moved] == [["0"], ["0"]], moved


def test_the_meaning_of_a_bit_is_in_sight_when_keys_lead_to_it(chromium):
    page = shown(chromium, view_of(None, "0x402000", access="fetch"), width=1300)
    page.set_viewport_size({"width": 1300, "height": 640})
    page.locator("details summary").focus()
    page.keyboard.press("Shift+Tab")
    seen = []
    for key in ("ArrowDown",) * 4 + ("End",):
        page.keyboard.press(key)
        spots = [page.locator(spot).bounding_box() for spot in ("p.about", "[data-cell]:focus")]
        seen.append(all(0 <= box["y"] and box["y"] + box["height"] <= 640 for box in spots))
    page.close()

    assert seen == [True] * 5


ALONE = "from efimm.show import explorer\nexplorer()"


@pytest.mark.slow
def test_the_explorer_in_jupyterlab(chromium, tmp_path):
    cell = {"cell_type": "code", "source": ALONE, "execution_count": None, "metadata": {}, "outputs": [], "id": "one"}
    kernel = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}
    notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "alone.ipynb").write_text(json.dumps(notebook))
    problems = []
    with jupyterlab(tmp_path) as address:
        page = chromium.new_page(viewport={"width": 1366, "height": 768})
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.goto(f"{address}/doc/tree/alone.ipynb")
        run_all(page)
        page.locator("svg.walk").wait_for(timeout=120_000)
        page.get_by_label("Address", exact=True).fill("0xffff900000000000")
        page.keyboard.press("Enter")
        verdict = page.locator(".efimm p.verdict")
        page.wait_for_function("document.querySelector('.efimm p.verdict').innerText.startsWith('Page fault')")
        faulted = verdict.inner_text()
        page.get_by_role("combobox", name="Mode", exact=True).select_option("paging off")
        page.wait_for_function("document.querySelector('.efimm p.verdict').innerText.startsWith('No such')")
        page.get_by_role("combobox", name="Mode", exact=True).select_option("5-level")
        page.wait_for_function("document.querySelector('.efimm p.verdict').innerText.startsWith('Page fault')")
        complaints = page.evaluate(COMPLAINTS, page.query_selector(".efimm"))
        if os.environ.get("EFIMM_SCREENSHOTS"):
            page.screenshot(path=f"{os.environ['EFIMM_SCREENSHOTS']}/lab-explorer.png")
        page.close()

    assert faulted == "Page fault: this kernel read gives error code 0x0000, and CR2 = 0xffff900000000000."
    assert complaints == []
    assert [problem for problem in problems if not is_labs_own(problem)] == []
