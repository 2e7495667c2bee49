"""What a notebook's first cell promises is what its cells use."""

import ast
import json
import re
from pathlib import Path

import pytest

SERIES = sorted((Path(__file__).parents[2] / "notebooks").glob("[01]*.ipynb"))
THIRD_PARTIES = {"ipywidgets", "matplotlib", "numpy"}


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def imported(path):
    """The third parties that the code cells of a notebook import."""
    found = set()
    for cell in cells(path):
        if cell["cell_type"] == "code":
            for node in ast.walk(ast.parse("".join(cell["source"]).replace("%pip", "# "))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                found |= {name.split(".")[0] for name in names}
    return found & THIRD_PARTIES


@pytest.mark.parametrize("path", SERIES, ids=lambda path: path.stem)
def test_the_first_cell_names_the_packages_that_the_cells_import(path):
    head = "".join(cells(path)[0]["source"])
    named = re.search(r"\*\*Packages:\*\*([^.]+)\.", head)

    assert named
    assert "efimm" in named[1]
    if not path.name.startswith("00"):  # which names what the whole series uses
        assert set(re.findall(r"\w+", named[1])) - {"efimm"} == imported(path)


def test_the_learners_own_tools_are_used_in_many_notebooks():
    counts = {name: sum(name in imported(path) for path in SERIES) for name in THIRD_PARTIES}

    assert counts["ipywidgets"] >= 4
    assert counts["numpy"] >= 5
    assert counts["matplotlib"] >= 5


@pytest.mark.parametrize("path", SERIES, ids=lambda path: path.stem)
def test_the_list_of_sections_is_that_of_the_headings(path):
    """A heading that is not in the list is not found; one that is only in the list leads nowhere."""
    head, *rest = ("".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "markdown")
    listed = re.findall(r"^\d+\. \[(.+?)\]\(#", head, re.MULTILINE)
    headings = [heading for text in rest for heading in re.findall(r"^## (.+)$", text, re.MULTILINE)]

    assert listed == headings
