"""The picture at the top of the README: the RAM slider on both sides of 512 GiB.  `make picture` runs it."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import nbformat
from PIL import Image
from playwright.sync_api import Error, ViewportSize, sync_playwright

from efimm.course.export import executed, page

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIDES = ("511G", "512G")  # neighbours on the slider: the array lies below the line, and above it
WIDTH, HEIGHT, SHARPNESS = 1000, 1600, 1.25
COLOURS = 256  # a palette takes a third of the bytes; this way of choosing it keeps the rare colours
_STYLE = """
body, main, .jp-Notebook, .jp-Cell, .jp-OutputArea, .jp-OutputArea-child, .jp-OutputArea-output { margin: 0 !important;
  padding: 0 !important; }
.jp-InputArea, .jp-OutputPrompt { display: none !important; }
.jp-Cell + .jp-Cell { margin-top: 24px !important; }
.efimm-live details, .efimm-live .share, .efimm-live .legend { display: none !important; }
"""


def both_sides() -> str:
    """A page with the slider twice, once for each of SIDES, from a notebook of two cells that is run for it."""
    cells = [f'from efimm.show.ram.slider import ram_slider\nram_slider("{ram}")' for ram in SIDES]
    v4 = nbformat.v4
    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells])  # type: ignore[no-untyped-call]  # nbformat has no types
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "both-sides.ipynb"
        nbformat.write(notebook, path)  # type: ignore[no-untyped-call]  # as above
        return page(executed(path), "efimm")


def screenshot(html: str) -> bytes:
    """What a browser shows of `html`, without what stands below a picture; Playwright's Error where there is none."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "both-sides.html"
        path.write_text(html, encoding="utf-8")
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        size = ViewportSize(width=WIDTH, height=HEIGHT)
        shown = browser.new_page(viewport=size, device_scale_factor=SHARPNESS, color_scheme="light")
        shown.goto(path.as_uri())
        shown.add_style_tag(content=_STYLE)
        shown.wait_for_function(f"document.querySelectorAll('.efimm-live svg.picture').length === {len(SIDES)}")
        picture = shown.locator("main").screenshot()
        browser.close()
        return picture


def main() -> int:
    """Write the picture, and say where it is; 1, and one line, where no browser is found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "slider.png", help="where to write it")
    output = parser.parse_args().output
    try:
        picture = Image.open(BytesIO(screenshot(both_sides())))
    except Error as error:
        print(f"no picture was made: {error.message.splitlines()[0]}", file=sys.stderr)
        return 1
    few = picture.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(output, optimize=True)
    print(f"{output}: {output.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
