"""Which table pages a walk can meet at each level, found once for all addresses."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .memory import PAGE_SHIFT, PAGE_SIZE, PhysMemory, TableRun
from .modes import ADDRESS_MASK, PAE, PS, P, PagingMode, reserved_masks
from .pagewalk import read_pdptes

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

# How many pages of runs are copied: 32 MiB of entries.  Looking a copied entry up is several times faster.
COPIED_PAGES = 8192


@dataclass
class ReachedLevel:
    """The tables of one level: copied ones with their entries, and runs that are left as they are.

    The last row of `entries` belongs to no table: it is empty, and stands for memory that was never written.
    """

    pfns: U64
    entries: U64
    runs: list[TableRun]
    base: int
    run_bases: list[int] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The first position behind the copied tables."""
        return self.base + self.entries.size

    def positions(self, tables: U64) -> I64:
        """The first position of each table, given by its page frame number."""
        size = self.entries.shape[1]
        row = np.searchsorted(self.pfns, tables)
        copied = row < len(self.pfns)
        copied[copied] = self.pfns[row[copied]] == tables[copied]
        found: I64 = np.where(copied, row, len(self.pfns)) * size + self.base
        if self.runs:
            first = np.array([run.first_pfn for run in self.runs], dtype=np.uint64)
            count = np.array([run.count for run in self.runs], dtype=np.uint64)
            place = np.maximum(np.searchsorted(first, tables, side="right") - 1, 0)
            page = tables - first[place]
            inside = ~copied & (tables >= first[place]) & (page < count[place])
            starts = np.array(self.run_bases, dtype=np.int64)[place] + page.astype(np.int64) * size
            found = np.where(inside, starts, found)
        return found


def reach_levels(memory: PhysMemory, root: int, mode: PagingMode, maxphyaddr: int, nxe: bool) -> list[ReachedLevel]:
    """The tables of every level, from the top.  There are at most as many at a level as there are pages in memory."""
    levels: list[ReachedLevel] = []
    budget, base = COPIED_PAGES, 0
    wanted = _Wanted(np.array([(root & mode.root_mask) >> PAGE_SHIFT], dtype=np.uint64), [])
    for depth, (level, masks) in enumerate(zip(mode.levels, reserved_masks(mode, maxphyaddr, nxe), strict=True)):
        copied: list[TableRun] = []
        runs: list[TableRun] = []
        for run in wanted.runs:
            affordable = run.count <= budget
            budget -= run.count if affordable else 0
            (copied if affordable else runs).append(run)
        pfns = wanted.pages if depth == 0 else _pages_to_copy(memory, wanted.pages, copied, runs)
        entries = _entries(memory, pfns, mode.entry_bytes)
        if mode is PAE and depth == 0:  # its first table may begin anywhere in its page
            entries[0, :4] = read_pdptes(memory, root)
        levels.append(ReachedLevel(pfns, entries, runs, base))
        base += entries.size
        if level.shift > PAGE_SHIFT:
            goes_on = P | masks[0] | (PS if level.may_be_large else 0)
            wanted = _below(memory, levels[-1], goes_on, mode.entry_bytes)
    return levels


@dataclass
class _Wanted:
    """Table pages that a level leads to: page frame numbers, and whole runs."""

    pages: U64
    runs: list[TableRun]


def _below(memory: PhysMemory, level: ReachedLevel, goes_on: int, entry_bytes: int) -> _Wanted:
    """Everything that the entries of `level` lead to; of a run left as it is, all that lies between its ends."""
    entries = level.entries.ravel()
    pages = np.unique((entries[entries & goes_on == P] & ADDRESS_MASK) >> PAGE_SHIFT)
    ranges = [_children(run) for run in level.runs if run.first & goes_on == P]
    frames = np.array(sorted(memory.words[8]), dtype=np.uint64)
    for low, high in ranges:
        pages = np.union1d(pages, frames[(frames >= low) & (frames <= high)])
    runs = [
        run
        for run in memory.runs
        if run.entry_bytes == entry_bytes
        and (
            _meets(run, pages) or any(low < run.first_pfn + run.count and run.first_pfn <= high for low, high in ranges)
        )
    ]
    return _Wanted(pages, runs)


def _children(run: TableRun) -> tuple[int, int]:
    """The lowest and the highest table page that the entries of `run` lead to."""
    ends = sorted((run.entry(number) & ADDRESS_MASK) >> PAGE_SHIFT for number in (run.low, run.high - 1))
    return ends[0], ends[1]


def _meets(run: TableRun, pages: U64) -> bool:
    at = int(np.searchsorted(pages, run.first_pfn))
    return at < len(pages) and int(pages[at]) < run.first_pfn + run.count


def _pages_to_copy(memory: PhysMemory, pages: U64, copied: list[TableRun], left: list[TableRun]) -> U64:
    """`pages` but for those of the runs that are left as they are, and all pages of the runs to copy.

    A page of a run that has become bytes since is copied, whatever becomes of its run.
    """
    in_runs = {run.first_pfn for run in left}
    kept = [pfn for pfn in pages.tolist() if (run := memory.run_at(pfn)) is None or run.first_pfn not in in_runs]
    of_runs = [np.arange(run.first_pfn, run.first_pfn + run.count, dtype=np.uint64) for run in copied]
    return np.unique(np.concatenate([np.array(kept, dtype=np.uint64), *of_runs]))


def _entries(memory: PhysMemory, pfns: U64, entry_bytes: int) -> U64:
    """The entries of table pages, a row a page, and an empty row behind them."""
    data = b"".join(memory.read(pfn << PAGE_SHIFT, PAGE_SIZE) for pfn in pfns.tolist()) + bytes(PAGE_SIZE)
    words = np.frombuffer(data, dtype=f"<u{entry_bytes}")
    return words.reshape(-1, PAGE_SIZE // entry_bytes).astype(np.uint64)
