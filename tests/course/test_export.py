"""Notebooks as web pages: in a browser without a network, with sliders that move and nothing that axe objects to."""

import json
from pathlib import Path

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


def test_a_prediction_says_that_nobody_is_there_and_its_code_is_not_shown(opened):
    page = opened("04-the-bug")
    form = page.locator("form.predict").first
    form.locator("input").fill("1")
    page.keyboard.press("Enter")

    assert "no Python behind this page" in page.locator("p.feedback").first.inner_text()
    assert page.get_by_text("hints = {").count() == 0


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
