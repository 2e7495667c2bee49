"""The picture of the top-level tables side by side: columns are tables, rows are slots, beads are moments.

slots and region | init_mm's table | the trampoline's | the firmware's | processes ...
what happened, what was written, who is behind
the moments
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from .shapes import Circle, Path, Rect, Scene, Shape, Text, points
from .tables_state import BEHIND, EMPTY, INIT, LACKS, NONE, OWN, SAME, Cell, Row, TablesState

WIDTH, MARGIN = 960, 16
_NUMBERS_END, _REGION, _COLUMNS, _RIGHT = 88, 98, 232, 944
_BODY_TOP, _ROW, _THIN_ROW, _GAP = 100, 26, 20, 4
_STRIP = 10
_LINE, _LETTERS_A_LINE = 17, 118
_MACHINE = 120  # letters of the machine's name that there is room for
_HEAD_LETTER = 8.2  # width of a letter of the columns' heads, at most

WORDS = {INIT: "", SAME: "same", OWN: "own", LACKS: "lacks it", "differs": "differs", EMPTY: "", NONE: ""}
_ROLES = {INIT: "slot other", SAME: "slot direct", OWN: "slot identity", EMPTY: "empty"} | dict.fromkeys(BEHIND, "gap")
_HATCHED = {SAME: "direct", OWN: "identity"}
LEGEND = (
    (SAME, "same: leads where init_mm leads"),
    (OWN, "own: leads where init_mm does not"),
    (LACKS, "behind init_mm: lacks an entry, or it differs"),
)


def draw(state: TablesState, moment: int) -> Scene:
    """The scene of a moment.  A pure function; rows stand in the same places at every moment."""
    bottom = _BODY_TOP + sum(_height(row) for row in state.rows)
    said = bottom + 70
    lane = said + _LINE * max(len(list(_said(state, k))) for k in range(len(state.story.moments))) + 14
    parts = (
        _heads(state, moment),
        _body(state, moment),
        _legend(bottom + 18),
        (Text(MARGIN, said + _LINE * k, line, role) for k, (line, role) in enumerate(_said(state, moment))),
        _beads(state, moment, lane),
    )
    height = lane + 44 if len(state.story.moments) > 1 else lane
    shapes = tuple(shape for part in parts for shape in part)
    return Scene(WIDTH, height, title(state, moment), description(state, moment), shapes)


def title(state: TablesState, moment: int) -> str:
    """What the picture is of, in one line."""
    story = state.story
    return f"Top-level tables of kernel {story.kernel} on {story.machine}; moment: {story.moments[moment].label}"


def description(state: TablesState, moment: int) -> str:
    """The picture in words."""
    return " ".join((f"Columns: {', '.join(state.names)}.", *sentences(state, moment)))


def sentences(state: TablesState, moment: int) -> tuple[str, str, str]:
    """What happened, what was written, and who is behind."""
    written, behind = state.written(moment), state.behind(moment)
    first = "This is the first moment shown." if not moment else "No top-level entry was written."
    return (
        state.story.moments[moment].note,
        f"Written: {', '.join(written)}." if written else first,
        f"Behind init_mm: {', '.join(behind)}." if behind else "Nobody is behind init_mm.",
    )


def column_x(state: TablesState, column: int) -> float:
    """Where a column begins; the number behind the last column gives the end."""
    return _COLUMNS + column * (_RIGHT + _GAP - _COLUMNS) / len(state.names)


def _said(state: TablesState, moment: int) -> Iterator[tuple[str, str]]:
    roles = ("small strong", "small", "small faulttext" if state.behind(moment) else "small")
    for sentence, role in zip(sentences(state, moment), roles, strict=True):
        for line in wrap(sentence, _LETTERS_A_LINE, subsequent_indent="    "):
            yield line, role


def _heads(state: TablesState, moment: int) -> Iterator[Shape]:
    story = state.story
    yield Text(MARGIN, 22, f"Top-level tables of kernel {story.kernel}", "head")
    machine = story.machine
    yield Text(MARGIN, 41, machine if len(machine) <= _MACHINE else f"{machine[: _MACHINE - 1]}…", "small")
    yield Text(_NUMBERS_END, _BODY_TOP - 10, "slots", "small end strong")
    room = int((column_x(state, 1) - column_x(state, 0) - _GAP) / _HEAD_LETTER)
    for column, name in enumerate(state.names):
        x, table = column_x(state, column), state.table(moment, column)
        where = f"at {table.pa:#x}" if table else "not there yet"
        short = name if len(name) <= room else f"{name[: room - 1]}…"
        yield Text(x, _BODY_TOP - 42, short, "small strong" if table else "small muted")
        yield Text(x, _BODY_TOP - 26, where, "small" if table else "small muted")
        yield Text(x, _BODY_TOP - 10, table.role if table else "", "small muted")


def _height(row: Row) -> int:
    return _THIN_ROW if row.empty else _ROW


def _body(state: TablesState, moment: int) -> Iterator[Shape]:
    """The rows, from the highest slot down."""
    y = _BODY_TOP
    for row in reversed(state.rows):
        height = _height(row)
        middle = y + height / 2 + 4
        yield Text(_NUMBERS_END, middle, row.numbers, "small end muted" if row.empty else "small end strong")
        yield Text(_REGION, middle, "empty" if row.empty else row.region, "small muted" if row.empty else "small")
        for column, cell in enumerate(row.cells[moment]):
            x = column_x(state, column)
            box = Rect(x, y + 2, column_x(state, column + 1) - _GAP - x, height - 4, "", "")
            yield from _cell(box, cell, tip(state, row, moment, column))
        y += height


def _cell(box: Rect, cell: Cell, words: str) -> Iterator[Shape]:
    if cell.kind == NONE:
        return
    yield Rect(box.x, box.y, box.width, box.height, f"{_ROLES[cell.kind]} item", words)
    if cell.kind in _HATCHED:
        role = _HATCHED[cell.kind]
        yield Rect(box.x, box.y, _STRIP, box.height, f"swatch {role}")
        yield Rect(box.x, box.y, _STRIP, box.height, f"hatch {role}")
    middle = box.y + box.height / 2 + 4
    if cell.letter:
        yield Text(box.x + 18, middle, cell.letter, "small strong")
    looks = "small faulttext strong" if cell.kind in BEHIND else "small"
    if WORDS[cell.kind]:
        yield Text(box.x + (38 if cell.letter else 18), middle, WORDS[cell.kind], looks)
    if cell.fresh:
        yield Rect(box.x + box.width - 7, box.y, 7, box.height, "fresh", "written since the moment before")


def tip(state: TablesState, row: Row, moment: int, column: int) -> str:
    """One cell in words."""
    cell = row.cells[moment][column]
    place = f"{state.names[column]}[{row.numbers}], {row.region}"
    kind = {
        INIT: "init_mm's own",
        SAME: "leads where init_mm's leads",
        OWN: "its own",
        LACKS: "lacks what init_mm has",
        "differs": "leads elsewhere than init_mm's",
        EMPTY: "empty",
        NONE: "not there yet",
    }[cell.kind]
    entry = f"; {'first ' if row.last > row.first else ''}entry {cell.entry:#x}" if cell.entry else ""
    shared = f"; same lower table as every cell with {cell.letter}" if cell.letter else ""
    return f"{place}: {kind}{entry}{shared}{'; just written' if cell.fresh else ''}"


def _legend(y: float) -> Iterator[Shape]:
    for number, (kind, words) in enumerate(LEGEND):
        x = MARGIN + 312 * number
        yield Rect(x, y - 8, 22, 16, _ROLES[kind])
        for part in ("swatch", "hatch") if kind in _HATCHED else ():
            yield Rect(x, y - 8, _STRIP, 16, f"{part} {_HATCHED[kind]}")
        yield Text(x + 30, y + 4, words, "small")
    y += 20
    yield Rect(MARGIN + 8, y - 8, 7, 16, "fresh")
    yield Text(MARGIN + 30, y + 4, "just written", "small")
    yield Text(MARGIN + 319, y + 4, "A", "small strong")
    yield Text(MARGIN + 342, y + 4, "cells with the same letter lead to the same lower tables", "small")


def _beads(state: TablesState, moment: int, y: float) -> Iterator[Shape]:
    moments = state.story.moments
    if len(moments) == 1:
        return
    step = (WIDTH - 2 * MARGIN) / len(moments)
    xs = [MARGIN + step * (k + 0.5) for k in range(len(moments))]
    yield Path(points((xs[0], y), (xs[-1], y)), "string")
    if moment:
        yield Path(points((xs[0], y), (xs[moment], y)), "string done")
    yield Circle(xs[moment], y, 11, "here")
    for k, (x, bead) in enumerate(zip(xs, moments, strict=True)):
        role, words = (
            ("bead fault", f"{bead.label}; somebody is behind") if state.behind(k) else ("bead kernel", bead.label)
        )
        yield Circle(x, y, 6, role, words, k)
        yield Text(x, y + 28, bead.label, "small middle strong" if k == moment else "small middle")
