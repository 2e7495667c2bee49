"""Scenes that are leafed through, as a browser draws them: labels, keys, narrow windows, and pages without Python."""

import json
from base64 import b64encode

import pytest
from test_browser import COMPLAINTS, blank_page, chromium, is_labs_own, jupyterlab, pytestmark
from test_map_view import MAPS
from test_tables_view import CASES

from benchmarks.views.lab import run_all
from efimm.course.export import _live, executed, page
from efimm.lives import story_of
from efimm.show.drawing.frames import pack
from efimm.show.map_view import frame as map_frame
from efimm.show.map_view import map_view
from efimm.show.tables_view import frame, state_of, tables_view

__all__ = ["chromium", "pytestmark"]  # a fixture and the marks of this module: pytest finds them by name

# Texts that begin outside of a box and run into it, and texts that run out of the box they begin in.
OVER_BOXES = """
(root) => {
  const wrong = [], boxes = [...root.querySelectorAll("svg.picture rect:not(.outline):not(.reach):not(.free)")];
  const edges = boxes.map((node) => node.getBoundingClientRect());
  for (const node of root.querySelectorAll("svg.picture text")) {
    const a = node.getBoundingClientRect();
    for (const b of edges) {
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (down < 4 || a.right < b.left || a.left > b.right) continue;
      const starts = a.left >= b.left - 0.5, ends = a.right <= b.right + 0.5;
      if (!starts || !ends) wrong.push("crosses the edge of a box: " + node.textContent);
    }
  }
  return wrong;
}
"""
SCRIPTS = ("picture.js", "frames.js")


def complaints_of(chromium, frames):
    """What is wrong with each scene, by its title."""
    page = blank_page(chromium, scripts=SCRIPTS)
    data = pack(frames)
    found = page.evaluate(
        f"""(data) => data.scenes.map((scene) => {{
          const root = document.getElementById("root");
          root.replaceChildren(drawScene(scene, data, null));
          return [...({COMPLAINTS})(root), ...({OVER_BOXES})(root)];
        }})""",
        data,
    )
    page.close()
    return {scene[1]: wrong for scene, wrong in zip(data["scenes"], found, strict=True) if wrong}


def page_of(view, theme="light"):
    """A page as `efimm export` writes it: the widget's state and the JavaScript, no Python behind it."""
    buffers = [[["frames"], b64encode(view.frames).decode()]]
    models = {"one": {"traits": {"kind": "frames", "moment": view.moment, "heads": view.heads}, "buffers": buffers}}
    light = json.dumps(theme == "light")
    body = f"<body data-jp-theme-light='{light}'><div class='efimm-live' data-model='one'></div>{_live(models)}</body>"
    return f"<!doctype html><meta name='viewport' content='width=device-width'>{body}"


def opened(chromium, view, width=1280, theme="light"):
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.set_content(page_of(view, theme))
    page.wait_for_selector("svg.picture")
    return page


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.nightly)])
def test_no_text_of_the_tables_overlaps_or_leaves_its_box(chromium, every):
    frames = []
    for case in CASES:
        state = state_of(story_of(*case))
        frames += [frame(state, moment) for moment in range(len(state.story.moments))]

    assert len(frames) > 200
    assert complaints_of(chromium, frames[::every]) == {}


def test_no_text_of_a_map_overlaps_or_leaves_its_box(chromium):
    wrong = {name: complaints_of(chromium, [map_frame(found)]) for name, found in MAPS.items()}

    assert {name: found for name, found in wrong.items() if found} == {}


def test_the_check_itself_sees_a_text_on_an_edge(chromium):
    page = blank_page(chromium, scripts=SCRIPTS)
    bad = """<svg class="picture" viewBox="0 0 960 100" width="960"><rect x="100" y="10" width="40" height="30"/>
        <text x="90" y="30">runs in</text><text x="120" y="20">runs out again</text></svg>"""
    page.evaluate("(html) => { document.getElementById('root').innerHTML = html; }", bad)
    found = page.evaluate(OVER_BOXES, page.query_selector("#root"))
    page.close()

    assert found == ["crosses the edge of a box: runs in", "crosses the edge of a box: runs out again"]


