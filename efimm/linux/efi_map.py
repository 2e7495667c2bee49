"""How the firmware's regions get their addresses.

Until 3.13, and later with `efi=old_map`, in the direct map or by ioremap: arch/x86/platform/efi/efi.c and efi_64.c,
v3.5.  Since 3.14 downwards from -4 GiB, and 1:1 besides: efi_64.c, v3.14 and v6.1 (__map_region, efi_map_region).

A kernel that another one has started by kexec gets them from its predecessor, since the firmware was switched already
and will not switch again: save_runtime_map, kexec_enter_virtual_mode and efi_map_region_fixed, v3.14.1 (Dave Young,
1fec0533693c), v4.8-rc8 and v4.9.  The addresses travel through /sys/firmware/efi/runtime-map, kexec's tools and
setup_data; here `Linux.efi_setup` is what arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..uefi.memmap import EFI_MEMORY_WB, EfiMemoryDescriptor, EfiMemoryType
from ..x86 import walk
from ..x86.memory import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from ..x86.modes import NX, RW
from .direct_map import init_memory_mapping
from .efi import get_systab_virt_addr, should_map_region
from .layout import EFI_VA_END, PAGE_CACHE_UC_MINUS, PMD_SIZE, pfn_up
from .pageattr import set_memory_nx, set_memory_uc, set_memory_x
from .state import Linux
from .vmalloc import ioremap

RegionFlags = Callable[[EfiMemoryDescriptor], int]


def writable_and_executable(md: EfiMemoryDescriptor) -> int:
    """The flags of a region until 4.9 and later: everything is allowed, and only RAM is cached."""
    return RW if md.attribute & EFI_MEMORY_WB else RW | PAGE_CACHE_UC_MINUS


def efi_map_region(linux: Linux, place: int, flags: RegionFlags = writable_and_executable) -> EfiMemoryDescriptor:
    """Map descriptor `place` 1:1, for firmware that keeps using physical addresses, and at the next address below.

    32-bit firmware keeps its physical addresses.  Where the window of 64 GiB is used up, this region and all that
    follow keep virtual address 0, and are passed to the firmware with it.
    """
    md = linux.memmap[place]
    map_region(linux, md, md.physical_start, flags(md))
    if linux.efi_is_mixed:
        md = linux.memmap[place] = replace(md, virtual_start=md.physical_start)
        get_systab_virt_addr(linux, md)
        return md
    linux.efi_va = next_efi_va(linux.efi_va, md.physical_start, md.size)
    if linux.efi_va < EFI_VA_END:
        linux.trace.printk("[Firmware Warn]: VA address range overflow!")
    else:
        map_region(linux, md, linux.efi_va, flags(md))
        md = linux.memmap[place] = replace(md, virtual_start=linux.efi_va)
    get_systab_virt_addr(linux, md)
    return md


def map_region(linux: Linux, md: EfiMemoryDescriptor, va: int, flags: int) -> None:
    """`__map_region`: the region's pages at `va` in the table that the firmware runs on."""
    linux.kernel.kernel_map_pages_in_pgd(linux, linux.efi_pgd, md.physical_start, va, md.number_of_pages, flags)


def next_efi_va(efi_va: int, pa: int, size: int) -> int:
    """The highest address below `efi_va` with room for `size` bytes and the offset of `pa` within 2 MiB."""
    efi_va -= size
    if not pa % PMD_SIZE:
        return efi_va // PMD_SIZE * PMD_SIZE
    prev_va, efi_va = efi_va, efi_va // PMD_SIZE * PMD_SIZE + pa % PMD_SIZE
    return efi_va - PMD_SIZE if efi_va > prev_va else efi_va


def efi_setup_page_tables(linux: Linux, pa_memmap: int, num_pages: int) -> None:
    """Map the array 1:1 for the call: the direct fix of the bug of 2012, since it may lie where nothing else is.

    Encrypted, where the kernel's own memory is.  For 32-bit firmware a stack below 4 GiB is taken; the kernel's text
    for the way back, which needs to be mapped 1:1, is not here.
    """
    start, flags = pa_memmap & PAGE_MASK, NX | RW | linux.sme_me_mask
    linux.kernel.kernel_map_pages_in_pgd(linux, linux.efi_pgd, start, start, num_pages, flags)
    if linux.efi_is_mixed:
        linux.efi_mixed_mode_stack_pa = linux.memblock.alloc(PAGE_SIZE, end=1 << 32) + PAGE_SIZE


IsMapped = Callable[[Linux, EfiMemoryDescriptor], bool]


