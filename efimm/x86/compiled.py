"""Page tables in the form in which many addresses at once are walked.

Every entry that a walk can meet has a *position*.  `follow` says for each position where the walk goes next: the first
position of the next table, and which bits of an index choose an entry there.  A page, and a hole, lead back to
themselves with no bits to choose by, so that all addresses take the same number of steps however early their walks end.
`leaf` says what a position means when the walk ends there, `rights` what its entry allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .levels import (
    ALLOWS_ALL,
    ALLOWS_FETCH,
    ALLOWS_USER,
    ALLOWS_WRITE,
    I64,
    NOT_PRESENT,
    RESERVED_BIT,
    U8,
    U64,
    TableReader,
)
from .memory import PAGE_SHIFT, PhysMemory
from .modes import ADDRESS_MASK, NX, PAE, PS, RW, US, Level, P, PagingMode, reserved_masks
from .pagewalk import read_pdptes

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
