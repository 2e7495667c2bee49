"""New page tables for many ranges at once: what is in them is kept as the ranges, and becomes bytes page by page.

The cost grows with the ranges and not with the pages in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..x86.memory import PAGE_SHIFT, PAGE_SIZE, PhysMemory
from ..x86.modes import LONG4, PS, Level
from ..x86.tablearea import Range, Segment, TableArea
from .layout import PAGE_TABLE

_TABLE_BITS = 9


class Extent(NamedTuple):
    """A piece of address space to map: [start, end) to `pa`, with `prot`, by pages of at most `1 << leaf_shift`."""

    start: int
    end: int
    pa: int
    prot: int
    leaf_shift: int

    def part(self, start: int, end: int) -> Extent:
        """The sub-extent [start, end), with the physical address that belongs to it."""
        return self._replace(start=start, end=end, pa=self.pa + start - self.start)

    def entries(self, level: Level) -> int:
        """How many entries of `level` the extent touches."""
        return -(-self.end // level.span) - self.start // level.span

    def leaf(self, level: Level) -> int:
        """The first entry of `level` when the extent is mapped by pages of that level."""
        return self.pa | self.prot | (PS if level.shift > PAGE_SHIFT else 0)


def new_tables(
    memory: PhysMemory,
    alloc_pages: Callable[[int], int],
    depth: int,
    extents: Sequence[Extent],
    start: int,
    end: int,
    *,
    table_flags: int = PAGE_TABLE,
) -> int:
    """Make the tables of level `depth` for [start, end), and all below that map `extents`; where the first one is.

    The tables of a level are pages in a row, those of the upper level first.  `extents` are sorted, lie in
    [start, end), do not overlap, and have one page size.
    """
    leaf_shift = extents[0].leaf_shift if extents else LONG4.levels[depth].shift
    levels = [level for level in LONG4.levels[depth:] if level.shift >= leaf_shift]
    large, span = PS if leaf_shift > PAGE_SHIFT else 0, 1 << leaf_shift
    leaves = [(e.start >> leaf_shift, -(-e.end >> leaf_shift), e.pa | e.prot | large, span) for e in extents]
    # From the pages up: which tables of each level are needed, so that room can be taken for them from the top down.
    tables = [_tables_for(leaves)]
    for _ in levels[1:]:
        tables.insert(0, _tables_for(tables[0]))
    above = levels[0].shift + _TABLE_BITS
    tables[0] = [(start >> above, -(-end >> above))]
    counts = [sum([high - low for low, high in ranges]) for ranges in tables]
    bases = [alloc_pages(count) for count in counts]
    segments = [_links(below, base | table_flags) for below, base in zip(tables[1:], bases[1:], strict=True)]
    frames = [base >> PAGE_SHIFT for base in bases]
    memory.add_tables(map(TableArea, frames, counts, tables, [*segments, leaves]))
    return bases[0]


def _tables_for(entries: Sequence[Range | Segment]) -> list[Range]:
    """The tables that `entries` lie in, as ranges; those that touch are one."""
    ranges: list[Range] = []
    end = -1
    for entry in entries:
        low, high = entry[0] >> _TABLE_BITS, (entry[1] - 1 >> _TABLE_BITS) + 1
        if low > end:
            ranges.append((low, high))
        elif high > end:
            ranges[-1] = ranges[-1][0], high
        end = high
    return ranges


def _links(tables: list[Range], entry: int) -> list[Segment]:
    """The entries that lead to `tables`, which are pages in a row; `entry` is the first one."""
    segments = []
    for low, high in tables:
        segments.append((low, high, entry, PAGE_SIZE))
        entry += (high - low) * PAGE_SIZE
    return segments