def ends_below_what_is_mapped(linux: Linux, md: EfiMemoryDescriptor) -> bool:
    """3.5's question whether the direct map has a region: it looks at the end alone, since there were no holes."""
    end_pfn = pfn_up(md.end)
    return end_pfn <= linux.max_low_pfn_mapped or 1 << 32 - PAGE_SHIFT < end_pfn <= linux.max_pfn_mapped


def pfn_range_is_mapped(linux: Linux, md: EfiMemoryDescriptor) -> bool:
    """The question since v3.9 (recalled), when the direct map got holes: here the tables are asked, page by page."""
    va, end = (linux.layout.phys_to_virt(pa) for pa in (md.physical_start, md.end))
    while va < end:
        found = walk(linux.memory, linux.swapper_pg_dir.pa, va, linux.layout.mode)
        if found.pa is None:
            return False
        va += found.page_size - va % found.page_size
    return True


def old_map_regions(linux: Linux, is_mapped: IsMapped = ends_below_what_is_mapped) -> list[EfiMemoryDescriptor]:
    """The regions in the order of the firmware's map."""
    places = [place for place, md in enumerate(linux.memmap) if should_map_region(md)]
    return [old_map_region(linux, place, is_mapped) for place in places]


def old_map_region(linux: Linux, place: int, is_mapped: IsMapped = ends_below_what_is_mapped) -> EfiMemoryDescriptor:
    """Give descriptor `place` its virtual address, mapping the region first where the direct map does not reach."""
    md = linux.memmap[place]
    start = md.physical_start
    va = linux.layout.phys_to_virt(start) if is_mapped(linux, md) else efi_ioremap(linux, start, md.size, md.type)
    md = linux.memmap[place] = replace(md, virtual_start=va)
    if not md.attribute & EFI_MEMORY_WB:
        set_memory_uc(linux, md.virtual_start, md.number_of_pages)
    get_systab_virt_addr(linux, md)
    return md


def efi_ioremap(linux: Linux, pa: int, size: int, kind: int) -> int:
    """A virtual address for a region outside the direct map: ioremap for device memory, else the direct map grows."""
    if kind == EfiMemoryType.EfiMemoryMappedIO:
        return ioremap(linux, pa, size)
    last_map_pfn = init_memory_mapping(linux, pa, pa + size)
    top = last_map_pfn << PAGE_SHIFT
    if top < pa + size:
        efi_ioremap(linux, top, size - (top - pa), kind)
    return linux.layout.phys_to_virt(pa)


def early_code_mapping_set_exec(linux: Linux, executable: bool) -> None:
    """Allow or forbid execution of the firmware's code regions, through their direct-map addresses.

    Linux takes `md->virt_addr`, which for code is this address: only devices get another.
    """
    code = (EfiMemoryType.EfiRuntimeServicesCode, EfiMemoryType.EfiBootServicesCode)
    _set_executable(linux, [md for md in linux.memmap if md.type in code], executable)


def runtime_code_page_mkexec(linux: Linux) -> None:
    """After the switch, only the runtime code stays executable."""
    _set_executable(linux, [md for md in linux.memmap if md.type == EfiMemoryType.EfiRuntimeServicesCode], True)


def _set_executable(linux: Linux, regions: list[EfiMemoryDescriptor], executable: bool) -> None:
    change = set_memory_x if executable else set_memory_nx
    words = f"make {len(regions)} code regions {'' if executable else 'not '}executable"
    with linux.trace.span("kernel", words, "code-rights"):
        for md in regions:
            change(linux, linux.layout.phys_to_virt(md.physical_start), md.number_of_pages)


def save_runtime_map(linux: Linux) -> tuple[EfiMemoryDescriptor, ...]:
    """The runtime regions with the addresses that the firmware has now; none before it has switched."""
    return tuple(md for md in linux.efi_setup or linux.memmap if md.runtime and md.virtual_start)


def kexec_enter_virtual_mode(
    linux: Linux, flags: RegionFlags = writable_and_executable, *, one_to_one: bool = True
) -> None:
    """Map each region where the kernel before had it, and 1:1 unless told not to; the firmware is not called.

    efi_map_region_fixed has the line for 1:1 in v4.9 and not yet in v4.8-rc8.  Left out: what efi_setup_page_tables
    maps besides, for a kernel since 4.6.
    """
    linux.efi_pgd = linux.kernel.efi_alloc_page_tables(linux)
    for md in linux.efi_setup:
        if one_to_one:
            map_region(linux, md, md.physical_start, flags(md))
        map_region(linux, md, md.virtual_start, flags(md))
        get_systab_virt_addr(linux, md)
