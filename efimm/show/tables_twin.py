"""The tables side by side as text of at most 72 columns: one line a row of slots, one mark a table."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from ..text import COLUMNS
from .tables_scene import WORDS, sentences
from .tables_state import EMPTY, INIT, NONE, Cell, TablesState

_NUMBERS, _REGION = 9, 20
_MARK = 9
_KEY = (
    "same: leads where init_mm leads; own: leads where init_mm does not; lacks, differs: behind init_mm; "
    "same letter: same lower tables; *: just written; .: empty"
)


def describe(state: TablesState, moment: int) -> str:
    """A moment as lines: what happened, the columns by number, the rows, and the moments."""
    return "\n".join(line for part in _parts(state, moment) for line in part)


def _parts(state: TablesState, moment: int) -> Iterator[list[str]]:
    story = state.story
    yield _wrapped(f"top-level tables of kernel {story.kernel} on {story.machine}")
    for sentence in sentences(state, moment):
        yield _wrapped(sentence)
    yield [""]
    for column, name in enumerate(state.names):
        table = state.table(moment, column)
        yield _wrapped(f"({column + 1}) {name}, " + (f"{table.role}, at {table.pa:#x}" if table else "not there yet"))
    width = _mark_width(state)
    heads = "".join(f"({column + 1})".ljust(width) for column in range(len(state.names)))
    yield ["", f"{'slots':>{_NUMBERS}} {'':<{_REGION}}{heads}".rstrip()]
    for row in reversed(state.rows):
        marks = "".join(_mark(cell).ljust(width) for cell in row.cells[moment])
        region = "empty" if row.empty else row.region
        yield [f"{row.numbers:>{_NUMBERS}} {region:<{_REGION}}{'' if row.empty else marks}".rstrip()]
    yield ["", *_wrapped(_KEY)]
    labels = [f"[{m.label}]" if k == moment else m.label for k, m in enumerate(story.moments)]
    yield _wrapped("moments: " + ", ".join(labels))


def _mark_width(state: TablesState) -> int:
    return min(_MARK, (COLUMNS - _NUMBERS - 1 - _REGION) // len(state.names))


def _mark(cell: Cell) -> str:
    blank = {EMPTY: ".", NONE: "", INIT: "" if cell.letter else "init"}.get(cell.kind, WORDS[cell.kind].split(" ")[0])
    return " ".join(part for part in (cell.letter, blank) if part) + ("*" if cell.fresh else "")


def _wrapped(line: str) -> list[str]:
    return wrap(line, COLUMNS, subsequent_indent="    ", break_on_hyphens=False)
