"""Table pages in a row whose entries come from a list of arithmetic progressions: the tables of a whole direct map.

A machine with thousands of nodes has thousands of progressions in its tables.  They are kept as they are; a page is
computed when somebody looks at it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from operator import itemgetter

from .memory import PAGE_SIZE, TableRun, progression

_BITS = 9  # a table of 8-byte entries has 512
_INDEX_MASK = (1 << _BITS) - 1
_LOW, _HIGH = itemgetter(0), itemgetter(1)

Range = tuple[int, int]
# Entries [low, high) of a level, counted from address 0, are first, first + step, ...: (low, high, first, step).
Segment = tuple[int, int, int, int]


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
        number = self._table(pfn) << _BITS | index
        place = bisect_right(self._segments, number, key=_LOW) - 1
        low, high, first, step = self._segments[place] if place >= 0 else (0, 0, 0, 0)
        return first + (number - low) * step if low <= number < high else 0

    def page(self, pfn: int) -> bytearray:
        """The 4096 bytes of the table page `pfn`."""
        start = self._table(pfn) << _BITS
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
        here = self._between(table << _BITS, table + 1 << _BITS)
        if len(here) != 1:
            return None
        low, high, first, step = here[0]
        start, end = self._alone(low, high)
        begin = max(low, start << _BITS)
        first += (begin - low) * step
        low, high = begin - (start << _BITS), min(high, end << _BITS) - (start << _BITS)
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
            for begin, behind in ((low << _BITS, high << _BITS) for low, high in tables)
            for low, high, first, step in self._between(begin, behind)
        ]
        return TableArea(start, end - start, tables, segments)

    def _alone(self, low: int, high: int) -> Range:
        """The tables in which the segment [low, high) has no neighbour."""
        start, end = low >> _BITS, (high - 1 >> _BITS) + 1
        if len(self._between(start << _BITS, start + 1 << _BITS)) > 1:
            start += 1
        if len(self._between(end - 1 << _BITS, end << _BITS)) > 1:
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
