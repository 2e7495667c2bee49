"""Physical memory: frames of bytes, and page tables that become bytes when they are first written.

A direct map of 64 TiB by 4 KiB pages takes 128 GiB of page tables.  Nearly all of them hold arithmetic progressions, so
such tables are kept as a few numbers (`LazyTables`, of which `TableRun` is the simplest: one progression) and answer
reads as if the bytes were there, each page computed when somebody looks at it.  A written page is simply a frame from
then on.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right, insort_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Final, Literal, Protocol

PAGE_SHIFT = 12
GIB = 1 << 30
PAGE_SIZE = 1 << PAGE_SHIFT
PAGE_MASK = ~(PAGE_SIZE - 1)
PHYSICAL_BITS = 52
_FIRST_PFN = attrgetter("first_pfn")

# A frame is seen as bytes, and as the words of a table: 8-byte entries, or the 4-byte ones of legacy paging.
_WORD_CODES: Final[dict[int, Literal["Q", "I"]]] = {8: "Q", 4: "I"}


@dataclass(slots=True)  # not frozen: a kernel makes thousands, and freezing takes most of the time of making one
class TableRun:
    """`count` table pages from frame `first_pfn` on, whose entries in sequence are an arithmetic progression.

    Entry number g of the run (512 to a page) is `first + (g - low) * step` for `low <= g < high`, and 0 elsewhere.
    """

    first_pfn: int
    count: int
    low: int
    high: int
    first: int
    step: int
    entry_bytes: int = 8

    @property
    def entries_per_page(self) -> int:
        """How many entries one table page holds."""
        return PAGE_SIZE // self.entry_bytes

    def entry(self, number: int) -> int:
        """Entry `number` of the run."""
        return self.first + (number - self.low) * self.step if self.low <= number < self.high else 0

    def word(self, pfn: int, index: int) -> int:
        """Entry `index` of the run's table page `pfn`."""
        return self.entry((pfn - self.first_pfn) * self.entries_per_page + index)

    def run_at(self, _pfn: int) -> TableRun | None:
        """The run itself."""
        return self

    def pages(self, start: int, end: int) -> TableRun:
        """The part of the run in the frames from `start` up to `end`."""
        before, size = (start - self.first_pfn) * self.entries_per_page, (end - start) * self.entries_per_page
        low, high = max(self.low - before, 0), min(self.high - before, size)
        return TableRun(start, end - start, low, high, self.entry(before + low), self.step, self.entry_bytes)

    def page(self, pfn: int) -> bytearray:
        """The 4096 bytes of the run's table page `pfn`."""
        start = (pfn - self.first_pfn) * self.entries_per_page
        low, high = max(self.low, start), min(self.high, start + self.entries_per_page)
        page = bytearray(PAGE_SIZE)
        if low < high:
            at = (low - start) * self.entry_bytes
            data = progression(self.entry(low), high - low, self.step, self.entry_bytes)
            page[at : at + len(data)] = data
        return page


def progression(first: int, count: int, step: int, entry_bytes: int = 8) -> bytes:
    """`count` table entries in a row as bytes: `first`, `first + step`, ..."""
    ones, places = _ladder(count, entry_bytes)
    return (first * ones + step * places).to_bytes(count * entry_bytes, "little")


@lru_cache(maxsize=1024)
def _ladder(count: int, entry_bytes: int) -> tuple[int, int]:
    """The rows 1, 1, 1, ... and 0, 1, 2, ... of `count` words, each as one long number.

    With them a whole row of entries is two multiplications, which is many times faster than entry by entry.
    """
    words = "<" + str(count) + _WORD_CODES[entry_bytes]
    rows = struct.pack(words, *[1] * count), struct.pack(words, *range(count))
    return int.from_bytes(rows[0], "little"), int.from_bytes(rows[1], "little")


class LazyTables(Protocol):
    """Table pages in a row, from frame `first_pfn` on, whose entries are computed when they are looked at."""

    first_pfn: int
    count: int

    @property
    def entry_bytes(self) -> int:
        """The size of an entry."""

    def word(self, pfn: int, index: int) -> int:
        """Entry `index` of the table page `pfn`."""

    def page(self, pfn: int) -> bytearray:
        """The 4096 bytes of the table page `pfn`."""

    def run_at(self, pfn: int) -> TableRun | None:
        """The pages around `pfn` as a run, or None where they are not one."""

    def pages(self, start: int, end: int) -> LazyTables:
        """The part in the frames from `start` up to `end`."""


