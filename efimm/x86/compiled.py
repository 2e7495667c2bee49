"""Page tables in the form in which many addresses at once are walked.

Every entry that a walk can meet has a *position*.  `follow` says for each position where the walk goes next: the first
position of the next table, and which bits of an index choose an entry there.  A page, and a hole, lead back to
themselves with no bits to choose by, so that all addresses take the same number of steps however early their walks end.
`leaf` says what a position means when the walk ends there, `rights` what its entry allows.

A table that is bytes is copied.  A page of a table run often maps one piece of memory, with the same rights everywhere;
to a walk it is then a large page of the level above, and it is *folded* into the entry that leads there.  So the
128 GiB of tables of a large direct map become a few entries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .memory import PAGE_SHIFT, PAGE_SIZE, PhysMemory
from .modes import ADDRESS_MASK, NX, PAE, PS, RW, US, Level, P, PagingMode, reserved_masks
from .pagewalk import read_pdptes
from .ranges import Scan

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

ALLOWS_WRITE, ALLOWS_USER, ALLOWS_FETCH = 1, 2, 4
ALLOWS_ALL = ALLOWS_WRITE | ALLOWS_USER | ALLOWS_FETCH

# How a walk ends that finds no page, where another number says how many low bits of the address are the offset in it.
NOT_PRESENT, RESERVED_BIT, UNKNOWN = 0, 1, 2

COPIED_RUN_PAGES = 8192  # of the pages of runs that cannot be folded: 32 MiB of entries
_FOLDED_PARTS = 1 << 16


@dataclass
class Tables:
    """What becomes of some tables of one level, by their sorted page frame numbers.

    `copied` tells those whose entries are copied.  For the others `leaf` and `rights` are what to put into the entry
    that leads there: a folded page, nothing, or UNKNOWN where only the walk for one address can tell.
    """

    pfns: U64
    copied: npt.NDArray[np.bool_]
    leaf: U64
    rights: U8


@dataclass
class TableReader:
    """Reads tables of one memory, as the processor with `maxphyaddr` and `nxe` understands them in `mode`.

    `budget` is how many more pages of runs may be copied, `exhausted` whether there were more.
    """

    memory: PhysMemory
    mode: PagingMode
    maxphyaddr: int
    nxe: bool
    budget: int = field(default_factory=lambda: COPIED_RUN_PAGES)
    exhausted: bool = False

    def __post_init__(self) -> None:
        self._frames: U64 = np.fromiter(self.memory.words[8], np.uint64, self.memory.frames_in_use)
        runs = self.memory.lazy_tables
        self._first: U64 = np.array([run.first_pfn for run in runs], dtype=np.uint64)
        self._count: U64 = np.array([run.count for run in runs], dtype=np.uint64)

    @cached_property
    def _scan(self) -> Scan:
        return Scan(self.memory, self.mode, self.maxphyaddr, self.nxe, _FOLDED_PARTS)

    def tables(self, depth: int, pfns: U64) -> Tables:
        """What becomes of the tables `pfns` of level `depth`.

        Memory that was never written holds no entries: a walk that gets there ends.
        """
        copied = np.isin(pfns, self._frames)
        leaf, rights = np.full(len(pfns), NOT_PRESENT, np.uint64), np.full(len(pfns), ALLOWS_ALL, np.uint8)
        in_runs = np.flatnonzero(~copied & self._in_runs(pfns))
        for row in np.split(in_runs, np.flatnonzero(np.diff(pfns[in_runs]) != 1) + 1):
            if len(row):
                leaf[row], rights[row] = self._fold(depth, int(pfns[row[0]]), len(row))
        left = in_runs[leaf[in_runs] == UNKNOWN]
        copied[left[: self.budget]] = True
        self.exhausted |= len(left) > self.budget
        self.budget -= min(self.budget, len(left))
        return Tables(pfns, copied, leaf, rights)

    def entries(self, pfns: U64) -> U64:
        """The entries of table pages, a row a page."""
        data = b"".join([self.memory.read(pfn << PAGE_SHIFT, PAGE_SIZE) for pfn in pfns.tolist()])
        words = np.frombuffer(data, dtype=f"<u{self.mode.entry_bytes}")
        return words.reshape(-1, PAGE_SIZE // self.mode.entry_bytes).astype(np.uint64)

    def _in_runs(self, pfns: U64) -> npt.NDArray[np.bool_]:
        if not len(self._first):
            return np.zeros(len(pfns), np.bool_)
        place = np.searchsorted(self._first, pfns, side="right") - 1
        inside: npt.NDArray[np.bool_] = (place >= 0) & (pfns - self._first[place] < self._count[place])
        return inside

    def _fold(self, depth: int, pfn: int, count: int) -> tuple[U64, U8]:
        """Leaf and rights of `count` tables in a row; UNKNOWN for those that are not one aligned piece."""
        leaf, rights = np.full(count, UNKNOWN, np.uint64), np.full(count, ALLOWS_ALL, np.uint8)
        level = self.mode.levels[depth]
        reach_bits = level.shift + level.bits
        try:
            parts = self._scan.tables(depth, pfn, count)
        except ValueError:  # too many parts to be worth it
            return leaf, rights
        for offset, size, pa, allowed in parts:
            first, end = -(-offset >> reach_bits), offset + size >> reach_bits
            start = pa + (first << reach_bits) - offset
            if first < end and not start & (1 << reach_bits) - 1:
                places = np.arange(end - first, dtype=np.uint64) << np.uint64(reach_bits)
                leaf[first:end] = places + np.uint64(start | reach_bits)
                rights[first:end] = _allowed(allowed)
        return leaf, rights


def _allowed(rights: int) -> int:
    """The rights of a part, whose NX is turned around, as flags."""
    return ALLOWS_WRITE * bool(rights & RW) | ALLOWS_USER * bool(rights & US) | ALLOWS_FETCH * bool(rights & NX)


MASK_BITS = 10  # an index has at most ten bits; the first position of the next table stands above them


class CompiledTables:
    """The tables that a walk from `root` can meet, as the processor with `maxphyaddr` and `nxe` understands them.

    `leaf` is the physical address of a page and, in the bits below, how many low bits of the address are the offset in
    it; or one of NOT_PRESENT, RESERVED_BIT, UNKNOWN.
    """

    def __init__(self, memory: PhysMemory, root: int, mode: PagingMode, maxphyaddr: int, nxe: bool) -> None:
        self.mode = mode
        self._masks = reserved_masks(mode, maxphyaddr, nxe)
        self._reader = TableReader(memory, mode, maxphyaddr, nxe)
        first = self._reader.entries(np.array([(root & mode.root_mask) >> PAGE_SHIFT], dtype=np.uint64))
        if mode is PAE:  # its first table may begin anywhere in its page
            first[0, :4] = read_pdptes(memory, root)
        parts = [self._decode(first.ravel(), 0, 0)]
        for depth in range(1, len(mode.levels)):
            base = parts[-1].base + len(parts[-1].entries)
            parts.append(self._decode(self._link(parts[-1], depth, base), depth, base))
        self.follow: I64 = np.concatenate([part.follow for part in parts])
        self.leaf: U64 = np.concatenate([part.leaf for part in parts])
        self.rights: U8 = np.concatenate([part.rights for part in parts])
        self.incomplete = self._reader.exhausted

    def _decode(self, entries: U64, depth: int, base: int) -> _Part:
        """What the entries of one level mean, as far as that can be told without those of the next."""
        level, (table_mask, leaf_mask) = self.mode.levels[depth], self._masks[depth]
        last = level.shift == PAGE_SHIFT
        is_leaf = (entries & PS != 0) & level.may_be_large | last
        bad = entries & np.where(is_leaf, np.uint64(leaf_mask), np.uint64(table_mask)) != 0
        present = entries & P != 0
        holes = np.where(present, np.uint64(RESERVED_BIT), np.uint64(NOT_PRESENT))
        leaf = np.where(present & ~bad, self._pages(entries, level), holes)
        follow = np.arange(base, base + len(entries), dtype=np.int64) << MASK_BITS
        return _Part(base, entries, present & ~bad & ~is_leaf, follow, leaf, _rights(entries, level))

    def _link(self, part: _Part, depth: int, base: int) -> U64:
        """Let the entries of `part` lead to their tables of level `depth`, and give the entries of those."""
        onward = np.flatnonzero(part.goes_on)
        pfns, which = np.unique((part.entries[onward] & ADDRESS_MASK) >> PAGE_SHIFT, return_inverse=True)
        tables = self._reader.tables(depth, pfns)
        part.leaf[onward] = tables.leaf[which]
        part.rights[onward] &= tables.rights[which]
        rows = self._reader.entries(pfns[tables.copied])
        starts = base + (np.cumsum(tables.copied, dtype=np.int64) - 1) * rows.shape[1]
        follow = starts << MASK_BITS | (1 << self.mode.levels[depth].bits) - 1
        copied = tables.copied[which]
        part.follow[onward[copied]] = follow[which[copied]]
        return rows.ravel()

    def _pages(self, entries: U64, level: Level) -> U64:
        """The pages that entries map: physical address and number of offset bits.  As `PagingMode.page_address`."""
        pages: U64 = entries & np.uint64(ADDRESS_MASK & -level.span) | np.uint64(level.shift)
        if self.mode.pse36 and level.shift > PAGE_SHIFT:
            pages |= (entries & np.uint64(0x1FE000)) << np.uint64(19)
        return pages


@dataclass
class _Part:
    """The entries of one level in the compiled form, from position `base` on."""

    base: int
    entries: U64
    goes_on: npt.NDArray[np.bool_]
    follow: I64
    leaf: U64
    rights: U8


def _rights(entries: U64, level: Level) -> U8:
    if not level.has_rights:
        return np.full(len(entries), ALLOWS_ALL, np.uint8)
    writable = entries & RW != 0
    user = entries & US != 0
    executable = entries & NX == 0
    allowed: U8 = (writable * ALLOWS_WRITE | user * ALLOWS_USER | executable * ALLOWS_FETCH).astype(np.uint8)
    return allowed
