"""What the notebooks quote from the thread of June 2012 stands there, and every message of it has its place."""

import json
import re
from pathlib import Path

import pytest
from captures import NO_THREAD, THREAD

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[01]*.ipynb"))
SHORTEST_QUOTE = 20

if not THREAD.exists():
    pytest.skip(NO_THREAD, allow_module_level=True)


def plain(text):
    """`text` in one line, without the marks of quotation and emphasis."""
    return re.sub(r"\s+", " ", text.replace("\n> ", " ").replace("\\_", "_").replace("*", ""))


def messages():
    """The own text of each message, by its date."""
    parts = re.split(r"^(2012-06-\d\d [\d:]+)$", THREAD.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    own = ("\n".join(line for line in body.splitlines() if not line.startswith(">")) for body in parts[1::2])
    return dict(zip(parts[::2], map(plain, own), strict=True))


def cells():
    """(notebook, text) of every markdown cell."""
    return [
        (path.name, "".join(cell["source"]))
        for path in NOTEBOOKS
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "markdown"
    ]


def pieces(quote):
    """The parts of a quote between the places where something is left out."""
    parts = re.split(r"\s*\[(?:\.\.\.|…)\]\s*", plain(quote))
    return [part.strip(" .,;:?!").lower() for part in parts]


def block_quotes():
    return [
        (name, "\n".join(quote.splitlines()))
        for name, text in cells()
        for quote in re.findall(r'^> "(.*?)"$', text, re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.parametrize(("name", "quote"), block_quotes())
def test_a_quotation_is_accurate(name, quote):
    thread = " ".join(messages().values()).lower()

    assert [piece for piece in pieces(quote) if piece not in thread] == []


@pytest.mark.parametrize("date", messages())
def test_a_message_is_quoted_somewhere_with_its_date(date):
    own, day = messages()[date].lower(), f"{int(date[8:10])} June"
    quoted = [
        name
        for name, text in cells()
        for quote in re.findall(r'"([^"]+)"', plain(text))
        if day in text and any(len(piece) >= SHORTEST_QUOTE and piece in own for piece in pieces(quote))
    ]

    assert quoted
