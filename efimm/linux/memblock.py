"""The early allocator: RAM, what is reserved of it, and a search from the top (mm/memblock.c, v3.5)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from operator import itemgetter

from ..x86.memory import PAGE_SIZE

_START, _END = itemgetter(0), itemgetter(1)


class Memblock:
    """Which RAM there is and which part of it is taken.  `current_limit` is the highest address handed out."""

    def __init__(self, ram: Iterable[tuple[int, int]]) -> None:
        self.memory = sorted(ram)
        self.reserved: list[tuple[int, int]] = []
        self.current_limit = 1 << 64

    def copy(self) -> Memblock:
        """The same RAM, with as much of it taken."""
        other = Memblock(self.memory)
        other.reserved, other.current_limit = [*self.reserved], self.current_limit
        return other

    def reserve(self, start: int, end: int) -> None:
        """Take [start, end) out of what can be allocated; overlaps and touching pieces are joined."""
        if start >= end:
            return
        first, behind = bisect_left(self.reserved, start, key=_END), bisect_right(self.reserved, end, key=_START)
        if first < behind:
            start, end = min(start, self.reserved[first][0]), max(end, self.reserved[behind - 1][1])
        self.reserved[first:behind] = [(start, end)]

    def is_region_reserved(self, start: int, size: int) -> bool:
        """True when any byte of the region is reserved (`memblock_is_region_reserved`)."""
        return any(low < start + size and start < high for low, high in self.reserved)

    def find_in_range(self, start: int, end: int, size: int, align: int = PAGE_SIZE) -> int | None:
        """The highest free place for `size` bytes in [start, end), below `current_limit`; None when there is none."""
        start, end = max(start, PAGE_SIZE), min(end, self.current_limit)
        for low, high in self._free_from_the_top(start, end):
            place = (high - size) // align * align
            if high - low >= size and place >= low:
                return place
        return None

    def alloc(self, size: int, align: int = PAGE_SIZE, *, start: int = 0, end: int = 1 << 64) -> int:
        """Reserve and return the highest free place for `size` bytes; MemoryError when there is none."""
        place = self.find_in_range(start, end, size, align)
        if place is None:
            raise MemoryError(f"no {size:#x} bytes of free RAM in [{start:#x}, {end:#x})")
        self.reserve(place, place + size)
        return place

    def _free_from_the_top(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The free pieces of [start, end), the highest first."""
        for low, high in reversed(_overlapping(self.memory, start, end)):
            bottom, top = max(low, start), min(high, end)
            for taken_low, taken_high in reversed(_overlapping(self.reserved, bottom, top)):
                if taken_high < top:
                    yield taken_high, top
                top = taken_low
            if top > bottom:
                yield bottom, top


def _overlapping(ranges: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Those of sorted ranges, none of which overlap, that have something in [start, end)."""
    return ranges[bisect_right(ranges, start, key=_END) : bisect_left(ranges, end, key=_START)]
