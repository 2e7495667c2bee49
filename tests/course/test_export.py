"""Notebooks as web pages: in a browser without a network, with sliders that move and nothing that axe objects to."""

import json
from pathlib import Path

import nbformat
import pytest
from test_browser import chromium, pytestmark

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
export = pytest.importorskip("efimm.course.export")

__all__ = ["chromium", "pytestmark"]  # a fixture and the marks of this module: pytest finds them by name
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Two notebooks with every kind of widget, as pages; and as they are saved."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("04-the-bug", "02-the-processor-s-view"):
        notebook = export.executed(NOTEBOOKS / f"{name}.ipynb")
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
        (folder / f"{name}.html").write_text(export.page(notebook, name), encoding="utf-8")
    return folder


OPEN_ALL = "for (const open of document.querySelectorAll('form.prediction + p.note button')) open.click()"


@pytest.fixture
def opened(chromium, site):
    """A page from the file system, in a browser that has no network; and what it asked for or complained about."""
    context = chromium.new_context(offline=True, viewport={"width": 1280, "height": 900})
    said = []

    def go(name):
        page = context.new_page()
        page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else said.append(asked.url))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda words: said.append(words.text) if words.type == "error" else None)
        page.goto((site / f"{name}.html").as_uri())
        page.locator("form.prediction").first.wait_for()
        page.evaluate(OPEN_ALL)
        page.locator("svg.picture").first.wait_for()
        return page

    yield go
    context.close()
    assert said == []


def test_the_slider_moves_without_a_kernel(opened):
    page = opened("04-the-bug")
    slider = page.locator("input[type=range]").first
    widget = page.locator(".efimm:has(input[type=range])").first
    slider.focus()
    seen = {}
    for key in ("Home", "End"):
        page.keyboard.press(key)
        seen[key] = widget.locator("p.verdict").inner_text().split(":")[0]
    widget.locator("select").nth(0).select_option("va-patch")
    fixed = widget.locator("p.verdict").inner_text()
    widget.get_by_label("Firmware", exact=True).select_option("own-table")
    turned = widget.locator("p.verdict").inner_text()
    widget.locator("[data-moment='1']").click()
    rewound = widget.locator("p.verdict").inner_text()
    off = widget.locator("option:disabled").all_inner_texts()

    assert seen == {"Home": "Success", "End": "Page fault"}
    assert fixed.startswith("Success")
    assert turned.startswith("Page fault: the firmware's read of 0xffff")
    assert rewound.startswith("So far: ")
    assert "4K (needs Python)" in off
    assert not any(name in " ".join(off) for name in ("checks-pointer", "hpa-sync"))


SLOW_TO_UNPACK = """
const json = Response.prototype.json;
Response.prototype.json = async function () { await new Promise((go) => setTimeout(go, 700)); return json.call(this); };
window.bare = window.looks = 0;
setInterval(() => {
  window.looks += 1;
  for (const verdict of document.querySelectorAll(".efimm:has(input[type=range]) p.verdict"))
    window.bare += verdict.textContent === "";
}, 10);
"""


def test_a_slider_is_never_seen_without_its_verdict(chromium, site):
    page = chromium.new_page()
    page.add_init_script(SLOW_TO_UNPACK)
    page.goto((site / "04-the-bug.html").as_uri())
    page.locator(".efimm:has(input[type=range]) p.verdict").first.wait_for()
    slider = page.locator("input[type=range]").first
    for key in ("End", "Home", "End"):
        slider.press(key)
    assert page.evaluate("window.looks") > 10
    assert page.evaluate("window.bare") == 0
    page.close()


def test_a_prediction_is_answered_and_an_exercise_says_that_nobody_is_there(opened):
    page = opened("04-the-bug")
    said = []
    for kind in ("prediction", "exercise"):
        form = page.locator(f"form.{kind}").first
        form.locator("input").fill("1")
        page.keyboard.press("Enter")
        words = page.locator(f".efimm:has(form.{kind}) .feedback").first.locator("p").filter(has_text=" ")
        words.wait_for()
        said.append(words.inner_text())

    assert said[0] == "Your answer: 1. Yes: 1."
    assert "no Python behind this page" in said[1]
    assert page.get_by_text("hints = {").count() == 0


