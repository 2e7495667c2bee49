"""Changing the rights of mapped kernel pages: set_memory_x and set_memory_uc.

Source: arch/x86/mm/pageattr.c, v3.5.  A large page is split first.
"""

from __future__ import annotations

from collections.abc import Callable

from ...x86 import PAE, walk
from ...x86.memory import PAGE_SIZE
from ...x86.modes import ADDRESS_MASK, NX, PCD, PS
from ..state import Linux32
from .direct_map import kernel_tables
from .layout import PAGE_TABLE


def set_memory_x(linux: Linux32, va: int, numpages: int) -> None:
    """Allow instruction fetches from `numpages` pages at `va`; two-level tables never forbid them."""
    if linux.layout.mode is PAE:
        _change(linux, va, numpages, lambda entry: entry & ~NX)


def set_memory_uc(linux: Linux32, va: int, numpages: int) -> None:
    """Make `numpages` pages at `va` uncached."""
    _change(linux, va, numpages, lambda entry: entry | PCD)


def _change(linux: Linux32, va: int, numpages: int, new: Callable[[int], int]) -> None:
    for page in range(va, va + numpages * PAGE_SIZE, PAGE_SIZE):
        found = walk(linux.memory, linux.swapper_pg_dir.pa, page, linux.layout.mode)
        leaf = found.last
        if found.pa is None or leaf is None or new(leaf.entry) == leaf.entry:
            continue
        if leaf.level.span > PAGE_SIZE:
            split_large_page(linux, page)
        level = linux.layout.mode.levels[-1]
        table = kernel_tables(linux).page_table(page)
        table[level.index(page)] = new(int(table[level.index(page)]))
    linux.cpu.flush_tlb_all()


def split_large_page(linux: Linux32, va: int) -> None:
    """Replace the large page around `va` by a table of small ones with the same rights."""
    tables = kernel_tables(linux)
    directory, index = tables.directory(va)
    large = directory[index]
    directory[index] = 0  # so that page_table makes a new one
    level = linux.layout.mode.levels[-1]
    table = tables.page_table(va)
    table.fill(0, len(table), large & ~PS, level.span)
    set_pmd_pte(linux, va, directory[index] & ADDRESS_MASK | PAGE_TABLE)


def set_pmd_pte(linux: Linux32, va: int, entry: int) -> None:
    """`__set_pmd_pte`: where the kernel's PMD entries are copies, every process's table gets the new one at once.

    A valid entry is being replaced, so no fault would ever repair a table that was left out; initial_page_table is.
    """
    if linux.layout.shared_kernel_pmd:
        return
    with linux.kernel.hold_pgd_lock(linux):
        for mm in linux.pgd_list:
            directory, index = kernel_tables(linux, mm.pgd).directory(va)
            directory[index] = entry
