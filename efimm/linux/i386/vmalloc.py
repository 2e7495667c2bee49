"""Kernel addresses for what low memory does not hold: the vmalloc area, and the tables that must learn of it.

Source: arch/x86/mm/ioremap.c and fault.c (vmalloc_fault, vmalloc_sync_one), mm/vmalloc.c, v3.5.
"""

from __future__ import annotations

from ...x86 import Entry, PageTable, walk
from ...x86.memory import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from ...x86.modes import P
from ..state import Linux32, Mm
from .direct_map import kernel_tables
from .layout import FIXADDR_TOP, VMALLOC_OFFSET
from .tables import pages

IOREMAP_MAX_ORDER = 7 + PAGE_SHIFT


def vmalloc_init(linux: Linux32) -> None:
    """Start the vmalloc area 8 MiB above low memory."""
    linux.vmalloc_next = pages(linux.high_memory + VMALLOC_OFFSET)


def ioremap(linux: Linux32, pa: int, size: int, *, cached: bool = False) -> int:
    """The virtual address at which [pa, pa + size) is mapped in the vmalloc area, uncached unless `cached`.

    Aligned to the power of two above its size in whole pages, at most 512 KiB; a guard page follows.  The kernel's
    `set_kernel_pgd` hears of every new top-level entry.  MemoryError when the area is full.  Without PAE `pa` is cut to
    32 bits, as resource_size_t is there (include/linux/types.h, v3.5, as recalled).
    """
    if linux.layout.mode.entry_bytes == 4:
        pa &= 0xFFFF_FFFF
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
    """Repair one process's table after a fault in the vmalloc area: True when init_mm has a page there.

    Natively, PAE has nothing to repair: all tables share the kernel's PMD table.  The kernel asks CR3 and not `current`
    which table that is; here it is `mm`'s.
    """
    if not linux.high_memory + VMALLOC_OFFSET <= va < linux.layout.vmalloc_end:
        return False
    if not vmalloc_sync_one(linux, mm.pgd, va):
        return False
    return walk(linux.memory, linux.swapper_pg_dir.pa, va, linux.layout.mode).pa is not None


def vmalloc_sync_one(linux: Linux32, pgd: PageTable, va: int) -> bool:
    """Give the table under `pgd` the kernel's PMD entry of `va` if it lacks it: True when the kernel has one.

    With two levels the PMD entry is a top-level entry.  BUG_ON, an AssertionError, where `pgd` has another.
    """
    directory_k, index = kernel_tables(linux).directory(va)
    pmd_k = directory_k[index]
    if not pmd_k & P:
        return False
    directory, _ = kernel_tables(linux, pgd).directory(va)
    pmd = Entry(directory.setdefault(index, pmd_k))
    if pmd.address != pmd_k.address:
        raise AssertionError(f"BUG_ON: {directory.name}[{index}] leads elsewhere")
    return True


def vmalloc_sync_all(linux: Linux32) -> None:
    """Bring the kernel's PMD entries behind low memory to every table on pgd_list; none are copies with PAE."""
    if linux.layout.shared_kernel_pmd:
        return
    step = 1 << linux.layout.pmd_shift
    for va in range((linux.high_memory + VMALLOC_OFFSET) & -step, FIXADDR_TOP, step):
        with linux.kernel.hold_pgd_lock(linux):
            for mm in linux.kernel.for_each_mm(linux):
                if not vmalloc_sync_one(linux, mm.pgd, va):
                    break
