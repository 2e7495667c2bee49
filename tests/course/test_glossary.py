"""Each term is explained once, and where a notebook first uses it in its text, a link leads there."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SERIES = sorted(NOTEBOOKS.glob("[01]*.ipynb"))
# Headings that name two things; a heading that only refers to another has no link of its own.
TWO_IN_ONE = {
    "Accessed and dirty bits": ("accessed", "dirty"),
    "Prelog and epilog": ("prelog", "epilog"),
    "SMEP and SMAP": ("SMEP", "SMAP"),
    "Epilog": (),
}
# What is no running text: blocks of code, headings, tables, quotations, code, links, words in quotation marks.
NO_PROSE = r'```.*?```|^(?:#|\||>)[^\n]*$|`[^`]*`|\[[^\]]*\]\([^)]*\)|"[^"]*"'


def markdown(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


TERMS = re.findall(r"^### (.+)$", "\n".join(markdown(NOTEBOOKS / "glossary.ipynb")), re.MULTILINE)


def first_use(text, term):
    """Where the term first stands in running text without a link."""
    prose = re.sub(NO_PROSE, lambda found: " " * len(found[0]), text, flags=re.MULTILINE | re.DOTALL)
    forms = "|".join(map(re.escape, TWO_IN_ONE.get(term, (term,))))
    found = re.search(rf"(?<![\w`/.-])(?:{forms})s?(?![\w-])", prose, re.IGNORECASE) if forms else None
    return found.start() if found else None


def test_each_term_is_explained_once_in_order():
    assert len(TERMS) == len(set(TERMS)) > 40
    assert sorted(TERMS, key=str.casefold) == TERMS


@pytest.mark.parametrize("path", SERIES, ids=lambda path: path.stem)
def test_the_first_use_of_a_term_is_a_link(path):
    text = "\n\n".join(markdown(path)[1:])  # the head of a notebook says what will be explained
    without = []
    for term in TERMS:
        used, link = first_use(text, term), text.find(f"glossary.ipynb#{term.replace(' ', '-')})")
        if used is not None and not 0 <= link < used:
            without.append(term)

    assert without == []


def test_the_check_itself_sees_a_missing_link():
    assert first_use("# TLB\n\nThe `TLB` and [the TLB](glossary.ipynb#TLB).", "TLB") is None
    assert first_use("A stale TLB, and [the TLB](glossary.ipynb#TLB).", "TLB") == 8
