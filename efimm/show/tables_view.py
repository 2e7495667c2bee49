"""The top-level tables of a kernel side by side: who has which entry, who shares it, and who has fallen behind.

    slots and region | init_mm's table | the trampoline's | the firmware's | processes ...
    what happened, what was written, who is behind
    the moments

Columns are tables, rows are slots, beads are moments.  Neighbouring slots make one row when at no moment any table
tells them apart: in what is there, in who shares its lower table, and in whether it was just written.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from textwrap import wrap

from ..linux.state import Kernel, Linux
from ..lives import Saved, Table, TablesStory, story_now, story_of, story_saved
from ..text import COLUMNS, slot_numbers, wrapped
from ..x86.modes import ADDRESS_MASK
from .drawing.frames import Frame, Frames
from .drawing.kit import MARGIN, WIDTH, Mark, boxed, filled, fitted, heads, joined, legend
from .drawing.shapes import Circle, Path, Rect, Scene, Shape, Text, points

# What a cell is.  "none": the table does not exist yet.
NONE, EMPTY, INIT, SAME, OWN, LACKS, DIFFERS = "none", "empty", "init", "same", "own", "lacks", "differs"
BEHIND = (LACKS, DIFFERS)
_BLANK = (NONE, EMPTY)
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Sharing = frozenset[tuple[int, int]]  # a table's column, and how many slots away the same lower table is


@dataclass(frozen=True, slots=True)
class Cell:
    """Some slots of a table at a moment: what they are, whether that was just written, and where each one leads.

    `letter` is the same in all cells that lead to the same lower tables, "" where there is no second one.
    """

    kind: str
    fresh: bool
    entry: int
    leads: tuple[int, ...]
    letter: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Slots `first` to `last` of all tables, at every moment: cells[moment][column]."""

    first: int
    last: int
    region: str
    cells: tuple[tuple[Cell, ...], ...]

    @property
    def numbers(self) -> str:
        """The slots as text."""
        return slot_numbers(self.first, self.last)

    @property
    def empty(self) -> bool:
        """True when no table ever has anything here, and none should."""
        return all(cell.kind in _BLANK for cells in self.cells for cell in cells)


@dataclass(frozen=True, slots=True)
class TablesState:
    """Everything that scenes and twins are made of: the columns' names, and the rows from slot 0 up."""

    story: TablesStory
    names: tuple[str, ...]
    rows: tuple[Row, ...]

    def table(self, moment: int, column: int) -> Table | None:
        """The table of a column, None before it exists."""
        tables = self.story.moments[moment].tables
        return next((table for table in tables if table.name == self.names[column]), None)

    def written(self, moment: int) -> list[str]:
        """What was written since the moment before, as "table[slots]"; nothing at the first one."""
        return self._places(moment, lambda cell: cell.fresh)

    def behind(self, moment: int) -> list[str]:
        """Where tables have fallen behind init_mm's, as "table[slots]"."""
        return self._places(moment, lambda cell: cell.kind in BEHIND)

    def _places(self, moment: int, wanted: Callable[[Cell], bool]) -> list[str]:
        found = []
        for column, name in enumerate(self.names):
            slots = [row for row in self.rows if wanted(row.cells[moment][column])]
            if slots:
                found.append(f"{name}[{_joined(slots)}]")
        return found


def state_of(story: TablesStory) -> TablesState:
    """The story's tables, compared and folded."""
    names = tuple(table.name for table in story.moments[-1].tables)
    moments = [_compared(story, number, names) for number in range(len(story.moments))]

    def alike(slot: int) -> object:
        cells = [(cell.kind, cell.fresh, sharing) for moment in moments for cell, sharing in moment[slot]]
        blank = all(kind in _BLANK for kind, _, _ in cells)
        return "" if blank else (story.regions[slot], cells)

    runs = [[*group] for _, group in groupby(range(len(story.regions)), alike)]
    rows = [Row(run[0], run[-1], story.regions[run[0]], _cells(moments, run)) for run in runs]
    return TablesState(story, names, tuple(_lettered(rows)))


_Slots = list[list[tuple[Cell, Sharing]]]  # [slot][column]
# What nearly all slots are: the same two for all of them.
_NO_TABLE, _NO_ENTRY = ((Cell(kind, fresh=False, entry=0, leads=()), Sharing()) for kind in (NONE, EMPTY))


