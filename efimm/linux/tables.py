"""Kernel page tables for whole ranges at once, at a cost that grows with the ranges and not with the pages in them.

What Linux does entry by entry (phys_pud_init, phys_pmd_init, phys_pte_init in arch/x86/mm/init_64.c, v3.5) happens here
in groups of equal neighbours.  `new_tables` makes tables that were not there: what is in them is kept as the ranges,
and becomes bytes page by page.  `TableFiller` goes on where tables are.  The rules for what it finds are the kernel's:
a table is filled further, a large page that is allowed is kept, one that is not allowed is split with its own
protection, a present page stays.  The order in which table pages are taken differs from Linux where more than one level
is new: here level by level.  `set_pgd` writes one top-level entry, with what page-table isolation adds to it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple

from ..trace import Trace
from ..x86 import PageTable
from ..x86.memory import PAGE_SHIFT, PAGE_SIZE, PhysMemory, TableRun, progression
from ..x86.modes import ADDRESS_MASK, LONG4, NX, PS, US, Level, P, PagingMode
from .layout import PAGE_TABLE, PMD_SHIFT, PTRS_PER_PGD
from .state import Linux

_TABLE_BITS = 9  # a table of 8-byte entries has 512
_INDEX_MASK = (1 << _TABLE_BITS) - 1
_LOW, _HIGH = itemgetter(0), itemgetter(1)

Range = tuple[int, int]
# Entries [low, high) of a level, counted from address 0, are first, first + step, ...: (low, high, first, step).
Segment = tuple[int, int, int, int]


class Extent(NamedTuple):
    """A piece of address space to map: [start, end) to `pa`, with `prot`, by pages of at most `1 << leaf_shift`."""

    start: int
    end: int
    pa: int
    prot: int
    leaf_shift: int

    def part(self, start: int, end: int) -> Extent:
        """The sub-extent [start, end), with the physical address that belongs to it."""
        return Extent(start, end, self.pa + start - self.start, self.prot, self.leaf_shift)

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
    mode: PagingMode = LONG4,
) -> int:
    """Make the tables of level `depth` for [start, end), and all below that map `extents`; where the first one is.

    The tables of a level are pages in a row, those of the upper level first.  `extents` are sorted, lie in
    [start, end), do not overlap, and have one page size.
    """
    leaf_shift = extents[0].leaf_shift if extents else mode.levels[depth].shift
    levels = [level for level in mode.levels[depth:] if level.shift >= leaf_shift]
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


PTRS_PER_TABLE = 512


@dataclass(frozen=True, slots=True)
class TableFiller:
    """Where table pages come from, where their bytes go, and the flags of the entries that lead to them.

    With `clear_rest` the entries behind what was mapped are emptied, as the early kernel does (`!after_bootmem`).
    """

    memory: PhysMemory
    trace: Trace
    alloc_pages: Callable[[int], int]
    clear_rest: bool = False
    table_flags: int = PAGE_TABLE
    mode: PagingMode = LONG4

    def fill_below(self, table: int, depth: int, extent: Extent) -> int:
        """Map `extent`, all of it under the table page at `table`, whose place in the mode's levels is `depth`.

        Gives the kernel's `last_map_addr`: the end of what was mapped last.  Small pages that were present already do
        not count, so it can lie below the end of the extent; efi_ioremap then maps the remainder once more.
        """
        level = self.mode.levels[depth]
        va = last_map_addr = extent.start
        nothing_new = True
        while va < extent.end:
            entry = self.memory.read_u64(table + 8 * level.index(va))
            count = self._equal_neighbours(table, level, entry, va, extent.end)
            upto = min(extent.end, (va // level.span + count) * level.span)
            mapped_to = self._fill_group(table, depth, entry, extent.part(va, upto))
            if mapped_to is not None:
                last_map_addr, nothing_new = mapped_to, False
            va = upto
        rest = level.index(-(-extent.end // level.span) * level.span)
        if self.clear_rest and level.shift <= PMD_SHIFT and rest:
            self._clear_from(table, level, rest)
        return extent.end if nothing_new else last_map_addr

    def _equal_neighbours(self, table: int, level: Level, first: int, va: int, end: int) -> int:
        """How many entries from that of `va` on, which is `first`, can be treated alike in the table and the range.

        Those are empty entries in a row, or pages in a row with equal flags; a link to a lower table is one of its own.
        """
        index = level.index(va)
        most = min(PTRS_PER_TABLE - index, -(-end // level.span) - va // level.span)
        if most == 1 or (first and not (first & PS or level.shift == PAGE_SHIFT)):
            return 1
        return self._view(table, level).alike(index, most, level.span if first else 0)

    def _fill_group(self, table: int, depth: int, entry: int, extent: Extent) -> int | None:
        """Map entries like `entry`, the first; the end of what was mapped, or None where small pages were there."""
        level = self.mode.levels[depth]
        index = level.index(extent.start)
        leaf = level.shift == PAGE_SHIFT or entry & PS
        if entry & P and not leaf:
            return self.fill_below(entry & ADDRESS_MASK, depth + 1, extent)
        if entry & P and level.shift <= extent.leaf_shift:
            return None if level.shift == PAGE_SHIFT else extent.end
        if level.shift <= extent.leaf_shift:
            self._view(table, level).fill(index, extent.entries(level), extent.leaf(level), level.span)
        else:
            if entry & P:
                extent = extent._replace(prot=entry & ~ADDRESS_MASK & ~PS)
            span, flags = (extent.start, extent.end), self.table_flags
            args = self.memory, self.alloc_pages, depth + 1, [extent]
            tables = new_tables(*args, *span, table_flags=flags, mode=self.mode)
            self._view(table, level).fill(index, extent.entries(level), tables | self.table_flags, PAGE_SIZE)
        return extent.end

    def _clear_from(self, table: int, level: Level, index: int) -> None:
        rest = PTRS_PER_TABLE - index
        if any(self.memory.read_u64(table + 8 * (index + k)) for k in range(rest)):
            self._view(table, level).fill(index, rest, 0, 0)

    def _view(self, table: int, level: Level) -> PageTable:
        return PageTable(self.memory, table, f"{level.name}@{table:#x}", self.trace)


def set_pgd(linux: Linux, table: PageTable, index: int, entry: int) -> None:
    """`table[index] = entry`; under KPTI an entry of the lower half that user mode may use is made not executable.

    Source: __pti_set_user_pgtbl in arch/x86/mm/pti.c, v6.1.  KPTI came with 4.15 and went into older kernels'
    updates, so any kernel may meet it here.  Left out: the second table, for user mode, that gets the entry too.
    """
    user = P | US
    if linux.machine.kpti and index < PTRS_PER_PGD // 2 and entry & user == user:
        entry |= NX
    table[index] = entry


class TableArea:
    """Pages from frame `first_pfn` on that hold `tables`, one after the other, with `segments` as their entries.

    `tables` are ranges [low, high) of a level's tables, counted from address 0; `segments` are entries of that level.
    Both are sorted, nothing overlaps, and every segment lies in a range.  Entries outside segments are 0.
    """

    def __init__(self, first_pfn: int, count: int, tables: Sequence[Range], segments: Sequence[Segment]) -> None:
        self.first_pfn, self.count, self.entry_bytes = first_pfn, count, 8
        self._tables, self._segments = tables, segments

    @cached_property
    def _starts(self) -> list[int]:
        """The place of the first table of each range among the pages."""
        return list(accumulate((high - low for low, high in self._tables[:-1]), initial=0))

    def word(self, pfn: int, index: int) -> int:
        """Entry `index` of the table page `pfn`."""
        number = self._table(pfn) << _TABLE_BITS | index
        place = bisect_right(self._segments, number, key=_LOW) - 1
        low, high, first, step = self._segments[place] if place >= 0 else (0, 0, 0, 0)
        return first + (number - low) * step if low <= number < high else 0

    def page(self, pfn: int) -> bytearray:
        """The 4096 bytes of the table page `pfn`."""
        start = self._table(pfn) << _TABLE_BITS
        page = bytearray(PAGE_SIZE)
        for low, high, first, step in self._between(start, start + _INDEX_MASK + 1):
            skipped = max(start - low, 0)
            count = min(high, start + _INDEX_MASK + 1) - low - skipped
            at = 8 * (low + skipped - start)
            page[at : at + 8 * count] = progression(first + skipped * step, count, step)
        return page

    def run_at(self, pfn: int) -> TableRun | None:
        """The pages around `pfn` that one segment fills alone, as a run; None for a page with several, or none."""
        table = self._table(pfn)
        here = self._between(table << _TABLE_BITS, table + 1 << _TABLE_BITS)
        if len(here) != 1:
            return None
        low, high, first, step = here[0]
        start, end = self._alone(low, high)
        begin = max(low, start << _TABLE_BITS)
        first += (begin - low) * step
        low, high = begin - (start << _TABLE_BITS), min(high, end << _TABLE_BITS) - (start << _TABLE_BITS)
        return TableRun(pfn - (table - start), end - start, low, high, first, step)

    def pages(self, start: int, end: int) -> TableArea:
        """The part of the area in the frames from `start` up to `end`."""
        tables: list[Range] = []
        for place, (low, high) in zip(self._starts, self._tables, strict=True):
            first = max(low, low + start - self.first_pfn - place)
            last = min(high, low + end - self.first_pfn - place)
            if first < last:
                tables.append((first, last))
        segments = [
            (max(low, begin), min(high, behind), first + max(begin - low, 0) * step, step)
            for begin, behind in ((low << _TABLE_BITS, high << _TABLE_BITS) for low, high in tables)
            for low, high, first, step in self._between(begin, behind)
        ]
        return TableArea(start, end - start, tables, segments)

    def _alone(self, low: int, high: int) -> Range:
        """The tables in which the segment [low, high) has no neighbour."""
        start, end = low >> _TABLE_BITS, (high - 1 >> _TABLE_BITS) + 1
        if len(self._between(start << _TABLE_BITS, start + 1 << _TABLE_BITS)) > 1:
            start += 1
        if len(self._between(end - 1 << _TABLE_BITS, end << _TABLE_BITS)) > 1:
            end -= 1
        return start, end

    def _between(self, start: int, end: int) -> Sequence[Segment]:
        """The segments with an entry in [start, end)."""
        return self._segments[
            bisect_right(self._segments, start, key=_HIGH) : bisect_left(self._segments, end, key=_LOW)
        ]

    def _table(self, pfn: int) -> int:
        """Which table of its level the page holds."""
        page = pfn - self.first_pfn
        place = bisect_right(self._starts, page) - 1
        return self._tables[place][0] + page - self._starts[place]
