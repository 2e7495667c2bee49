"""Linux 4.6 (Matt Fleming, 67a9108ed431): the firmware gets a page table of its own, and nothing leaks from it.

Sources: arch/x86/platform/efi/efi_64.c and efi.c, v4.9 (the nearest release that was read; 4.6 is recalled to be the
first one with efi_pgd).  Slots of the kernel's half are shared, but for the last: there the table has a page of its own
whose entries are the kernel's, except those of the firmware's 64 GiB.

`OLD_MAP` is the same kernel started with efi=old_map, as SGI's UV machines were until v5.8: Nathan Zimmer's loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..linux import efi_map
from ..linux.efi import should_map_region
from ..linux.efi_map import efi_map_region
from ..linux.layout import EFI_VA_END, EFI_VA_START, PAGE_TABLE, PUD_SHIFT, pgd_index
from ..linux.page_alloc import alloc_pages
from ..linux.pgtable import clone_pgd_range
from ..linux.state import Linux, Linux32
from ..uefi.memmap import EfiMemoryDescriptor
from ..x86 import PageTable
from . import v3_8, v3_14

PTRS_PER_PUD = 512


def efi_alloc_page_tables(linux: Linux) -> PageTable:
    """A new top-level table, in which the slot of the firmware's window has an empty table of its own."""
    efi_pgd = PageTable(linux.memory, alloc_pages(linux, 1), "efi_pgd", linux.trace)
    efi_pgd[pgd_index(EFI_VA_END)] = alloc_pages(linux, 1) | PAGE_TABLE
    return efi_pgd


def efi_map_regions(linux: Linux) -> list[EfiMemoryDescriptor]:
    """From the last region to the first, so that their order in memory is kept (efi_map_next_entry)."""
    places = [place for place, md in enumerate(linux.memmap) if should_map_region(md)]
    return [efi_map_region(linux, place) for place in reversed(places)]


def efi_sync_low_kernel_mappings(linux: Linux) -> None:
    """Share the kernel's slots below the window's, and copy around the window in the slot that it lies in."""
    efi_pgd, pgd_k = linux.efi_pgd, linux.swapper_pg_dir
    for index in range(linux.layout.kernel_pgd_boundary, pgd_index(EFI_VA_END)):
        efi_pgd[index] = pgd_k[index]
    pud_efi = _pud_table(linux, efi_pgd)
    pud_k = _pud_table(linux, pgd_k)
    for index in (*range(pud_index(EFI_VA_END)), *range(pud_index(EFI_VA_START), PTRS_PER_PUD)):
        if pud_efi[index] != pud_k[index]:
            pud_efi[index] = pud_k[index]


@contextmanager
def efi_call(linux: Linux) -> Iterator[None]:
    """Every call runs on efi_pgd (efi_call_phys_prolog, arch_efi_call_virt_setup)."""
    with linux.trace.span("kernel", "efi_sync_low_kernel_mappings, switch to efi_pgd"):
        efi_sync_low_kernel_mappings(linux)
        save_cr3 = linux.cpu.cr3
        linux.cpu.write_cr3(linux.efi_pgd.pa)
        linux.cpu.flush_tlb_all()
    yield
    with linux.trace.span("kernel", "switch back to swapper_pg_dir"):
        linux.cpu.write_cr3(save_cr3)
        linux.cpu.flush_tlb_all()


def pud_index(va: int) -> int:
    """The entry of the second level that `va` uses."""
    return va >> PUD_SHIFT & PTRS_PER_PUD - 1


def _pud_table(linux: Linux, pgd: PageTable) -> PageTable:
    """The second-level table of the window's slot."""
    entry = pgd[pgd_index(EFI_VA_END)]
    return PageTable(linux.memory, entry.address, f"pud@{entry.address:#x}", linux.trace)


def sync_initial_page_table(linux: Linux32) -> None:
    """The kernel's entries at their own indexes and from 0 on (Paolo Bonzini, f5f3497cad8c, 2015); still only once.

    It was made so that the GDT can be read at its physical address: it may lie outside what head_32.S has mapped.
    """
    v3_14.I386.sync_initial_page_table(linux)
    first, count = linux.layout.kernel_pgd_boundary, linux.layout.kernel_pgd_ptrs
    clone_pgd_range(linux.initial_page_table, linux.swapper_pg_dir, first, min(count, first), to=0)


I386 = replace(v3_14.I386, sync_initial_page_table=sync_initial_page_table)

KERNEL = replace(
    v3_14.KERNEL,
    name="4.6",
    order=7,
    title="Linux 4.6 (May 2016)",
    source="arch/x86/platform/efi/efi_64.c, v4.9 (Matt Fleming, 67a9108ed431)",
    efi_alloc_page_tables=efi_alloc_page_tables,
    efi_map_regions=efi_map_regions,
    efi_call_phys=efi_call,
    efi_call_virt=efi_call,
    i386=I386,
)


def old_map_regions(linux: Linux) -> list[EfiMemoryDescriptor]:
    """3.5's addresses, for a direct map with holes."""
    return efi_map.old_map_regions(linux, efi_map.pfn_range_is_mapped)


OLD_MAP = replace(
    KERNEL,
    name="4.6 efi=old_map",
    title="Linux 4.6 started with efi=old_map",
    efi_alloc_page_tables=v3_8.KERNEL.efi_alloc_page_tables,
    efi_enter_virtual_mode=v3_8.KERNEL.efi_enter_virtual_mode,
    efi_map_regions=old_map_regions,
    efi_setup_page_tables=v3_8.KERNEL.efi_setup_page_tables,
    efi_call_phys=v3_8.KERNEL.efi_call_phys,
    efi_call_virt=v3_8.KERNEL.efi_call_virt,
    efi_runtime_update_mappings=v3_8.KERNEL.efi_runtime_update_mappings,
    efi_runtime_map=v3_8.KERNEL.efi_runtime_map,
)
