"""New page tables for many ranges at once: a run where one range fills tables alone, bytes where several share one.

The cost grows with the ranges and not with the pages in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..x86.memory import PAGE_SHIFT, PAGE_SIZE, PhysMemory, TableRun, progression
from ..x86.modes import LONG4, PS, Level
from .layout import PAGE_TABLE

_TABLE_BITS = 9
_INDEX_MASK = (1 << _TABLE_BITS) - 1

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Extent:
    """A piece of address space to map: [start, end) to `pa`, with `prot`, by pages of at most `1 << leaf_shift`."""

    start: int
    end: int
    pa: int
    prot: int
    leaf_shift: int

    def part(self, start: int, end: int) -> Extent:
        """The sub-extent [start, end), with the physical address that belongs to it."""
        return replace(self, start=start, end=end, pa=self.pa + start - self.start)

    def entries(self, level: Level) -> int:
        """How many entries of `level` the extent touches."""
        return -(-self.end // level.span) - self.start // level.span

    def leaf(self, level: Level) -> int:
        """The first entry of `level` when the extent is mapped by pages of that level."""
        return self.pa | self.prot | (PS if level.shift > PAGE_SHIFT else 0)


# Entries [low, high) of a level, counted from address 0, are first, first + step, ...: (low, high, first, step).
# A plain tuple, since a machine with thousands of nodes makes thousands of them.
_Segment = tuple[int, int, int, int]


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
    # From the pages up: which entries of each level are needed, and so which tables.
    entries = pages = [(extent.start >> leaf_shift, -(-extent.end >> leaf_shift)) for extent in extents]
    tables: list[list[Range]] = []
    for _ in levels[1:]:
        tables.insert(0, _joined((low >> _TABLE_BITS, (high - 1 >> _TABLE_BITS) + 1) for low, high in entries))
        entries = tables[0]
    above = levels[0].shift + _TABLE_BITS
    tables.insert(0, [(start >> above, -(-end >> above))])
    bases = [alloc_pages(sum(high - low for low, high in ranges)) for ranges in tables]
    for base, ranges, below, its_base in zip(bases, tables, tables[1:], bases[1:], strict=False):
        _store(memory, base, ranges, _links(below, its_base | table_flags))
    large, span = PS if leaf_shift > PAGE_SHIFT else 0, 1 << leaf_shift
    leaves = [(low, high, e.pa | e.prot | large, span) for (low, high), e in zip(pages, extents, strict=True)]
    _store(memory, bases[-1], tables[-1], leaves)
    return bases[0]


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """Sorted ranges, with those that touch or overlap made one."""
    joined: list[Range] = []
    for low, high in ranges:
        if joined and low <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(high, joined[-1][1])
        else:
            joined.append((low, high))
    return joined


def _links(tables: list[Range], entry: int) -> list[_Segment]:
    """The entries that lead to `tables`, which are pages in a row; `entry` is the first one."""
    segments = []
    for low, high in tables:
        segments.append((low, high, entry, PAGE_SIZE))
        entry += (high - low) * PAGE_SIZE
    return segments


def _store(memory: PhysMemory, base: int, tables: list[Range], segments: list[_Segment]) -> None:
    """Put `segments` into `tables`, which are pages in a row from `base` on."""
    runs: list[TableRun] = []
    pages: dict[int, bytearray] = {}  # those that several segments share
    followers = [segment[0] >> _TABLE_BITS for segment in segments[1:]]
    offsets = _frame_offsets(base, tables, segments)
    before = -1
    for (start, end, entry, step), offset, after in zip(segments, offsets, [*followers, -1], strict=True):
        first, last = start >> _TABLE_BITS, end - 1 >> _TABLE_BITS
        low, high = start, end
        if first in (before, after):
            low = end if first == last else first + 1 << _TABLE_BITS
            _fill(pages, offset + first, start & _INDEX_MASK, progression(entry, low - start, step))
        if low < high and last == after:
            high = last << _TABLE_BITS
            _fill(pages, offset + last, 0, progression(entry + (high - start) * step, end - high, step))
        if low < high:
            table, index, entries = low >> _TABLE_BITS, low & _INDEX_MASK, high - low
            count = (high - 1 >> _TABLE_BITS) - table + 1
            runs.append(TableRun(offset + table, count, index, index + entries, entry + (low - start) * step, step))
        before = last
    memory.add_runs(runs)
    for pfn, page in pages.items():
        memory.write(pfn << PAGE_SHIFT, page)


def _frame_offsets(base: int, tables: list[Range], segments: list[_Segment]) -> Iterator[int]:
    """For each segment, what to add to a table's number to get its page frame; tables in a row have the same."""
    first_pfn = base >> PAGE_SHIFT
    rest = iter(tables)
    low = high = 0
    for segment in segments:
        while segment[0] >> _TABLE_BITS >= high:
            first_pfn += high - low
            low, high = next(rest)
        yield first_pfn - low


def _fill(pages: dict[int, bytearray], pfn: int, index: int, entries: bytes) -> None:
    """Put `entries` at `index` of the table page `pfn`."""
    page = pages.get(pfn)
    if page is None:
        page = pages[pfn] = bytearray(PAGE_SIZE)
    page[8 * index : 8 * index + len(entries)] = entries
