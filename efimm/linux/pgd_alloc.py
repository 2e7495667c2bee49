"""New processes' top-level tables (arch/x86/mm/pgtable.c, v3.5: pgd_alloc, pgd_ctor)."""

from __future__ import annotations

from ..x86 import PageTable
from .layout import KERNEL_PGD_BOUNDARY, PTRS_PER_PGD
from .page_alloc import alloc_pages
from .pgd_list import Mm, SpinLock
from .state import Linux


def pgd_alloc(linux: Linux, name: str) -> Mm:
    """A top-level table for the process `name`: its kernel half copied from swapper_pg_dir, linked into pgd_list.

    The copy shares everything below the top level; only top-level entries that appear later have to be synced.
    """
    pgd = PageTable(linux.memory, alloc_pages(linux, 1), f"{name}'s pgd", linux.trace)
    with linux.pgd_list.lock.held():
        for index in range(KERNEL_PGD_BOUNDARY, PTRS_PER_PGD):
            if entry := linux.swapper_pg_dir[index]:
                pgd[index] = entry
        mm = Mm(pgd, SpinLock(f"{name}'s page_table_lock", linux.trace))
        linux.pgd_list.mms.append(mm)
    return mm
