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
from ..linux.efi import should_map_region
from ..linux.efi_map import efi_map_region, efi_setup_page_tables, writable_and_executable
from ..linux.layout import EFI_VA_END, PAGE_TABLE, PTRS_PER_PGD, V6_1_LAYOUT, KernelImage, Layout, Region, pgd_index
from ..linux.page_alloc import alloc_pages
from ..linux.setup import trampoline_pgd_entry, write_real_mode_header
from ..linux.state import Linux
from ..uefi import EfiStatus
from ..uefi.memmap import DESCRIPTOR_SIZE, EFI_MEMORY_RO, EFI_MEMORY_XP, EfiMemoryDescriptor, EfiMemoryType
from ..x86 import PageTable
from ..x86.modes import LONG5, NX, RW
from . import v3_5, v4_6

SIZEOF_MEMATTR = 16  # efi_memory_attributes_table_t without its entries
CODE = (EfiMemoryType.EfiRuntimeServicesCode, EfiMemoryType.EfiBootServicesCode)


def setup_arch(linux: Linux) -> None:
    """The trampoline is left for later: an early_initcall sets it up."""
    setup.setup_memory(linux)
    setup.init_mem_mapping(linux)


def efi_reserve_boot_services(linux: Linux) -> None:
    """As in 4.6; but the memory attributes table, somewhere in boot data, is reserved before (efi_memattr_init)."""
    if start := linux.map.memattr_table:
        linux.memblock.reserve(start, start + SIZEOF_MEMATTR + DESCRIPTOR_SIZE * len(linux.map.memattr))
    v4_6.efi_reserve_boot_services(linux)


def mm_init(linux: Linux) -> None:
    """All top-level entries that vmalloc may need are made at once: none has to be synced, or faulted in, later.

    The real trampoline is set up after efi_enter_virtual_mode; since no slot is new by then, its entries are the same.
    """
    setup.start_page_allocator(linux)
    with linux.trace.span("kernel", "preallocate_vmalloc_pages"):
        preallocate_pages(linux, "vmalloc")
    with linux.trace.span("kernel", "setup_cpu_entry_areas, init_espfix_bsp", "late-areas"):
        populate_late_area(linux, "cpu entry area")
        if linux.kernel.image.espfix:
            populate_late_area(linux, "espfix stacks")
    setup.hpet_enable(linux)
    setup.setup_real_mode(linux)


def preallocate_pages(linux: Linux, region: str) -> None:
    """A lower table for every empty slot of the region."""
    for index in linux.layout.region(region).slots:
        if not linux.swapper_pg_dir[index]:
            linux.kernel.pgd_populate(linux, index, alloc_pages(linux, 1), 1)


def populate_late_area(linux: Linux, region: str) -> None:
    """A lower table for the 512 GiB of the region; what is mapped there later is not here.

    With five levels its entry is one of the p4d table behind the last slot (p4d_alloc and p4d_populate).
    """
    if not linux.layout.pgtable_l5_enabled:
        preallocate_pages(linux, region)
        return
    p4d = v4_6.table_of_the_window(linux, linux.swapper_pg_dir)
    p4d[pgd_index(linux.layout.region(region).start)] = alloc_pages(linux, 1) | PAGE_TABLE


def sync_global_pgds(linux: Linux, start: int, end: int) -> None:
    """Every slot of [start, end): the step is `ALIGN(addr + 1, PGDIR_SIZE)` (Baoquan He, fc5f9d5f151c, 2017).

    With five levels as with four (sync_global_pgds_l5, _l4): what is synced is the top level.
    """
    address, shift = start, linux.layout.pgdir_shift
    while address < end:
        v3_5.sync_pgd(linux, linux.layout.pgd_index(address))
        address = (address >> shift) + 1 << shift


def setup_real_mode(linux: Linux) -> None:
    """The 1:1 map in slot 0, and all of the kernel's half."""
    write_real_mode_header(linux)
    linux.trampoline_pgd[0] = trampoline_pgd_entry(linux)
    for index in range(linux.layout.kernel_pgd_boundary, PTRS_PER_PGD):
        linux.trampoline_pgd[index] = linux.swapper_pg_dir[index]


def efi_alloc_page_tables(linux: Linux) -> PageTable:
    """As in 4.6, with a second page behind the first, for page-table isolation (PGD_ALLOCATION_ORDER)."""
    alloc_pages(linux, 1)
    return efi_pgd_of_one_page(linux)


def efi_pgd_of_one_page(linux: Linux) -> PageTable:
    """4.6's; with five levels the window's slot leads to a p4d table of its own, and that to the empty one."""
    efi_pgd = v4_6.efi_alloc_page_tables(linux)
    if linux.layout.pgtable_l5_enabled:
        p4d = v4_6.table_of_the_window(linux, efi_pgd)
        p4d[pgd_index(EFI_VA_END)] = alloc_pages(linux, 1) | PAGE_TABLE
    return efi_pgd


def region_flags(md: EfiMemoryDescriptor) -> int:
    """Only code is executable.  In a guest of SEV all but device memory would be encrypted; guests are not here."""
    return writable_and_executable(md) if md.type in CODE else writable_and_executable(md) | NX


def efi_enter_virtual_mode(linux: Linux) -> EfiStatus | None:
    """As in 4.6, with the rights of each region; after kexec the 1:1 map is there again (since 4.9)."""
    if linux.efi_setup:
        efi_map.kexec_enter_virtual_mode(linux, region_flags)
        return None
    return efi.set_virtual_address_map(linux)


