"""The slides: every one fits, nothing is asked of a network, and the slider on a slide moves."""

import sys
from pathlib import Path

import pytest
from test_browser import chromium, pytestmark

from efimm.course import export

WORKSHOP = Path(__file__).parents[2] / "workshop"
sys.path.insert(0, str(WORKSHOP))

import picks  # noqa: E402 - the workshop's programs are no package
import reveal  # noqa: E402 - as above
import slides  # noqa: E402 - as above

__all__ = ["chromium", "pytestmark"]

# How far the lowest and the rightmost thing on the current slide reach, in the slide's own pixels.
REACH = """() => {
  const slide = Reveal.getCurrentSlide(), frame = slide.getBoundingClientRect(), scale = Reveal.getScale();
  const all = [...slide.querySelectorAll("*")].map((e) => e.getBoundingClientRect());
  const boxes = all.filter((box) => box.width && box.height);
  const lowest = Math.max(...boxes.map((b) => b.bottom - frame.top));
  const rightmost = Math.max(...boxes.map((b) => b.right - frame.left));
  return [lowest / scale, rightmost / scale];
}"""


@pytest.fixture(scope="module")
def deck(tmp_path_factory):
    try:
        reveal.reveal()
    except ValueError as error:
        pytest.skip(str(error))
    path = tmp_path_factory.mktemp("slides") / "slides.html"
    with pytest.MonkeyPatch.context() as patch:
        # All firmwares at all sizes would take a minute to run; course/test_export.py looks at a page that has them.
        patch.setattr(export, "WHOLE", "EFIMM_NOT_WHOLE")
        path.write_text(slides.deck(), encoding="utf-8")
    return path


@pytest.fixture
def opened(chromium, deck):
    context = chromium.new_context(offline=True, viewport={"width": 1280, "height": 720})
    page, said = context.new_page(), []
    page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else said.append(asked.url))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(deck.as_uri())
    for _ in range(300):  # no wait_for_function: the page's policy forbids the evaluation of text
        if page.evaluate("Boolean(window.Reveal && Reveal.isReady())"):
            break
        page.wait_for_timeout(100)
    yield page
    context.close()
    assert said == []


def test_every_slide_fits_on_the_screen(opened):
    reach = []
    for number in range(opened.evaluate("Reveal.getTotalSlides()")):
        opened.evaluate(f"Reveal.slide({number})")
        reach.append(opened.evaluate(REACH))

    assert len(reach) == len(picks.slides())
    assert [
        (number, size) for number, size in enumerate(reach) if size[0] > slides.HEIGHT or size[1] > slides.WIDTH
    ] == []


def test_the_slider_moves_on_its_slide_and_the_arrows_go_on_elsewhere(opened):
    titles = [slide.title for slide in picks.slides()]
    opened.keyboard.press("ArrowRight")
    assert opened.evaluate("Reveal.getIndices().h") == 1

    opened.evaluate(f"Reveal.slide({titles.index('Run')})")
    slide = opened.locator("section.present")
    slide.locator("input[type=range]").focus()
    opened.keyboard.press("End")
    assert slide.locator("p.verdict").inner_text().startswith("Page fault")
    opened.keyboard.press("ArrowLeft")
    assert opened.evaluate("Reveal.getIndices().h") == titles.index("Run")


@pytest.mark.parametrize(
    ("slide", "said"),
    [
        (picks.Slide("x", "n", section="Nowhere"), "has no section 'Nowhere'"),
        (picks.Slide("x", "n", section="Here", paragraphs=["Gone"]), "no paragraph of 'Here' begins with 'Gone'"),
        (picks.Slide("x", "n", section="Here", code=["gone()"]), "no code of 'Here' has 'gone()'"),
    ],
)
def test_a_slide_that_asks_for_what_a_notebook_no_longer_has_is_refused(slide, said):
    from nbformat.v4 import new_markdown_cell, new_notebook

    with pytest.raises(picks.PickError, match=said.replace("(", r"\(").replace(")", r"\)")):
        picks.cells_of(slide, {"n": new_notebook(cells=[new_markdown_cell("## Here\n\nWords.")])})
