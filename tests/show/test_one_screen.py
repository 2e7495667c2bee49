"""Controls, verdict, picture and beads in one screen: JupyterLab and a page, the sizes that learners have, both themes.

A file with its one cell is run with Shift+Enter, as a learner does it, below a page of text.
"""

import importlib.util
import json
import os
import shutil

import pytest
from test_browser import COMPLAINTS, FLAGS, chromium, is_labs_own, jupyterlab, plain, pytestmark

from benchmarks.views import lab as views_lab
from efimm.course.export import _live
from efimm.show import ram_slider

__all__ = ["FLAGS", "chromium", "pytestmark"]  # a fixture and the marks of this module: pytest finds them by name

SIZES = ((1366, 768), (1024, 768), (1920, 1080), (960, 540))

# What of the slider is not wholly within `around`, and the smallest letter of its picture in CSS pixels.
OUT_OF_SIGHT = """
() => {
  const around = document.querySelector(".jp-WindowedPanel-outer")?.getBoundingClientRect()
    ?? { left: 0, top: 0, right: innerWidth, bottom: innerHeight };
  const out = [];
  const look = (name, node) => {
    const box = node.getBoundingClientRect();
    const inside = box.left >= around.left - 1 && box.right <= around.right + 1;
    if (!inside || box.top < around.top - 1 || box.bottom > around.bottom + 1 || !box.width) {
      out.push(`${name}: ${[box.left, box.top, box.right, box.bottom].map(Math.round)}`);
    }
  };
  const root = document.querySelector(".efimm.slider");
  look("controls", root.querySelector(".controls"));
  for (const node of root.querySelectorAll("p.verdict")) look("verdict", node);
  const parts = ".frames svg.picture, [data-moment], .controls:first-child select";
  for (const node of root.querySelectorAll(parts)) look(node.localName, node);
  const seen = [...root.querySelectorAll(".frames svg text")].filter((node) => node.getBoundingClientRect().width);
  const letters = seen.map((node) => parseFloat(getComputedStyle(node).fontSize) * node.getScreenCTM().a);
  const controls = [...root.querySelectorAll(".controls:first-child :is(label, select, output), p.verdict")];
  const shown = controls.filter((node) => node.getBoundingClientRect().width);
  const sizes = shown.map((node) => parseFloat(getComputedStyle(node).fontSize));
  return { out, letters: Math.min(...letters), controls: Math.min(...sizes) };
}
"""


def drag(page):
    """The slider by mouse from where it is to its middle; what was out of sight on the way."""
    box = page.locator(".efimm input[type=range]").first.bounding_box()
    y, left, width = box["y"] + box["height"] / 2, box["x"] + 8, box["width"] - 16
    here = float(page.locator(".efimm input[type=range]").first.evaluate("(node) => node.value / node.max"))
    page.mouse.move(left + here * width, y)
    page.mouse.down()
    found = []
    for step in range(1, 5):
        page.mouse.move(left + (here + (0.4 - here) * step / 4) * width, y)
        found += page.evaluate(OUT_OF_SIGHT)["out"]
    page.mouse.up()
    return found


