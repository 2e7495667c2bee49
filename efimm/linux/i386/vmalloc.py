"""Kernel addresses for what low memory does not hold: the vmalloc area, and the tables that must learn of it.

Source: arch/x86/mm/ioremap.c and fault.c (vmalloc_fault, vmalloc_sync_one), mm/vmalloc.c, v3.5.
"""

from __future__ import annotations

from ...x86 import PAE
from ...x86.memory import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from ...x86.modes import P
from ..pgd_list import Mm
from ..state import Linux32
from .direct_map import kernel_tables
from .layout import VMALLOC_OFFSET
from .pgtable import pages

IOREMAP_MAX_ORDER = 7 + PAGE_SHIFT


def vmalloc_init(linux: Linux32) -> None:
    """Start the vmalloc area 8 MiB above low memory."""
    linux.vmalloc_next = pages(linux.high_memory + VMALLOC_OFFSET)


def ioremap(linux: Linux32, pa: int, size: int, *, cached: bool = False) -> int:
    """The virtual address at which [pa, pa + size) is mapped in the vmalloc area, uncached unless `cached`.

    Aligned to the power of two above its size in whole pages, at most 512 KiB; a guard page follows.  The kernel's
    `set_kernel_pgd` hears of every new top-level entry.  MemoryError when the area is full.
    """
    offset = pa & ~PAGE_MASK
    size = pages(size + offset)
    align = 1 << min(size.bit_length(), IOREMAP_MAX_ORDER)
    va = -(-linux.vmalloc_next // align) * align
    if va + size > linux.layout.vmalloc_end:
        raise MemoryError(f"the vmalloc area has no {size:#x} bytes left")
    linux.vmalloc_next = va + size + PAGE_SIZE
    prot = linux.layout.page_kernel if cached else linux.layout.page_kernel_uc_minus
    slots = range(va >> linux.layout.pgdir_shift, (va + size - 1 >> linux.layout.pgdir_shift) + 1)
    empty = [slot for slot in slots if not linux.swapper_pg_dir[slot]]
    kernel_tables(linux).map(va, pa & PAGE_MASK, size, prot, large=False)
    for slot in empty:
        linux.record.set_kernel_pgd(linux, slot)
    return va + offset


def vmalloc_fault(linux: Linux32, mm: Mm, va: int) -> bool:
    """Repair one process's table after a fault in the vmalloc area: True when init_mm had the entry.

    With PAE there is nothing to repair, since all tables share the kernel's PMD table.
    """
    if linux.layout.mode is PAE or not linux.high_memory + VMALLOC_OFFSET <= va < linux.layout.vmalloc_end:
        return False
    slot = va >> linux.layout.pgdir_shift
    entry = linux.swapper_pg_dir[slot]
    if not entry & P:
        return False
    mm.pgd[slot] = entry
    return True


def vmalloc_sync_all(linux: Linux32) -> None:
    """Copy the vmalloc area's top-level entries into every table on pgd_list; at once done with PAE."""
    if linux.layout.shared_kernel_pmd:
        return
    first, end = linux.high_memory + VMALLOC_OFFSET, linux.layout.vmalloc_end
    for slot in range(first >> linux.layout.pgdir_shift, -(-end >> linux.layout.pgdir_shift)):
        entry = linux.swapper_pg_dir[slot]
        with linux.pgd_list.lock.held():
            for mm in linux.pgd_list:
                with mm.page_table_lock.held():
                    if entry and mm.pgd[slot] != entry:
                        mm.pgd[slot] = entry