def efi_map_regions(linux: Linux) -> list[EfiMemoryDescriptor]:
    """From the last region to the first, as in 4.6, with the rights of each."""
    places = [place for place, md in enumerate(linux.memmap) if should_map_region(md, mixed=linux.efi_is_mixed)]
    return [efi_map_region(linux, place, region_flags) for place in reversed(places)]


def efi_setup_page_tables_and_page_0(linux: Linux, pa_memmap: int, num_pages: int) -> None:
    """Map the array 1:1, and page 0 too: some firmware writes there although it has given it away."""
    efi_setup_page_tables(linux, pa_memmap, num_pages)
    linux.kernel.kernel_map_pages_in_pgd(linux, linux.efi_pgd, 0, 0, 1, NX | RW | linux.sme_me_mask)


def efi_runtime_update_mappings(linux: Linux) -> None:
    """What the memory attributes table says of each part of runtime code and data (efi_memattr_apply_permissions).

    It applies after the switch alone: until then, the firmware relocates its code.  Without such a table everything
    stays as it is.
    """
    for entry in linux.map.memattr:
        if (md := covering_region(linux, entry)) is not None:
            flags = (NX if entry.attribute & EFI_MEMORY_XP else 0) | (0 if entry.attribute & EFI_MEMORY_RO else RW)
            for va in (entry.physical_start, entry.physical_start - md.physical_start + md.virtual_start):
                linux.kernel.kernel_map_pages_in_pgd(
                    linux, linux.efi_pgd, entry.physical_start, va, entry.number_of_pages, flags
                )


def covering_region(linux: Linux, entry: EfiMemoryDescriptor) -> EfiMemoryDescriptor | None:
    """The runtime region of the same type that holds all of `entry`, None where there is no such (entry_is_valid)."""
    regions = (md for md in linux.memmap if md.runtime and md.physical_start <= entry.physical_start < md.end)
    md = next(regions, None)
    return md if md is not None and entry.end <= md.end and entry.type == md.type else None


@contextmanager
def efi_call(linux: Linux) -> Iterator[None]:
    """Every call runs in efi_mm (efi_enter_mm, efi_leave_mm)."""
    with linux.trace.span("kernel", "efi_sync_low_kernel_mappings, efi_enter_mm", "cr3-switch"):
        v4_6.efi_sync_low_kernel_mappings(linux)
        prev_cr3 = linux.cpu.cr3
        linux.cpu.write_cr3(linux.efi_pgd.pa)
    yield
    with linux.trace.span("kernel", "efi_leave_mm", "cr3-back"):
        linux.cpu.write_cr3(prev_cr3)


def _of_5_levels(*regions: tuple[str, int, int]) -> tuple[Region, ...]:
    return tuple(Region(name, start, end, LONG5.levels[0].shift) for name, start, end in regions)


LAYOUT_LA57 = Layout(
    0xFF11_0000_0000_0000,
    _of_5_levels(
        ("user", 0, 0x0100_0000_0000_0000),
        ("hypervisor hole", 0xFF00_0000_0000_0000, 0xFF10_0000_0000_0000),
        ("LDT remap", 0xFF10_0000_0000_0000, 0xFF11_0000_0000_0000),
        ("direct map", 0xFF11_0000_0000_0000, 0xFF91_0000_0000_0000),
        ("hole", 0xFF91_0000_0000_0000, 0xFFA0_0000_0000_0000),
        ("vmalloc", 0xFFA0_0000_0000_0000, 0xFFD2_0000_0000_0000),
        ("hole", 0xFFD2_0000_0000_0000, 0xFFD4_0000_0000_0000),
        ("vmemmap", 0xFFD4_0000_0000_0000, 0xFFD6_0000_0000_0000),
        ("hole", 0xFFD6_0000_0000_0000, 0xFFDF_0000_0000_0000),
        ("KASAN shadow", 0xFFDF_0000_0000_0000, 0xFFFF_FC00_0000_0000),
        ("hole", 0xFFFF_FC00_0000_0000, 0xFFFF_FE00_0000_0000),
        ("cpu entry area", 0xFFFF_FE00_0000_0000, 0xFFFF_FE80_0000_0000),
        ("hole", 0xFFFF_FE80_0000_0000, 0xFFFF_FF00_0000_0000),
        ("espfix stacks", 0xFFFF_FF00_0000_0000, 0xFFFF_FF80_0000_0000),
        ("EFI and kernel text", 0xFFFF_FF80_0000_0000, 1 << 64),
    ),
    phys_base=0x60_0000,
    mode=LONG5,
    randomize_memory=True,
)


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
    espfix=True,
    level4_kernel_pgt=0x301_4000,
)

KERNEL = replace(
    v4_6.KERNEL,
    name="6.1",
    order=9,
    title="Linux 6.1 (December 2022)",
    source="arch/x86/platform/efi/efi_64.c, v6.1 (Debian's 6.1.192-2)",
    layout=V6_1_LAYOUT,
    layout_la57=LAYOUT_LA57,
    mem_encrypt=True,
    image=IMAGE,
    setup_arch=setup_arch,
    efi_reserve_boot_services=efi_reserve_boot_services,
    setup_real_mode=setup_real_mode,
    sync_global_pgds=sync_global_pgds,
    mm_init=mm_init,
    efi_enter_virtual_mode=efi_enter_virtual_mode,
    efi_alloc_page_tables=efi_alloc_page_tables,
    efi_map_regions=efi_map_regions,
    efi_setup_page_tables=efi_setup_page_tables_and_page_0,
    efi_call_phys=efi_call,
    efi_call_virt=efi_call,
    efi_runtime_update_mappings=efi_runtime_update_mappings,
)
