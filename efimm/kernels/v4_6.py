"""Linux 4.6 (Matt Fleming, 67a9108ed431): the firmware gets a page table of its own, and nothing leaks from it.

Sources: arch/x86/platform/efi/efi_64.c and efi.c, v4.9 (the nearest release that was read; 4.6 is recalled to be the
first one with efi_pgd).  Slots of the kernel's half are shared, but for the last: there the table has a page of its own
whose entries are the kernel's, except those of the firmware's 64 GiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..linux import efi, efi_map
from ..linux.efi import BOOT_SERVICES, can_free_region, should_map_region
from ..linux.efi_map import efi_map_region
from ..linux.layout import EFI_VA_END, EFI_VA_START, PAGE_TABLE, PUD_SHIFT, pgd_index
from ..linux.page_alloc import alloc_pages
from ..linux.pgtable import clone_pgd_range
from ..linux.state import Linux, Linux32
from ..uefi import EfiStatus
from ..uefi.memmap import EFI_MEMORY_RUNTIME, EfiMemoryDescriptor
from ..x86 import PageTable
from . import v3_14

PTRS_PER_PUD = 512


def efi_reserve_boot_services(linux: Linux) -> None:
    """Reserve each boot-services region; one that is not ours to free again is marked as needed at run time.

    So it is mapped for the firmware like the others (Matt Fleming, 452308de6105 as recalled: a driver of the firmware
    touched page 0 in the call); until 4.5 its number of pages became 0, and only the kernel's own map had it.
    """
    memblock = linux.memblock
    for place, md in enumerate(linux.memmap):
        if md.type not in BOOT_SERVICES:
            continue
        if not memblock.is_region_reserved(md.physical_start, md.size):
            memblock.reserve(md.physical_start, md.end)
            if can_free_region(linux, md):
                continue
        linux.memmap[place] = replace(md, attribute=md.attribute | EFI_MEMORY_RUNTIME)


def efi_alloc_page_tables(linux: Linux) -> PageTable:
    """A new top-level table, in which the slot of the firmware's window has an empty table of its own."""
    efi_pgd = PageTable(linux.memory, alloc_pages(linux, 1), "efi_pgd", linux.trace)
    efi_pgd[pgd_index(EFI_VA_END)] = alloc_pages(linux, 1) | PAGE_TABLE
    return efi_pgd


def efi_map_regions(linux: Linux) -> list[EfiMemoryDescriptor]:
    """From the last region to the first, so that their order in memory is kept (efi_map_next_entry)."""
    places = [place for place, md in enumerate(linux.memmap) if should_map_region(md, mixed=linux.efi_is_mixed)]
    return [efi_map_region(linux, place) for place in reversed(places)]


def efi_sync_low_kernel_mappings(linux: Linux) -> None:
    """Share the kernel's slots below the window's, and copy around the window in the slot that it lies in.

    With five levels the entries of the p4d table below the window's are copied too, in between (v6.1).
    """
    efi_pgd, pgd_k = linux.efi_pgd, linux.swapper_pg_dir
    for index in range(linux.layout.kernel_pgd_boundary, pgd_index(EFI_VA_END)):
        efi_pgd[index] = pgd_k[index]
    pud_efi, pud_k = table_of_the_window(linux, efi_pgd), table_of_the_window(linux, pgd_k)
    if linux.layout.pgtable_l5_enabled:
        clone_pgd_range(pud_efi, pud_k, 0, pgd_index(EFI_VA_END))
        pud_efi, pud_k = table_of_the_window(linux, pud_efi), table_of_the_window(linux, pud_k)
    words_efi, words_k = pud_efi.words(), pud_k.words()  # each table read once, as every call comes here
    for index in (*range(pud_index(EFI_VA_END)), *range(pud_index(EFI_VA_START), PTRS_PER_PUD)):
        if words_efi[index] != words_k[index]:
            pud_efi[index] = pud_k[index]


def efi_enter_virtual_mode(linux: Linux) -> EfiStatus | None:
    """As in 3.14; after kexec the call has its table, in which there is still no 1:1 map (v4.8-rc8)."""
    if linux.efi_setup:
        efi_map.kexec_enter_virtual_mode(linux, one_to_one=False)
        return None
    return efi.set_virtual_address_map(linux)


@contextmanager
def efi_call(linux: Linux) -> Iterator[None]:
    """Every call runs on efi_pgd (efi_call_phys_prolog, arch_efi_call_virt_setup)."""
    with linux.trace.span("kernel", "efi_sync_low_kernel_mappings, switch to efi_pgd", "cr3-switch"):
        efi_sync_low_kernel_mappings(linux)
        save_cr3 = linux.cpu.cr3
        linux.cpu.write_cr3(linux.efi_pgd.pa)
        linux.cpu.flush_tlb_all()
    yield
    with linux.trace.span("kernel", "switch back to swapper_pg_dir", "cr3-back"):
        linux.cpu.write_cr3(save_cr3)
        linux.cpu.flush_tlb_all()


def pud_index(va: int) -> int:
    """The entry of the second level that `va` uses."""
    return va >> PUD_SHIFT & PTRS_PER_PUD - 1


def table_of_the_window(linux: Linux, table: PageTable) -> PageTable:
    """The table below the window's entry, which is the last one of a top-level table and of a p4d table."""
    address = table[pgd_index(EFI_VA_END)].address
    return PageTable(linux.memory, address, f"table@{address:#x}", linux.trace)


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
    efi_reserve_boot_services=efi_reserve_boot_services,
    efi_enter_virtual_mode=efi_enter_virtual_mode,
    efi_alloc_page_tables=efi_alloc_page_tables,
    efi_map_regions=efi_map_regions,
    efi_call_phys=efi_call,
    efi_call_virt=efi_call,
    i386=I386,
    efi_mixed=True,
)