def test_keys_lead_over_the_beads_without_python(chromium):
    view = tables_view("3.5", "1T")
    page = opened(chromium, view)
    page.locator("[data-moment='0']").focus()
    said = []
    for key in ("ArrowRight", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home", "ArrowLeft"):
        page.keyboard.press(key)
        focused = page.evaluate("document.activeElement.getAttribute('data-moment')")
        assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "step"
        assert page.locator("p.verdict").inner_text() == view.shown[int(focused)].words
        said.append(int(focused))
    page.locator("[data-moment='4']").click()
    twin = page.locator("details pre").text_content()
    page.close()

    last = len(view.shown) - 1
    assert said == [1, 2, last, last, last - 1, 0, 0]
    assert twin == view.shown[4].twin


def test_arrow_keys_reach_every_cell_and_its_words(chromium):
    view = tables_view("6.1", "1T")
    view.moment = len(view.shown) - 1
    page = opened(chromium, view)
    tips = page.evaluate(
        "[...document.querySelectorAll('.item')].map((node) => node.querySelector('title').textContent)"
    )
    page.locator(".item").first.focus()
    told, columns = [], 5
    while len(told) < len(tips):
        for place in range(columns):
            told.append(page.locator("p.about").inner_text())
            page.keyboard.press("ArrowRight" if place < columns - 1 else "ArrowDown")
        for _ in range(columns - 1):
            page.keyboard.press("ArrowLeft")
    stops = page.locator("svg .item[tabindex='0']").count()
    page.close()

    assert told == tips
    assert stops == 1


def test_arrow_keys_reach_every_area_of_a_map(chromium):
    page = opened(chromium, map_view("hp-superdome2-3tib"))
    tips = page.evaluate(
        "[...document.querySelectorAll('.item')].map((node) => node.querySelector('title').textContent)"
    )
    page.locator(".item").first.focus()
    told, here = [], page.locator("p.about")
    page.keyboard.press("ArrowUp")  # to the marks above the first strip
    for _ in range(20):
        for key in ("ArrowLeft",) * 22 + ("ArrowRight",) * 22 + ("ArrowDown",):
            told.append(here.inner_text())
            page.keyboard.press(key)
    page.close()

    assert sorted(set(tips) - set(told)) == []


@pytest.mark.parametrize("width", [360, 3840])
@pytest.mark.parametrize("view", [lambda: tables_view("6.1", "1T"), lambda: map_view("hp-superdome2-3tib")])
def test_a_narrow_and_a_wide_window(chromium, width, view):
    page = opened(chromium, view(), width)
    wide = page.evaluate("document.documentElement.scrollWidth")
    complaints = page.evaluate(COMPLAINTS, page.query_selector("body"))
    page.close()

    assert wide <= width
    assert complaints == []


def test_the_picture_stays_where_it_is_when_another_moment_is_chosen(chromium):
    page = opened(chromium, tables_view("3.5", "1T"), 360)
    tops = set()
    for moment in range(7):
        page.locator(f"[data-moment='{moment}']").focus()
        page.keyboard.press("Enter")
        tops.add(page.evaluate("document.querySelector('svg.picture').getBoundingClientRect().top + scrollY"))
    page.close()

    assert len(tops) == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", [lambda: tables_view("6.1", "1T"), lambda: map_view("hp-superdome2-3tib")])
def test_axe_finds_nothing_serious(chromium, view, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    tab = opened(chromium, view(), theme=theme)
    tab.evaluate("document.title = 'a view'; document.documentElement.lang = 'en'")
    violations = axe.Axe().run(tab).response["violations"]
    tab.close()

    assert [(each["id"], each["help"]) for each in violations if each["impact"] in ("serious", "critical")] == []


CELLS = (
    "from efimm.show import tables_view\ntables_view()",
    'from efimm.show import map_view\nmap_view("hp-superdome2-3tib")',
    "from efimm.show import ram_slider\nram_slider()",
)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    cells = [
        {"cell_type": "code", "source": text, "execution_count": None, "metadata": {}, "outputs": [], "id": f"cell{k}"}
        for k, text in enumerate(CELLS)
    ]
    kernel = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}
    path = tmp_path_factory.mktemp("lab") / "both.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.mark.slow
def test_an_exported_notebook_still_turns_its_pages(chromium, notebook):
    exported = page(executed(notebook), "both")
    problems = []
    tab = chromium.new_page(viewport={"width": 1280, "height": 900})
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.set_content(exported)
    tab.locator("svg.picture").nth(2).wait_for()
    tab.locator("[data-moment='0']").first.focus()
    tab.keyboard.press("End")
    said = tab.locator("p.verdict").first.inner_text()
    tab.close()

    assert said == tables_view().shown[-1].words
    assert problems == []


@pytest.mark.slow
def test_jupyterlab_leaves_the_keys_to_the_pictures(chromium, notebook):
    problems = []
    with jupyterlab(notebook.parent) as address:
        tab = chromium.new_page(viewport={"width": 1366, "height": 768})
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        tab.goto(f"{address}/doc/tree/both.ipynb")
        run_all(tab)
        tab.locator("svg.picture").nth(2).wait_for(timeout=120_000)
        tab.locator("[data-moment='0']").first.focus()
        for _ in range(3):
            tab.keyboard.press("ArrowRight")
        for place in ("[data-moment='3']", ".item", ".efimm select"):
            tab.locator(place).last.focus()
            for key in "dd":  # would delete the cell
                tab.keyboard.press(key)
        cells = tab.locator(".jp-Cell").count()
        said = tab.locator("p.verdict").first.inner_text()
        complaints = [wrong for one in tab.query_selector_all(".efimm") for wrong in tab.evaluate(COMPLAINTS, one)]
        tab.close()

    assert cells == len(CELLS)
    assert said == tables_view().shown[3].words
    assert complaints == []
    assert [text for text in problems if not is_labs_own(text)] == []