def test_what_a_control_of_ipywidgets_showed_is_on_the_page(opened):
    page = opened("04-the-bug")
    plot = page.locator("img").first

    assert page.get_by_text("controls of ipywidgets stand here").count() == 1
    assert plot.get_attribute("src").startswith("data:image/png")
    assert plot.get_attribute("alt") == "A plot; the text below it says what it shows."


def taken(states, view):
    """The models that a page draws, and what it shows of the view of a widget with these states."""
    data = {"application/vnd.jupyter.widget-view+json": view, "text/html": "as it stands"}
    code = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data=data)])
    notebook = nbformat.v4.new_notebook(cells=[code])
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": states}}
    return export._take_widgets(notebook), [output["data"]["text/html"] for output in code.outputs]


def test_of_a_box_of_widgets_a_page_shows_words_and_ours():
    states = {
        "box": {"state": {"children": ["IPY_MODEL_words", "IPY_MODEL_ours", "IPY_MODEL_knob"]}},
        "words": {"state": {"_model_name": "HTMLModel", "value": "<b>success</b>"}},
        "ours": {"state": {"_anywidget_id": "efimm.show.ram.slider.RamSlider", "kind": "ram", "ram": 1}},
        "knob": {"state": {"_model_name": "IntSliderModel", "value": 3}},
    }
    models, (note, *shown) = taken(states, {"model_id": "box"})

    assert "need Python" in note
    assert shown == ["<b>success</b>", '<div class="efimm-live" data-model="ours"></div>']
    assert list(models) == ["ours"]


@pytest.mark.parametrize("view", ["x", {}, {"model_id": ["x"]}, {"model_id": "nobody"}, 3])
def test_a_view_of_nothing_stays_as_it_stands(view):
    assert taken({}, view) == ({}, ["as it stands"])


def test_a_box_that_holds_itself_and_a_readers_own_kind_are_no_widgets_of_ours():
    """The first was a RecursionError; the second has no drawing, and stopped all that came after it."""
    states = {"box": {"state": {"children": ["IPY_MODEL_box", "IPY_MODEL_own"]}}, "own": {"state": {"kind": "mine"}}}
    models, shown = taken(states, {"model_id": "box"})

    assert models == {}
    assert len(shown) == 1  # the note that controls need Python


PAGE_IN_AN_OUTPUT = """<!doctype html><html><head><meta http-equiv="refresh" content="0;url=https://elsewhere.example/">
</head><body><script type="application/json" id="efimm-models">[</script></body></html>"""


def test_an_output_that_is_a_page_disturbs_no_widget(chromium, tmp_path):
    """Every widget was drawn twice, none was drawn, and the reader was led elsewhere."""
    cells = [
        f"from IPython.display import HTML\nHTML({PAGE_IN_AN_OUTPUT!r})",
        "from efimm.course import predict\npredict('?', 'four')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, tmp_path / "page.ipynb")
    path = tmp_path / "page.html"
    path.write_text(export.page(export.executed(tmp_path / "page.ipynb"), "page"), encoding="utf-8")
    page = chromium.new_page()
    page.goto(path.as_uri())
    page.locator("form.prediction").first.wait_for(timeout=10_000)
    page.locator("form.prediction input").fill("constructor")
    page.locator("form.prediction button").first.click()

    assert page.locator("form.prediction").count() == 1
    assert page.locator("meta[http-equiv=refresh]").count() == 0
    assert "native code" not in page.content().split("<main")[1]


@pytest.mark.parametrize("name", ["04-the-bug", "02-the-processor-s-view"])
def test_axe_finds_nothing_serious(opened, name):
    page = opened(name)
    violations = axe.Axe().run(page).response["violations"]

    assert [(each["id"], each["help"]) for each in violations if each["impact"] in ("serious", "critical")] == []


def test_a_notebook_saved_with_its_widgets_is_small(site):
    assert max(path.stat().st_size for path in site.glob("*.ipynb")) < 2_000_000


def test_links_lead_to_pages(site):
    assert 'href="glossary.html#' in (site / "04-the-bug.html").read_text(encoding="utf-8")
    assert (
        ".ipynb"
        not in (site / "04-the-bug.html").read_text(encoding="utf-8").split("<main")[1].split("efimm-models")[0]
    )