# a page without Python


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A page as `efimm export` writes it, with one slider and three firmwares."""
    slider = ram_slider("1T", kernels=("3.5", "va-patch"), firmwares=("edk2", "own-table"))
    traits = plain(slider)
    buffers = [[["first"], traits.pop("first")], [["answer"], traits.pop("answer")]]
    model = {"traits": traits | {"films": []}, "buffers": buffers}
    path = tmp_path_factory.mktemp("page") / "page.html"
    body = '<body style="margin: 0"><div class="efimm-live" data-model="m"></div>'
    path.write_text(
        f"<!doctype html><html lang='en'><title>a page</title>{body}{_live({'m': model})}", encoding="utf-8"
    )
    return path.as_uri()


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("size", SIZES)
def test_a_page_shows_all_of_it_at_once(chromium, exported, size, theme):
    page = chromium.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
    page.goto(exported)
    page.locator("svg.picture").first.wait_for()
    page.wait_for_timeout(300)
    found, moved = page.evaluate(OUT_OF_SIGHT), drag(page)
    complaints = page.evaluate(COMPLAINTS, page.query_selector(".efimm"))
    shot(page, f"page-{size[0]}-{theme}")
    page.close()

    assert found["out"] + moved == []
    assert complaints == []
    if size[0] >= 1366:
        assert min(found["letters"], found["controls"]) >= 12


def test_a_projector_has_large_letters(chromium, exported):
    page = chromium.new_page(viewport={"width": 1024, "height": 768})
    page.goto(exported)
    page.locator("svg.picture").first.wait_for()
    page.get_by_role("button", name="Projector").click()
    page.wait_for_timeout(500)
    found = page.evaluate(OUT_OF_SIGHT.replace(", .controls:first-child select", ""))
    shot(page, "projector")
    page.close()

    assert found["out"] == []
    assert min(found["letters"], found["controls"]) >= 22


def test_in_a_low_window_the_picture_scrolls_under_controls_and_verdict(chromium, exported):
    page = chromium.new_page(viewport={"width": 683, "height": 320})
    page.goto(exported)
    page.locator("svg.picture").first.wait_for()
    page.wait_for_timeout(300)
    page.evaluate("window.scrollTo(0, 250)")
    page.wait_for_timeout(200)
    tops = [page.locator(what).first.bounding_box() for what in (".controls", "p.verdict", "svg.picture")]
    page.close()

    assert all(box["y"] >= 0 and box["y"] + box["height"] < 320 for box in tops[:2])
    assert tops[2]["y"] < 0


# JupyterLab


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    if importlib.util.find_spec("jupyterlab") is None:
        pytest.skip("JupyterLab is not installed")
    folder = tmp_path_factory.mktemp("lab")
    text = "\n\n".join(f"Paragraph {number}, which takes a line." for number in range(12))
    cells = [("markdown", text), ("code", 'from efimm.show import ram_slider\nram_slider("1T")'), ("markdown", text)]
    plain_cells = [
        {"cell_type": kind, "source": source, "metadata": {}, "id": f"c{k}"} for k, (kind, source) in enumerate(cells)
    ]
    plain_cells[1] |= {"execution_count": None, "outputs": []}
    kernel = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}
    notebook = json.dumps({"cells": plain_cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})
    (folder / "one.ipynb").write_text(notebook)
    with jupyterlab(folder) as found:
        yield found, folder


# The dark theme has the same sizes: at night, as the dark pages above.
@pytest.mark.slow
@pytest.mark.parametrize("theme", ["JupyterLab Light", pytest.param("JupyterLab Dark", marks=pytest.mark.nightly)])
def test_in_jupyterlab_all_is_in_sight_after_shift_enter_and_while_dragging(chromium, address, theme):
    url, folder = address
    name = f"{theme.split()[-1]}.ipynb"
    shutil.copy(folder / "one.ipynb", folder / name)
    page = chromium.new_page(viewport={"width": 1366, "height": 768})
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{url}/lab/tree/{name}?reset")
    page.wait_for_function("window.jupyterapp && document.querySelector('.jp-Notebook')", timeout=90_000)
    page.wait_for_function(views_lab._KERNEL_IS_THERE, timeout=90_000)
    page.evaluate("(theme) => void jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
    page.wait_for_timeout(1500)
    page.locator(".jp-CodeCell .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    page.locator(".efimm svg.picture").first.wait_for(timeout=120_000)
    page.wait_for_timeout(1500)
    found = {"after Shift+Enter": page.evaluate(OUT_OF_SIGHT)}
    for size in SIZES:
        page.set_viewport_size({"width": size[0], "height": size[1]})
        for files in ("open", "closed"):
            page.wait_for_timeout(700)
            page.locator(".efimm.slider").first.evaluate("(node) => node.scrollIntoView(true)")
            page.wait_for_timeout(300)
            found[size, files] = page.evaluate(OUT_OF_SIGHT)
            found[size, files]["out"] += drag(page)
            shot(page, f"lab-{size[0]}-{files}-{name[:-6]}")
            page.evaluate("void jupyterapp.commands.execute('application:toggle-left-area')")
    page.close()

    assert {place: one["out"] for place, one in found.items() if one["out"]} == {}
    large = [one["letters"] for place, one in found.items() if place[0] != (1024, 768) and place[0] != (960, 540)]
    assert min(large) >= 12
    assert [problem for problem in problems if not is_labs_own(problem)] == []


def shot(page, name):
    folder = os.environ.get("EFIMM_SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/one-screen-{name}.png")
