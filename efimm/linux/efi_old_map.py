"""How 3.5 gives the firmware's regions their addresses: in the direct map, or by ioremap.

Source: arch/x86/platform/efi/efi.c and efi_64.c, v3.5.  From 3.14 to 5.8 this is what `efi=old_map` chose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..uefi.memmap import EFI_MEMORY_WB, EfiMemoryDescriptor, EfiMemoryType
from ..x86 import walk
from ..x86.memory import PAGE_SHIFT
from .direct_map import init_memory_mapping
from .efi import get_systab_virt_addr, should_map_region
from .layout import pfn_up
from .pageattr import set_memory_nx, set_memory_uc, set_memory_x
from .state import Linux
from .vmalloc import ioremap

IsMapped = Callable[[Linux, EfiMemoryDescriptor], bool]


def ends_below_what_is_mapped(linux: Linux, md: EfiMemoryDescriptor) -> bool:
    """3.5's question whether the direct map has a region: it looks at the end alone, since there were no holes."""
    end_pfn = pfn_up(md.end)
    return end_pfn <= linux.max_low_pfn_mapped or 1 << 32 - PAGE_SHIFT < end_pfn <= linux.max_pfn_mapped


def pfn_range_is_mapped(linux: Linux, md: EfiMemoryDescriptor) -> bool:
    """The question since v3.9 (recalled), when the direct map got holes: here the tables are asked, page by page."""
    va, end = (linux.layout.phys_to_virt(pa) for pa in (md.physical_start, md.end))
    while va < end:
        found = walk(linux.memory, linux.swapper_pg_dir.pa, va)
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
    with linux.trace.span("kernel", f"make {len(regions)} code regions {'' if executable else 'not '}executable"):
        for md in regions:
            change(linux, linux.layout.phys_to_virt(md.physical_start), md.number_of_pages)
