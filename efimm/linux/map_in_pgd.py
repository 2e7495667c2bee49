"""Mapping pages in a table other than the kernel's own: kernel_map_pages_in_pgd.

Source: arch/x86/mm/pageattr.c, v3.14 and v4.9; arch/x86/mm/pat/set_memory.c, v6.1.  What is mapped already keeps its
page frame and only changes its rights, in whatever table it lies: if that is shared, so is the change.

Left out: that Linux runs past the end of a table page for a range that crosses a 512 GiB line, and static_protections,
which keeps the kernel's own text and read-only data as they are.
"""

from __future__ import annotations

from ..x86 import PageTable
from ..x86.memory import PAGE_SIZE
from ..x86.modes import NX, RW, P
from .direct_map import split_mem_range
from .layout import KERNPG_TABLE, LOW_48, PGDIR_SIZE, PUD_SHIFT, pgd_index
from .new_tables import Extent
from .page_alloc import alloc_pages
from .pageattr import change_attr_in_pgd
from .pgtable import TableFiller
from .state import Linux


def kernel_map_pages_in_pgd(linux: Linux, pgd: PageTable, pa: int, va: int, numpages: int, page_flags: int) -> None:
    """Map `numpages` pages at `va` to `pa`; writable only with RW in `page_flags`, executable only without NX.

    From the first page on that is not mapped, all that follow are mapped anew.
    """
    end = va + numpages * PAGE_SIZE
    clear = ~page_flags & (NX | RW)
    hole = change_attr_in_pgd(linux, pgd, va, end, set_=P | page_flags, clear=clear, stop_at_hole=True)
    if hole < end:
        populate_pgd(linux, pgd, pa + hole - va, hole, end, KERNPG_TABLE & ~clear | page_flags)
    linux.cpu.flush_tlb_all()


def populate_pgd(linux: Linux, pgd: PageTable, pa: int, va: int, end: int, prot: int) -> None:
    """Map [va, end) to `pa`, by 1 GiB and 2 MiB where `va` is aligned to it.

    Linux does not look at the alignment of `pa`: a device of more than 1 GiB gets entries with reserved bits set.
    """

    def alloc(count: int) -> int:
        return alloc_pages(linux, count)

    filler = TableFiller(linux.memory, linux.trace, alloc, table_flags=KERNPG_TABLE)
    while va < end:
        upto = min(end, (va // PGDIR_SIZE + 1) * PGDIR_SIZE)
        index = pgd_index(va)
        if not pgd[index]:
            pgd[index] = alloc(1) | KERNPG_TABLE
        start = va & LOW_48
        for low, high, shift in split_mem_range(start, start + upto - va, PUD_SHIFT):
            filler.fill_below(pgd[index].address, 1, Extent(low, high, pa + low - start, prot, shift))
        va, pa = upto, pa + upto - va