class PhysMemory:
    """Sparse physical memory: any address below 2**52 can be read (zeros until written) and written."""

    def __init__(self) -> None:
        self.version = 0  # another number after every change, for those who keep what they made of the bytes
        self._frames: dict[int, bytearray] = {}
        # The same frames by number as words of 8 and of 4 bytes; who writes there changes `version`.
        self.words: dict[int, dict[int, memoryview]] = {size: {} for size in _WORD_CODES}
        self._lazy: list[LazyTables] = []
        self._hiding: list[int] = []  # the frames of bytes that hide a page of `_lazy`, ascending

    def copy(self) -> PhysMemory:
        """The same bytes once more: what is written to one from here on is not seen in the other."""
        other = PhysMemory()
        other.version, other._lazy, other._hiding = self.version, [*self._lazy], [*self._hiding]
        for pfn, frame in self._frames.items():
            other._keep(pfn, bytearray(frame))
        return other

    def read(self, pa: int, size: int) -> bytes:
        """The `size` bytes at physical address `pa`; ValueError outside 52 bits, or below 0 bytes.  Never allocates."""
        _check(pa, size)
        offset = pa & ~PAGE_MASK
        if offset + size <= PAGE_SIZE:  # in one page, as nearly always
            return bytes(self._page(pa >> PAGE_SHIFT)[offset : offset + size])
        pages = map(self._page, range(pa >> PAGE_SHIFT, (pa + size - 1 >> PAGE_SHIFT) + 1))
        return b"".join(pages)[offset : offset + size]

    def write(self, pa: int, data: bytes | bytearray) -> None:
        """Store `data` at physical address `pa`; ValueError outside 52 bits."""
        _check(pa, len(data))
        self.version += 1
        done = 0
        while done < len(data):
            offset = (pa + done) & ~PAGE_MASK
            part = data[done : done + PAGE_SIZE - offset]
            self._frame((pa + done) >> PAGE_SHIFT)[offset : offset + len(part)] = part
            done += len(part)

    def read_word(self, pa: int, entry_bytes: int) -> int:
        """The aligned little-endian word of 8 or 4 bytes at `pa`, without turning a table run into bytes."""
        pfn, offset = pa >> PAGE_SHIFT, pa & ~PAGE_MASK
        frame = self.words[entry_bytes].get(pfn)
        if frame is not None:
            return int(frame[offset // entry_bytes])
        tables = self._tables_at(pfn)
        if tables is None:
            return 0
        if tables.entry_bytes != entry_bytes:
            return int.from_bytes(self.read(pa, entry_bytes), "little")
        return tables.word(pfn, offset // entry_bytes)

    def read_u64(self, pa: int) -> int:
        """The aligned little-endian 64-bit word at `pa`."""
        return self.read_word(pa, 8)

    def write_u64(self, pa: int, value: int) -> None:
        """Store a little-endian 64-bit word at `pa`."""
        self.write(pa, value.to_bytes(8, "little"))

    def add_tables(self, tables: Iterable[LazyTables]) -> None:
        """Let each of `tables` stand for its pages, which must not have been written before."""
        for each in tables:
            insort_right(self._lazy, each, key=_FIRST_PFN)
        self.version += 1

    def replace_tables(self, run: TableRun) -> None:
        """Let `run` stand for its pages instead of what stood for them; none of them may be bytes by now."""
        end = run.first_pfn + run.count
        first = bisect_right(self._lazy, run.first_pfn, key=_FIRST_PFN) - 1
        behind = bisect_left(self._lazy, end, key=_FIRST_PFN)
        parts: list[LazyTables] = []
        for each in self._lazy[first:behind]:
            if each.first_pfn < run.first_pfn:
                parts.append(each.pages(each.first_pfn, run.first_pfn))
            if each.first_pfn + each.count > end:
                parts.append(each.pages(end, each.first_pfn + each.count))
        self._lazy[first:behind] = sorted([*parts, run], key=_FIRST_PFN)
        self.version += 1

    @property
    def lazy_tables(self) -> Sequence[LazyTables]:
        """The tables that are computed, by their first frame; a frame of bytes hides one of their pages."""
        return self._lazy

    def run_at(self, pfn: int) -> TableRun | None:
        """The run that frame `pfn` belongs to; None where it is bytes by now, nothing, or more than one progression."""
        tables = None if pfn in self._frames else self._tables_at(pfn)
        return tables.run_at(pfn) if tables else None

    def run_from(self, pfn: int) -> TableRun | None:
        """As `run_at`, but from frame `pfn` on, and only as far as no page of it has become bytes."""
        run = self.run_at(pfn)
        if run is None:
            return None
        place, end = bisect_right(self._hiding, pfn), run.first_pfn + run.count
        return run.pages(pfn, min(end, self._hiding[place]) if place < len(self._hiding) else end)

    def _tables_at(self, pfn: int) -> LazyTables | None:
        place = bisect_right(self._lazy, pfn, key=_FIRST_PFN)
        tables = self._lazy[place - 1] if place else None
        return tables if tables is not None and pfn < tables.first_pfn + tables.count else None

    @property
    def frames_in_use(self) -> int:
        """How many 4 KiB frames have become bytes: the memory that the model itself takes."""
        return len(self._frames)

    def _page(self, pfn: int) -> bytearray | bytes:
        frame = self._frames.get(pfn)
        if frame is not None:
            return frame
        tables = self._tables_at(pfn)
        return tables.page(pfn) if tables else _ZEROS

    def _frame(self, pfn: int) -> bytearray:
        frame = self._frames.get(pfn)
        if frame is None:
            tables = self._tables_at(pfn)
            if tables:
                insort_right(self._hiding, pfn)
            frame = self._keep(pfn, tables.page(pfn) if tables else bytearray(PAGE_SIZE))
        return frame

    def _keep(self, pfn: int, frame: bytearray) -> bytearray:
        self._frames[pfn] = frame
        for size, code in _WORD_CODES.items():
            self.words[size][pfn] = memoryview(frame).cast(code)
        return frame


_ZEROS = bytes(PAGE_SIZE)


def _check(pa: int, size: int) -> None:
    if size < 0:
        raise ValueError(f"{size} bytes")
    if pa < 0 or pa + size > 1 << PHYSICAL_BITS:
        raise ValueError(f"physical address {pa:#x} (+{size:#x}) is outside {PHYSICAL_BITS} bits")
