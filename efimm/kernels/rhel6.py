"""RHEL 6: a private table that maps the runtime regions 1:1, and SetVirtualAddressMap is never called.

"We have had work-around code in SLES11 SP1, SLES11 SP2, and RHEL 6.x" (Robin Holt, 2012-06-21); RHEL's began as Takao
Indoh's patch of August 2010, so that a kexec'd kernel could call the firmware as well.  The option `virtefi`, later
`usevirtefi`, brought the call back.

Source: arch/x86/kernel/efi_64.c of a RHEL 6 kernel (2.6.32): efi_pagetable_init, efi_call_phys_prelog_in_physmode,
efi_call_phys_epilog_in_physmode.  Inferred: when efi_pagetable_init is called, and that the arguments of a call stay
kernel addresses.  Everything else here is 3.5's, which 2.6.32 was not; there is no 32-bit build of it here.  Left out:
page 0 for Dell's machines, and the copy of the kernel's half that is made anew when memory is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..linux.layout import (
    PAGE_CACHE_UC_MINUS,
    PAGE_KERNEL,
    PAGE_KERNEL_EXEC,
    PAGE_TABLE,
    PMD_SIZE,
    PTRS_PER_PGD,
    pfn_up,
)
from ..linux.page_alloc import alloc_pages
from ..linux.state import Linux
from ..uefi.memmap import EFI_MEMORY_RUNTIME, EFI_MEMORY_WB, EfiMemoryDescriptor, EfiMemoryType
from ..x86 import PageTable
from ..x86.memory import PAGE_SHIFT, PAGE_SIZE, TableRun
from ..x86.modes import LONG4
from . import v3_5


def efi_enter_virtual_mode(linux: Linux) -> None:
    """Nothing is asked of the firmware; its tables keep their physical addresses."""
    linux.efi_pgd = linux.kernel.efi_alloc_page_tables(linux)
    linux.efi_systab = linux.firmware.system_table


def efi_pagetable_init(linux: Linux) -> PageTable:
    """A table with every runtime region at its physical address, by 4 KiB, and the kernel's half as it is now."""
    efi_pgd = PageTable(linux.memory, alloc_pages(linux, 1), "efi_pgd", linux.trace)
    for md in linux.memmap:
        if md.attribute & EFI_MEMORY_RUNTIME:
            map_region(linux, efi_pgd, md)
    for index in range(linux.layout.kernel_pgd_boundary, PTRS_PER_PGD):
        efi_pgd[index] = linux.swapper_pg_dir[index]
    return efi_pgd


def map_region(linux: Linux, efi_pgd: PageTable, md: EfiMemoryDescriptor) -> None:
    """Map the region and the page behind it: the loop's condition is `pfn <= end_pfn`."""
    flags = PAGE_KERNEL_EXEC if md.type == EfiMemoryType.EfiRuntimeServicesCode else PAGE_KERNEL
    if not md.attribute & EFI_MEMORY_WB:
        flags |= PAGE_CACHE_UC_MINUS
    vaddr, end = md.physical_start, pfn_up(md.end) + 1 << PAGE_SHIFT
    while vaddr < end:
        pmd = efi_pgd
        for level in LONG4.levels[:-2]:
            pmd = fill_table(linux, pmd, level.index(vaddr))
        index = LONG4.levels[-2].index(vaddr)
        if vaddr % PMD_SIZE or end - vaddr < PMD_SIZE or pmd[index]:
            upto = min(end, (vaddr // PMD_SIZE + 1) * PMD_SIZE)
            pte = fill_table(linux, pmd, index)
            pte.fill(LONG4.levels[-1].index(vaddr), (upto - vaddr) >> PAGE_SHIFT, vaddr | flags, PAGE_SIZE)
        else:
            upto = vaddr + fill_empty(linux, pmd, index, (end - vaddr) // PMD_SIZE, vaddr | flags) * PMD_SIZE
        vaddr = upto


def fill_empty(linux: Linux, pmd: PageTable, index: int, most: int, first: int) -> int:
    """New full tables behind the empty entries of `pmd` from `index` on, whose first page is `first`; how many."""
    words = pmd.words(index, min(most, len(pmd) - index))
    count = next((k for k, word in enumerate(words) if word), len(words))
    base = alloc_pages(linux, count)
    linux.memory.add_tables([TableRun(base >> PAGE_SHIFT, count, 0, count * PTRS_PER_PGD, first, PAGE_SIZE)])
    pmd.fill(index, count, base | PAGE_TABLE, PAGE_SIZE)
    return count


def fill_table(linux: Linux, table: PageTable, index: int) -> PageTable:
    """The lower table behind an entry, made where there is none (fill_pud, fill_pmd, fill_pte)."""
    if not table[index]:
        table[index] = alloc_pages(linux, 1) | PAGE_TABLE
    pa = table[index].address
    return PageTable(linux.memory, pa, f"table@{pa:#x}", linux.trace)


@contextmanager
def efi_call_in_physmode(linux: Linux) -> Iterator[None]:
    """Every call runs on efi_pgd.  Only CR3 is written: the table's leaves are global, and stay in the TLB."""
    with linux.trace.span("kernel", "efi_call_phys_prelog_in_physmode", "prelog"):
        save_cr3 = linux.cpu.cr3
        linux.cpu.write_cr3(linux.efi_pgd.pa)
    yield
    with linux.trace.span("kernel", "efi_call_phys_epilog_in_physmode", "epilog"):
        linux.cpu.write_cr3(save_cr3)


KERNEL = replace(
    v3_5.KERNEL,
    name="rhel6",
    order=3,
    title="Red Hat Enterprise Linux 6 (2.6.32)",
    source="arch/x86/kernel/efi_64.c of RHEL 6; Takao Indoh, linux-kernel, 2010-08-13",
    efi_enter_virtual_mode=efi_enter_virtual_mode,
    efi_alloc_page_tables=efi_pagetable_init,
    efi_call_phys=efi_call_in_physmode,
    efi_call_virt=efi_call_in_physmode,
    known_bugs=(),
    i386=None,
)
