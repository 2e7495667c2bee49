"""What a set of page tables maps, as ranges: neighbours that continue each other are one.

The cost grows with the ranges, and with the tables that are bytes, but not with the pages mapped: a run of tables is
read as the few numbers that it is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .memory import PAGE_SHIFT, PAGE_SIZE, PHYSICAL_BITS, PhysMemory
from .modes import ADDRESS_MASK, LONG4, NX, PAE, PS, RW, US, P, PagingMode, reserved_masks
from .pagewalk import read_pdptes

_ALL_RIGHTS = RW | US | NX
Part = tuple[int, int, int, int]  # offset, size, physical address, rights (RW and US as in an entry, NX the other way)


@dataclass(frozen=True, slots=True)
class MappedRange:
    """[va, va + size) is mapped to physical memory from `pa` on, with the rights of all levels together."""

    va: int
    size: int
    pa: int
    writable: bool
    user: bool
    executable: bool

    @property
    def end(self) -> int:
        """The address behind the last one."""
        return self.va + self.size

    @property
    def rights(self) -> str:
        """The rights as four letters, such as "rw--" or "r-xu"."""
        return f"r{'w' if self.writable else '-'}{'x' if self.executable else '-'}{'u' if self.user else '-'}"

    def __str__(self) -> str:
        return f"{self.va:#018x}-{self.end:#018x} -> {self.pa:#x} {self.rights}"


def mapped_ranges(
    memory: PhysMemory,
    root: int,
    mode: PagingMode = LONG4,
    *,
    contiguous: bool = True,
    maxphyaddr: int = PHYSICAL_BITS,
    nxe: bool = True,
    limit: int = 1 << 20,
) -> list[MappedRange]:
    """What the tables at `root` map, by canonical address.

    Neighbours with the same rights are joined where their physical addresses continue, or with `contiguous=False`
    wherever they touch; `pa` is then that of the first page.  Accessed, dirty, global and caching bits do not count.
    ValueError when there are more than `limit` ranges, as tables that lead to themselves can make them; also when one
    table by itself maps more, before the rights of the levels above make some of them alike.
    """
    if not mode.levels:
        return [MappedRange(0, 1 << mode.va_bits, 0, True, True, True)]
    parts = Scan(memory, mode, maxphyaddr, nxe, limit, contiguous).top(root)
    return [_mapped_range(part, mode) for part in parts]


class Scan:
    """One look at all tables; what lies below a table page is kept, since several entries may lead there."""

    def __init__(
        self, memory: PhysMemory, mode: PagingMode, maxphyaddr: int, nxe: bool, limit: int, contiguous: bool = True
    ) -> None:
        self._memory, self._mode, self._contiguous, self._limit = memory, mode, contiguous, limit
        self._masks = reserved_masks(mode, maxphyaddr, nxe)
        self._top = 1 << (maxphyaddr if mode.entry_bytes == 8 else PHYSICAL_BITS)
        self._frames = sorted(memory.words[8])
        self._meaning = P | _ALL_RIGHTS | PS | ADDRESS_MASK | mode.reserved_above
        # Where canonical addresses are not contiguous: the entry of the first table, and the offset that it covers.
        top = mode.levels[0]
        self._half = 1 << top.bits - 1 if mode.va_bits > 32 else 0
        self._hole = self._half * top.span
        self._known: dict[tuple[int, int, int], list[Part]] = {}

    def top(self, root: int) -> list[Part]:
        """Everything below the top-level table at `root`."""
        if self._mode is PAE:
            entries = enumerate(read_pdptes(self._memory, root))
            return self._joined(part for index, entry in entries for part in self._group(0, index, 1, entry))
        return self.tables(0, (root & self._mode.root_mask) >> PAGE_SHIFT, 1)

    def tables(self, depth: int, pfn: int, count: int) -> list[Part]:
        """What `count` tables of one level map that are pages in a row, as if the first began at address 0."""
        key = depth, pfn, count
        if key not in self._known:
            self._known[key] = self._joined(self._pieces(depth, pfn, count), 0 if depth else self._hole)
        return self._known[key]

    def _pieces(self, depth: int, pfn: int, count: int) -> Iterator[Part]:
        level = self._mode.levels[depth]
        reach = level.span << level.bits
        at, end = pfn, pfn + count
        while at < end:
            run = self._memory.run_at(at)
            if run is None or run.entry_bytes != self._mode.entry_bytes:
                upto, found = at + 1, self._page(depth, at)
            else:
                upto = min(end, run.first_pfn + run.count, self._next_frame(at))
                first = (at - run.first_pfn) * run.entries_per_page
                low, high = max(run.low, first), min(run.high, (upto - run.first_pfn) * run.entries_per_page)
                found = self._row(depth, low - first, high - low, run.entry(low), run.step)
            yield from _moved(found, (at - pfn) * reach)
            at = upto

    def _next_frame(self, pfn: int) -> int:
        """The first frame from `pfn` on that has become bytes."""
        place = bisect_left(self._frames, pfn)
        return self._frames[place] if place < len(self._frames) else 1 << PHYSICAL_BITS

    def _page(self, depth: int, pfn: int) -> Iterator[Part]:
        """The entries of one table that is bytes, in groups that continue each other."""
        size = self._mode.entry_bytes
        data = memoryview(self._memory.read(pfn << PAGE_SHIFT, PAGE_SIZE)).cast("Q" if size == 8 else "I")
        entries = [entry & self._meaning for entry in data]
        index = 0
        while index < len(entries):
            entry, count = entries[index], 1
            if entry & P:
                step = self._step(depth, entry)
                while index + count < len(entries) and entries[index + count] == entry + count * step:
                    count += 1
                yield from self._group(depth, index, count, entry)
            index += count

    def _row(self, depth: int, index: int, count: int, entry: int, step: int) -> Iterator[Part]:
        """`count` entries of a run from number `index` on; `entry` with all its bits, which may carry into others."""
        if count > 0 and step == self._step(depth, entry):
            yield from self._group(depth, index, count, entry & self._meaning)
        else:
            for number in range(max(count, 0)):
                yield from self._group(depth, index + number, 1, entry + number * step & self._meaning)

    def _step(self, depth: int, entry: int) -> int:
        """By how much the next entry differs when it continues `entry`."""
        level = self._mode.levels[depth]
        return level.span if level.is_leaf(entry) else PAGE_SIZE

    def _group(self, depth: int, index: int, count: int, entry: int) -> Iterator[Part]:
        """What `count` entries map that continue each other, from `index` on.

        They are taken in pieces: those that lead beyond the last physical address have reserved bits set, and between
        the two halves of canonical addresses is a hole.
        """
        level, step = self._mode.levels[depth], self._step(depth, entry)
        leaf = level.is_leaf(entry)
        while count:
            piece = min(count, -(-(self._top - (entry & self._top - 1 & ADDRESS_MASK)) // step))
            if depth == 0 and index < self._half:
                piece = min(piece, self._half - index)
            if entry & P and not entry & self._masks[depth][leaf]:
                yield from self._piece(depth, index, piece, entry)
            index, count, entry = index + piece, count - piece, entry + piece * step & self._meaning

    def _piece(self, depth: int, index: int, count: int, entry: int) -> Iterable[Part]:
        """What `count` usable entries map."""
        level = self._mode.levels[depth]
        rights = (entry ^ NX) & _ALL_RIGHTS if level.has_rights else _ALL_RIGHTS
        at = index * level.span
        if level.is_leaf(entry):
            return [(at, count * level.span, self._mode.page_address(level, entry), rights)]
        below = self.tables(depth + 1, (entry & ADDRESS_MASK) >> PAGE_SHIFT, count)
        return ((at + offset, size, pa, rights & more) for offset, size, pa, more in below)

    def _joined(self, parts: Iterable[Part], hole: int = 0) -> list[Part]:
        """The parts with those made one that continue each other, but for what begins at `hole`."""
        joined: list[Part] = []
        for offset, size, pa, rights in parts:
            if joined:
                before, length, start, allowed = joined[-1]
                continues = not self._contiguous or start + length == pa
                if before + length == offset != hole and rights == allowed and continues:
                    joined[-1] = before, length + size, start, allowed
                    continue
            joined.append((offset, size, pa, rights))
            if len(joined) > self._limit:
                raise ValueError(f"the tables map more than {self._limit} ranges")
        return joined


def _moved(parts: Iterable[Part], by: int) -> Iterator[Part]:
    return ((offset + by, size, pa, rights) for offset, size, pa, rights in parts)


def _mapped_range(part: Part, mode: PagingMode) -> MappedRange:
    offset, size, pa, rights = part
    upper = mode.va_bits > 32 and offset >> mode.va_bits - 1
    va = offset + (1 << 64) - (1 << mode.va_bits) if upper else offset
    return MappedRange(va, size, pa, bool(rights & RW), bool(rights & US), bool(rights & NX))
