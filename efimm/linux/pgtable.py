"""Filling kernel page tables for a whole range at once, at a cost that grows with extents and not with pages.

What Linux does entry by entry (phys_pud_init, phys_pmd_init, phys_pte_init in arch/x86/mm/init_64.c, v3.5) happens
here in groups of equal neighbours.  The rules for what is found are the kernel's: a table is filled further, a large
page that is allowed is kept, one that is not allowed is split with its own protection, a present page stays.
The order in which table pages are taken differs from Linux where more than one level is new: here level by level.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from ..trace import Trace
from ..x86 import PageTable
from ..x86.memory import PAGE_SHIFT, PAGE_SIZE, PhysMemory
from ..x86.modes import ADDRESS_MASK, LONG4, PS, Level, P
from .layout import PAGE_TABLE, PMD_SHIFT
from .new_tables import Extent, new_tables

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

    def fill_below(self, table: int, depth: int, extent: Extent) -> int:
        """Map `extent`, all of it under the table page at `table`, whose place in LONG4.levels is `depth`.

        Gives the kernel's `last_map_addr`: the end of what was mapped last.  Small pages that were present already do
        not count, so it can lie below the end of the extent; efi_ioremap then maps the remainder once more.
        """
        level = LONG4.levels[depth]
        va = last_map_addr = extent.start
        nothing_new = True
        while va < extent.end:
            count = self._equal_neighbours(table, level, va, extent.end)
            upto = min(extent.end, (va // level.span + count) * level.span)
            mapped_to = self._fill_group(table, depth, extent.part(va, upto))
            if mapped_to is not None:
                last_map_addr, nothing_new = mapped_to, False
            va = upto
        rest = level.index(-(-extent.end // level.span) * level.span)
        if self.clear_rest and level.shift <= PMD_SHIFT and rest:
            self._clear_from(table, level, rest)
        return extent.end if nothing_new else last_map_addr

    def _equal_neighbours(self, table: int, level: Level, va: int, end: int) -> int:
        """How many entries from that of `va` on, within the table and the range, can be treated alike.

        Those are empty entries in a row, or pages in a row with equal flags; a link to a lower table is one of its own.
        """
        index = level.index(va)
        most = min(PTRS_PER_TABLE - index, -(-end // level.span) - va // level.span)
        data = self.memory.read(table + 8 * index, 8 * most)
        if not any(data):
            return most
        first, *others = struct.unpack(f"<{most}Q", data)
        if first and not (first & PS or level.shift == PAGE_SHIFT):
            return 1
        step = level.span if first else 0
        return next((k for k, entry in enumerate(others, 1) if entry != first + k * step), most)

    def _fill_group(self, table: int, depth: int, extent: Extent) -> int | None:
        """Map entries that can be treated alike; the end of what was mapped, or None where small pages were there."""
        level = LONG4.levels[depth]
        index = level.index(extent.start)
        entry = self.memory.read_u64(table + 8 * index)
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
            span = extent.start, extent.end
            tables = new_tables(self.memory, self.alloc_pages, depth + 1, [extent], *span, table_flags=self.table_flags)
            self._view(table, level).fill(index, extent.entries(level), tables | self.table_flags, PAGE_SIZE)
        return extent.end

    def _clear_from(self, table: int, level: Level, index: int) -> None:
        rest = PTRS_PER_TABLE - index
        if any(self.memory.read_u64(table + 8 * (index + k)) for k in range(rest)):
            self._view(table, level).fill(index, rest, 0, 0)

    def _view(self, table: int, level: Level) -> PageTable:
        return PageTable(self.memory, table, f"{level.name}@{table:#x}", self.trace)