def _compared(story: TablesStory, number: int, names: tuple[str, ...]) -> _Slots:
    """Each slot of each table at a moment, with who else leads where it leads."""
    now, before = ({t.name: t for t in story.moments[k].tables} if k >= 0 else None for k in (number, number - 1))
    assert now is not None
    init = now[names[0]].words
    users: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for column, name in enumerate(names):
        for slot, word in enumerate(now[name].words if name in now else ()):
            if word:
                users[word & ADDRESS_MASK].append((column, slot))

    def one(slot: int, column: int) -> tuple[Cell, Sharing]:
        table = now.get(names[column])
        if table is None:
            return _NO_TABLE
        word, old = table.words[slot], before.get(table.name) if before is not None else table
        fresh = word != (old.words[slot] if old else 0)
        if not (word or fresh or slot in table.stale):
            return _NO_ENTRY
        kind = INIT if word and not column else _kind(word, init[slot], behind=slot in table.stale)
        others = users[word & ADDRESS_MASK] if word else []
        sharing = frozenset((c, s - slot) for c, s in others if (c, s) != (column, slot))
        return Cell(kind, fresh, word, (word & ADDRESS_MASK,) if word else ()), sharing

    return [[one(slot, column) for column in range(len(names))] for slot in range(len(init))]


def _kind(word: int, reference: int, *, behind: bool) -> str:
    if not word:
        return LACKS if behind else EMPTY
    if behind:
        return DIFFERS
    return SAME if not (word ^ reference) & ADDRESS_MASK else OWN


def _cells(moments: list[_Slots], run: list[int]) -> tuple[tuple[Cell, ...], ...]:
    """The cells of a row: as its first slot is, leading where all of its slots lead."""
    return tuple(
        tuple(
            replace(cell, leads=tuple(address for slot in run for address in moment[slot][column][0].leads))
            for column, (cell, _) in enumerate(moment[run[0]])
        )
        for moment in moments
    )


