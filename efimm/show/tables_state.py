"""What stands in the cells of the tables' picture: slots folded to rows that stay the same at every moment.

Neighbouring slots make one row when at no moment any table tells them apart: in what is there, in who shares its lower
table, and in whether it was just written.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from ..text import slot_numbers
from ..x86.modes import ADDRESS_MASK
from .tables_story import Table, TablesStory

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
            return Cell(NONE, fresh=False, entry=0, leads=()), frozenset()
        word, old = table.words[slot], before.get(table.name) if before is not None else table
        fresh = word != (old.words[slot] if old else 0)
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
