"""Page tables in the form in which many addresses at once are walked.

Every entry that a walk can meet has a *position*.  `follow` says for each position where the walk goes next: the first
position of the next table, and which bits of an index choose an entry there.  A page, and a hole, lead back to
themselves with no bits to choose by, so that all addresses take the same number of steps however early their walks end.
`leaf` says what a position means when the walk ends there, `rights` what its entry allows.

Tables that are bytes, and some of the runs, are copied.  The other runs only get a range of positions: their entries
are computed when an address leads there, so that 128 GiB of tables cost nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .levels import reach_levels
from .memory import PAGE_SHIFT, PhysMemory, TableRun
from .modes import ADDRESS_MASK, NX, PS, RW, US, P, PagingMode, reserved_masks

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

MASK_BITS = 10  # an index has at most ten bits; the first position of the next table stands above them
FAULT = 1 << 63  # in `leaf`: no page, and the low bit says why
NOT_PRESENT, RESERVED_BIT = 0, 1
SHIFT_MASK = 63  # in `leaf`: how many low bits of the address belong to the offset
ALLOWS_WRITE, ALLOWS_USER, ALLOWS_FETCH = 1, 2, 4


class CompiledTables:
    """The tables that a walk from `root` can meet, as the processor with `maxphyaddr` and `nxe` understands them."""

    def __init__(self, memory: PhysMemory, root: int, mode: PagingMode, maxphyaddr: int, nxe: bool) -> None:
        self.mode = mode
        self._masks = reserved_masks(mode, maxphyaddr, nxe)
        self._levels = reach_levels(memory, root, mode, maxphyaddr, nxe)
        self.copied = self._levels[-1].end if self._levels else 0
        self._number_runs()
        parts = [self._decode(level.entries.ravel(), depth, level.base) for depth, level in enumerate(self._levels)]
        self.follow: I64 = np.concatenate([follow for follow, _, _ in parts])
        self.leaf: U64 = np.concatenate([leaf for _, leaf, _ in parts])
        self.rights: U8 = np.concatenate([rights for _, _, rights in parts])

    @property
    def has_runs(self) -> bool:
        """True when some positions have no entry in the arrays: `look_up` must be asked for them."""
        return bool(self._runs)

    def look_up(self, positions: I64) -> tuple[I64, U64, U8]:
        """`follow`, `leaf` and `rights` at `positions`, those of runs computed."""
        inside = np.minimum(positions, self.copied - 1)
        follow, leaf, rights = self.follow[inside], self.leaf[inside], self.rights[inside]
        places = np.searchsorted(self._run_bases, positions, side="right") - 1
        for place in np.unique(places[positions >= self.copied]):
            depth, run = self._runs[place]
            lanes = np.flatnonzero(places == place)
            follow[lanes], leaf[lanes], rights[lanes] = self._decode_run(run, depth, positions[lanes], place)
        return follow, leaf, rights

    def _number_runs(self) -> None:
        """Give every run that was not copied its range of positions, behind those of the copied tables."""
        self._runs: list[tuple[int, TableRun]] = []
        bases = []
        at = self.copied
        for depth, level in enumerate(self._levels):
            for run in level.runs:
                level.run_bases.append(at)
                bases.append(at)
                self._runs.append((depth, run))
                at += run.count * run.entries_per_page
        self._run_bases: I64 = np.array(bases, dtype=np.int64)

    def _decode_run(self, run: TableRun, depth: int, positions: I64, place: int) -> tuple[I64, U64, U8]:
        number = positions - self._run_bases[place]
        entries = (number - run.low).astype(np.uint64) * np.uint64(run.step % (1 << 64)) + np.uint64(run.first)
        entries[(number < run.low) | (number >= run.high)] = 0
        return self._decode(entries, depth, positions)

    def _decode(self, entries: U64, depth: int, own: I64 | int) -> tuple[I64, U64, U8]:
        """`follow`, `leaf` and `rights` of entries of one level, which stand at positions `own` (or from there on)."""
        level, (table_mask, leaf_mask) = self.mode.levels[depth], self._masks[depth]
        last = level.shift == PAGE_SHIFT
        is_leaf = (entries & PS != 0) & level.may_be_large | last
        bad = entries & np.where(is_leaf, np.uint64(leaf_mask), np.uint64(table_mask)) != 0
        present = entries & P != 0
        pages = self._page_addresses(entries, depth) | np.uint64(level.shift)
        leaf = np.where(present & ~bad, pages, np.uint64(FAULT) + (present & bad))
        positions = own + np.arange(len(entries)) if isinstance(own, int) else own
        follow = positions << MASK_BITS
        goes_on = present & ~bad & ~is_leaf
        if goes_on.any():
            below = self.mode.levels[depth + 1]
            tables = (entries[goes_on] & ADDRESS_MASK) >> PAGE_SHIFT
            follow[goes_on] = self._levels[depth + 1].positions(tables) << MASK_BITS | (1 << below.bits) - 1
        return follow, leaf, _rights(entries) if level.has_rights else np.full(len(entries), 7, np.uint8)

    def _page_addresses(self, entries: U64, depth: int) -> U64:
        """The physical addresses of the pages, as `PagingMode.page_address` gives them one by one."""
        level = self.mode.levels[depth]
        pages: U64 = entries & np.uint64(ADDRESS_MASK & -level.span)
        if self.mode.pse36 and level.shift > PAGE_SHIFT:
            pages |= (entries & np.uint64(0x1FE000)) << np.uint64(19)
        return pages


def _rights(entries: U64) -> U8:
    writable = entries & RW != 0
    user = entries & US != 0
    executable = entries & NX == 0
    allowed: U8 = (writable * ALLOWS_WRITE | user * ALLOWS_USER | executable * ALLOWS_FETCH).astype(np.uint8)
    return allowed
