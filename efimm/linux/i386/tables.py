"""Mapping kernel addresses in 32-bit page tables: by large pages, or by small ones whose tables are made as needed.

Source: arch/x86/mm/init_32.c (one_md_table_init, one_page_table_init), v3.5; the layout's mode tells how many levels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...trace import Trace
from ...x86 import PAE, PageTable, PhysMemory
from ...x86.memory import PAGE_SHIFT, PAGE_SIZE
from ...x86.modes import ADDRESS_MASK, PS, P
from .layout import PAGE_TABLE, PGD_IDENT_ATTR, Layout32


class KernelTables:
    """The kernel's part of the tables under `pgd`; new table pages come from `alloc_page`."""

    def __init__(
        self, memory: PhysMemory, trace: Trace, layout: Layout32, pgd: PageTable, alloc_page: Callable[[], int]
    ) -> None:
        self._memory, self._trace, self._layout, self.pgd = memory, trace, layout, pgd
        self._alloc_page = alloc_page

    def directory(self, va: int) -> tuple[PageTable, int]:
        """The table that holds the PMD entry of `va`, and its index there: with two levels, the top-level table."""
        level = self._layout.mode.levels[-2]
        if self._layout.mode is not PAE:
            return self.pgd, level.index(va)
        index = self._layout.mode.levels[0].index(va)
        entry = self.pgd[index]
        if not entry & P:
            entry = type(entry)(self._alloc_page() | PGD_IDENT_ATTR)
            self.pgd[index] = entry
        return self._view(entry & ADDRESS_MASK, f"pmd@{entry & ADDRESS_MASK:#x}"), level.index(va)

    def page_table(self, va: int) -> PageTable:
        """The table that holds the PTE of `va`, made if it is missing."""
        directory, index = self.directory(va)
        if not directory[index] & P:
            directory[index] = self._alloc_page() | PAGE_TABLE
        pa = directory[index] & ADDRESS_MASK
        return self._view(pa, f"pte@{pa:#x}")

    def map(self, va: int, pa: int, size: int, prot: int, *, large: bool) -> None:
        """Map [va, va + size) to `pa`, by large pages or by small ones; whole pages of that size."""
        level = self._layout.mode.levels[-2 if large else -1]
        for start, end in _cut(va, va + size, level.span << level.bits):
            table, index = self.directory(start) if large else (self.page_table(start), level.index(start))
            first = pa + start - va | prot | (PS if large else 0)
            table.fill(index, end - start >> level.shift, first, level.span)

    def _view(self, pa: int, name: str) -> PageTable:
        return PageTable(self._memory, pa, name, self._trace, self._layout.mode)


def pages(size: int) -> int:
    """`size` rounded up to whole pages."""
    return -(-size >> PAGE_SHIFT) * PAGE_SIZE


def _cut(start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    while start < end:
        upto = min(end, (start // size + 1) * size)
        yield start, upto
        start = upto