def _lettered(rows: list[Row]) -> Iterator[Row]:
    """The rows with letters, given out from the highest slot down in the order of the moments."""
    letters: dict[tuple[int, ...], str] = {}
    for moment in range(len(rows[0].cells)):
        used = Counter(cell.leads for row in rows for cell in row.cells[moment] if cell.leads)
        for row in reversed(rows):
            for cell in row.cells[moment]:
                if used[cell.leads] > 1 and cell.leads not in letters:
                    number = len(letters)
                    letters[cell.leads] = _LETTERS[number % 26] + (str(number // 26) if number >= 26 else "")

    def lettered(cell: Cell, moment: int) -> Cell:
        shared = sum(other.leads == cell.leads for row in rows for other in row.cells[moment]) > 1
        return replace(cell, letter=letters[cell.leads]) if cell.leads and shared else cell

    for row in rows:
        cells = tuple(tuple(lettered(cell, k) for cell in moment) for k, moment in enumerate(row.cells))
        yield replace(row, cells=cells)


def _joined(rows: list[Row]) -> str:
    """The rows' slots as text, runs that touch as one."""
    runs: list[tuple[int, int]] = []
    for row in rows:
        if runs and runs[-1][1] + 1 == row.first:
            runs[-1] = runs[-1][0], row.last
        else:
            runs.append((row.first, row.last))
    return ", ".join(slot_numbers(*run) for run in runs)


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


def _key(kind: str) -> Mark:
    hatch = _HATCHED.get(kind, "")
    return boxed(22, 16, _ROLES[kind], hatch, strip=_STRIP, swatch=hatch)


_KINDS = [(_key(kind), words) for kind, words in LEGEND]
_MARKS: list[tuple[Mark, str]] = [
    (boxed(7, 16, "fresh"), "just written"),
    (
        lambda x, y: (Text(x, y + 4, "A", "small middle strong"),),
        "cells with the same letter lead to the same lower tables",
    ),
]


def draw(state: TablesState, moment: int) -> Scene:
    """The scene of a moment.  A pure function; rows stand in the same places at every moment."""
    bottom = _BODY_TOP + sum(_height(row) for row in state.rows)
    said = bottom + 70
    lane = said + _LINE * max(len(list(_said(state, k))) for k in range(len(state.story.moments))) + 14
    return joined(
        lane + 44 if len(state.story.moments) > 1 else lane,
        title(state, moment),
        description(state, moment),
        _heads(state, moment),
        _body(state, moment),
        legend(_KINDS, MARGIN + 11, bottom + 18, 19, across=312),
        legend(_MARKS, MARGIN + 11, bottom + 38, 19, across=312),
        (Text(MARGIN, said + _LINE * k, line, role) for k, (line, role) in enumerate(_said(state, moment))),
        _beads(state, moment, lane),
    )


def title(state: TablesState, moment: int) -> str:
    """What the picture is of, in one line."""
    story = state.story
    return f"Top-level tables of {story.whose} on {story.machine}; moment: {story.moments[moment].label}"


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
    yield from heads(f"Top-level tables of {story.whose}", fitted(story.machine, _MACHINE))
    yield Text(_NUMBERS_END, _BODY_TOP - 10, "slots", "small end strong")
    room = column_x(state, 1) - column_x(state, 0) - _GAP
    for column, name in enumerate(state.names):
        x, table = column_x(state, column), state.table(moment, column)
        where = f"at {table.pa:#x}" if table else "not there yet"
        yield Text(x, _BODY_TOP - 42, fitted(name, room, _HEAD_LETTER), "small strong" if table else "small muted")
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
    hatch = _HATCHED.get(cell.kind, "")
    yield from filled(replace(box, role=f"{_ROLES[cell.kind]} item", tip=words), hatch, strip=_STRIP, swatch=hatch)
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


_NUMBERS, _REGION_WIDTH = 9, 20
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
    yield wrapped(f"top-level tables of {story.whose} on {story.machine}")
    for sentence in sentences(state, moment):
        yield wrapped(sentence)
    yield [""]
    for column, name in enumerate(state.names):
        table = state.table(moment, column)
        yield wrapped(f"({column + 1}) {name}, " + (f"{table.role}, at {table.pa:#x}" if table else "not there yet"))
    width = _mark_width(state)
    heads = "".join(f"({column + 1})".ljust(width) for column in range(len(state.names)))
    yield ["", f"{'slots':>{_NUMBERS}} {'':<{_REGION_WIDTH}}{heads}".rstrip()]
    for row in reversed(state.rows):
        marks = "".join(_mark(cell).ljust(width) for cell in row.cells[moment])
        region = "empty" if row.empty else row.region
        yield [f"{row.numbers:>{_NUMBERS}} {region:<{_REGION_WIDTH}}{'' if row.empty else marks}".rstrip()]
    yield ["", *wrapped(_KEY)]
    labels = [f"[{m.label}]" if k == moment else m.label for k, m in enumerate(story.moments)]
    yield wrapped("moments: " + ", ".join(labels))


def _mark_width(state: TablesState) -> int:
    return min(_MARK, (COLUMNS - _NUMBERS - 1 - _REGION_WIDTH) // len(state.names))


def _mark(cell: Cell) -> str:
    blank = {EMPTY: ".", NONE: "", INIT: "" if cell.letter else "init"}.get(cell.kind, WORDS[cell.kind].split(" ")[0])
    return " ".join(part for part in (cell.letter, blank) if part) + ("*" if cell.fresh else "")


def tables_view(what: Linux | Kernel | str | Saved = "3.5", ram: str | int = "1T", arch: str = "x86_64") -> Frames:
    """The tables of `what`: a booted kernel as it stands now, a kernel (a record or its name) led through its life, or
    what `x86.load_tables` gives: tables saved from a real machine.

    `ram` and `arch` are for a kernel, as in efimm.machine.  Raises MachineError for a machine that cannot be.
    """
    state = state_of(_story(what, ram, arch))
    return Frames([frame(state, moment) for moment in range(len(state.story.moments))])


def _story(what: Linux | Kernel | str | Saved, ram: str | int, arch: str) -> TablesStory:
    if isinstance(what, tuple):
        return story_saved(*what)
    return story_now(what) if isinstance(what, Linux) else story_of(what, ram, arch)


def frame(state: TablesState, moment: int) -> Frame:
    """One moment, as picture and as text."""
    words, good = " ".join(sentences(state, moment)), not state.behind(moment)
    return Frame(draw(state, moment), describe(state, moment), words, good)
