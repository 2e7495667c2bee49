"""`make picture`: the screenshot at the top of the README is one of two neighbouring stops, around the line."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import efimm
from efimm.machines import parse_size
from efimm.show.ram.strips import STOPS

ROOT = Path(__file__).parents[2]
SIDES = ("511G", "512G")


def test_the_two_stops_are_neighbours_and_the_line_is_between_them():
    below, above = (efimm.run(efimm.machine(side), "3.5") for side in SIDES)

    assert f"SIDES = {SIDES!r}".replace("'", '"') in (ROOT / "workshop" / "screenshot.py").read_text(encoding="utf-8")
    assert STOPS.index(parse_size(SIDES[0])) + 1 == STOPS.index(parse_size(SIDES[1]))
    assert (below.verdict, above.verdict) == ("success", "page-fault")
    assert below.buffer_pa < 512 << 30 <= above.buffer_pa


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this computer")
@pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed")
@pytest.mark.nightly
def test_the_picture_is_as_large_as_the_one_that_is_kept(tmp_path):
    made = tmp_path / "slider.png"
    subprocess.run([sys.executable, ROOT / "workshop" / "screenshot.py", "--output", made], check=True, cwd=ROOT)

    with Image.open(made) as new, Image.open(ROOT / "docs" / "slider.png") as kept:
        assert new.width == kept.width
        assert abs(new.height - kept.height) < 100, "the slider has changed its shape: make picture"
    assert made.stat().st_size < 200_000
