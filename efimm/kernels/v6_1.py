"""Linux 6.1: the firmware's table is an mm_struct, the direct map begins at slot 273, the trampoline has all slots.

Sources, all v6.1: arch/x86/platform/efi/efi_64.c, efi.c and quirks.c, arch/x86/mm/init.c, init_64.c and kaslr.c,
arch/x86/realmode/init.c, Documentation/x86/x86_64/mm.rst.  Held against the page tables of real 6.1 kernels, which were
started with efi=debug: so here too the boot services stay mapped after the call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..linux import efi, efi_map, setup
from ..linux.efi import BOOT_SERVICES, can_free_region, should_map_region
from ..linux.efi_map import efi_map_region, efi_setup_page_tables, writable_and_executable
from ..linux.head import KernelImage
from ..linux.layout import KERNPG_TABLE, PTRS_PER_PGD, V6_1_LAYOUT, pgd_index
from ..linux.page_alloc import alloc_pages
from ..linux.pageattr import kernel_map_pages_in_pgd
from ..linux.realmode import write_real_mode_header
from ..linux.state import Linux
from ..uefi import EfiStatus
from ..uefi.memmap import EFI_MEMORY_RUNTIME, EfiMemoryDescriptor, EfiMemoryType
from ..x86 import PageTable
from ..x86.modes import NX, RW
from . import v4_6

CODE = (EfiMemoryType.EfiRuntimeServicesCode, EfiMemoryType.EfiBootServicesCode)


def setup_arch(linux: Linux) -> None:
    """The trampoline is left for later: an early_initcall sets it up."""
    setup.setup_memory(linux)
    setup.init_mem_mapping(linux)


def efi_reserve_boot_services(linux: Linux) -> None:
    """Reserve each boot-services region; one that is not ours to free again is marked as needed at run time."""
    memblock = linux.memblock
    for place, md in enumerate(linux.memmap):
        if md.type not in BOOT_SERVICES:
            continue
        if not memblock.is_region_reserved(md.physical_start, md.size):
            memblock.reserve(md.physical_start, md.end)
            if can_free_region(linux, md):
                continue
        linux.memmap[place] = replace(md, attribute=md.attribute | EFI_MEMORY_RUNTIME)


def mm_init(linux: Linux) -> None:
    """All top-level entries that vmalloc may need are made at once: none has to be synced, or faulted in, later.

    The real trampoline is set up after efi_enter_virtual_mode; since no slot is new by then, its entries are the same.
    """
    setup.start_page_allocator(linux)
    with linux.trace.span("kernel", "preallocate_vmalloc_pages"):
        preallocate_pages(linux, "vmalloc")
    with linux.trace.span("kernel", "setup_cpu_entry_areas, init_espfix_bsp"):
        preallocate_pages(linux, "cpu entry area")
        preallocate_pages(linux, "espfix stacks")
    setup.hpet_enable(linux)
    setup.setup_real_mode(linux)


def preallocate_pages(linux: Linux, region: str) -> None:
    """A lower table for every empty slot of the region; what is mapped in cpu entry area and espfix is not here."""
    for index in linux.layout.region(region).slots:
        if not linux.swapper_pg_dir[index]:
            linux.kernel.pgd_populate(linux, index, alloc_pages(linux, 1), 1)


def setup_real_mode(linux: Linux) -> None:
    """The 1:1 map in slot 0, and all of the kernel's half."""
    write_real_mode_header(linux)
    linux.trampoline_pgd[0] = trampoline_pgd_entry(linux)
    for index in range(pgd_index(linux.layout.page_offset), PTRS_PER_PGD):
        linux.trampoline_pgd[index] = linux.swapper_pg_dir[index]


def trampoline_pgd_entry(linux: Linux) -> int:
    """The direct map's first slot; under KASLR, when that is not 1:1, a table for the first GiB (init_trampoline)."""
    offset = linux.layout.page_offset
    pgd = linux.swapper_pg_dir[pgd_index(offset)]
    if linux.machine.kaslr is None:
        return pgd
    pud = PageTable(linux.memory, pgd.address, f"pud@{pgd.address:#x}", linux.trace)
    pud_tramp = PageTable(linux.memory, alloc_pages(linux, 1), "pud_page_tramp", linux.trace)
    pud_tramp[0] = pud[v4_6.pud_index(offset)]
    return pud_tramp.pa | KERNPG_TABLE


def region_flags(md: EfiMemoryDescriptor) -> int:
    """Only code is executable."""
    return writable_and_executable(md) if md.type in CODE else writable_and_executable(md) | NX


def efi_enter_virtual_mode(linux: Linux) -> EfiStatus | None:
    """As in 3.14, with the rights of each region."""
    if linux.efi_setup:
        efi_map.kexec_enter_virtual_mode(linux, region_flags)
        return None
    return efi.set_virtual_address_map(linux)


def efi_map_regions(linux: Linux) -> list[EfiMemoryDescriptor]:
    """From the last region to the first, as in 4.6, with the rights of each."""
    places = [place for place, md in enumerate(linux.memmap) if should_map_region(md)]
    return [efi_map_region(linux, place, region_flags) for place in reversed(places)]


def efi_setup_page_tables_and_page_0(linux: Linux, pa_memmap: int, num_pages: int) -> None:
    """Map the array 1:1, and page 0 too: some firmware writes there although it has given it away."""
    efi_setup_page_tables(linux, pa_memmap, num_pages)
    kernel_map_pages_in_pgd(linux, linux.efi_pgd, 0, 0, 1, NX | RW)


@contextmanager
def efi_call(linux: Linux) -> Iterator[None]:
    """Every call runs in efi_mm (efi_enter_mm, efi_leave_mm)."""
    with linux.trace.span("kernel", "efi_sync_low_kernel_mappings, efi_enter_mm"):
        v4_6.efi_sync_low_kernel_mappings(linux)
        prev_cr3 = linux.cpu.cr3
        linux.cpu.write_cr3(linux.efi_pgd.pa)
    yield
    with linux.trace.span("kernel", "efi_leave_mm"):
        linux.cpu.write_cr3(prev_cr3)


# Debian's 6.1.0-56-amd64 as we booted it on OVMF in November 2026, with nokaslr: its symbols, and _end rounded up.
IMAGE = KernelImage(
    text=0x160_0000,
    end=0x4C0_0000,
    init_level4_pgt=0x301_0000,
    level3_kernel_pgt=0x301_5000,
    level2_kernel_pgt=0x301_6000,
    level2_fixmap_pgt=0x301_7000,
    level1_fixmap_pgt=0x301_8000,
    init_stack_top=0x300_4000,
)

KERNEL = replace(
    v4_6.KERNEL,
    name="6.1",
    order=8,
    title="Linux 6.1 (December 2022)",
    source="arch/x86/platform/efi/efi_64.c, v6.1 (Debian's 6.1.192-2)",
    layout=V6_1_LAYOUT,
    image=IMAGE,
    setup_arch=setup_arch,
    efi_reserve_boot_services=efi_reserve_boot_services,
    setup_real_mode=setup_real_mode,
    mm_init=mm_init,
    efi_enter_virtual_mode=efi_enter_virtual_mode,
    efi_map_regions=efi_map_regions,
    efi_setup_page_tables=efi_setup_page_tables_and_page_0,
    efi_call_phys=efi_call,
    efi_call_virt=efi_call,
)
