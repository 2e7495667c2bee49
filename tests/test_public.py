"""Public addresses stand in one place, `[project.urls]`; while it is empty, nothing claims that there is one."""

import re
import tomllib
from pathlib import Path

import pytest

from efimm.course.site import public

ROOT = Path(__file__).parent.parent
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
NAMES = {"Homepage", "Source"}  # the site with Lite, and the repository


def complaints(readme, urls):
    """What in the README does not go with the addresses there are."""
    badges = re.findall(r"!\[[^]]*\]\((https?://[^)]+)\)", readme)
    installs = re.findall(r"(?:pip|pipx|uv tool) install efimm\b", readme)
    if not urls:
        return [*badges, *installs]
    lacking = [url for name, url in urls.items() if name in NAMES and url not in readme]
    lacking += ["a badge"] * (not badges) + ["pip install efimm"] * (not installs)
    return lacking + [
        badge for badge in badges if not badge.startswith((urls["Source"], "https://img.shields.io/pypi/"))
    ]


def test_the_readme_goes_with_the_addresses_there_are():
    assert complaints((ROOT / "README.md").read_text(encoding="utf-8"), URLS) == []
    assert not URLS or set(URLS) >= NAMES


def test_a_readme_that_promises_too_much_or_too_little_is_found():
    urls = {"Homepage": "https://efimm.example/", "Source": "https://code.example/efimm"}
    full = (
        "[Try it](https://efimm.example/lite/) ![tests](https://code.example/efimm/actions/workflows/test.yml/badge.svg)\n"
        "    pipx install efimm\n    git clone https://code.example/efimm\n"
    )

    assert complaints(full, urls) == []
    assert complaints("# efimm\n", {}) == []
    assert complaints(full, {}) == [
        "https://code.example/efimm/actions/workflows/test.yml/badge.svg",
        "pipx install efimm",
    ]
    assert complaints("# efimm\n", urls) == [*urls.values(), "a badge", "pip install efimm"]


@pytest.mark.parametrize("urls", [{}, {"Source": "https://code.example/efimm"}])
def test_the_site_names_the_source_when_there_is_one(urls):
    assert ("https://code.example/efimm" in public(urls)) == bool(urls)
    assert bool(public(urls)) == bool(urls)
