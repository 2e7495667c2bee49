"""efi_enter_virtual_mode of a 32-bit kernel: the firmware is called with paging off.

Source: arch/x86/platform/efi/efi.c, efi_32.c and efi_stub_32.S, v3.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...machines import MachineError
from ...uefi.memmap import DESCRIPTOR_VERSION, EFI_MEMORY_WB, EfiMemoryDescriptor, EfiMemoryType
from ...uefi.runtime import EfiStatus
from ...x86.cpu import CR0_PG
from ...x86.memory import PAGE_SHIFT
from ..efi import (
    checked_pointer,
    checked_regions,
    get_systab_virt_addr,
    merge_regions,
    report_status,
    should_map_region,
)
from ..layout import pfn_up
from ..page_alloc import kmalloc_memmap
from ..state import Linux32
from .direct_map import set_memory_uc, set_memory_x
from .head import KERNEL_TEXT
from .layout import PAGE_OFFSET
from .vmalloc import ioremap

KERNEL_DS = 0x68  # __KERNEL_DS of a 32-bit kernel (asm/segment.h): the descriptor at this offset of the GDT


def efi_enter_virtual_mode(linux: Linux32) -> EfiStatus | None:
    """Switch the firmware to virtual addresses; the status of SetVirtualAddressMap.

    No page fault can come from the firmware here: it runs without paging, on whatever physical address it was given.
    """
    if linux.machine.noruntime:
        return None
    with linux.trace.span("kernel", "efi_enter_virtual_mode"):
        copy_regions(linux, linux.regions or map_regions(linux))
        linux.regions = ()
        linux.pointer = checked_pointer(linux, linux.record.memmap_pointer(linux, linux.new_memmap))
        status = phys_efi_set_virtual_address_map(linux)
        report_status(linux, status)
        if status == EfiStatus.EFI_SUCCESS:
            runtime_code_page_mkexec(linux)
    return status


def map_regions(linux: Linux32) -> tuple[EfiMemoryDescriptor, ...]:
    """What is done before the array has a place: an address for each region."""
    merge_regions(linux.memmap)
    linux.regions = tuple(checked_regions(linux, linux.record.efi_map_regions(linux)))
    return linux.regions


def efi_map_regions(linux: Linux32) -> list[EfiMemoryDescriptor]:
    """Runtime regions and boot services, in the order of the firmware's map."""
    return [map_region(linux, place) for place, md in enumerate(linux.memmap) if should_map_region(md)]


def map_region(linux: Linux32, place: int) -> EfiMemoryDescriptor:
    """Give descriptor `place` its virtual address: in the direct map, or by ioremap_cache above low memory."""
    md = linux.memmap[place]
    if pfn_up(md.end) <= linux.max_low_pfn_mapped:
        va = linux.phys_to_virt(md.physical_start)
    else:
        va = ioremap(linux, md.physical_start, md.size, cached=True)
    md = linux.memmap[place] = replace(md, virtual_start=va)
    if not md.attribute & EFI_MEMORY_WB:
        set_memory_uc(linux, md.virtual_start, md.number_of_pages)
    get_systab_virt_addr(linux, md)
    return md


def copy_regions(linux: Linux32, regions: Sequence[EfiMemoryDescriptor]) -> None:
    """Fill `new_memmap` through the direct map.  MachineError for a buffer in high memory: kmalloc has none of it."""
    size = linux.machine.descriptor_size
    array = kmalloc_memmap(linux, size * len(regions))
    if array + size * len(regions) > linux.max_low_pfn << PAGE_SHIFT:
        end = linux.max_low_pfn << PAGE_SHIFT
        raise MachineError(f"buffer {array:#x}: a 32-bit kernel's memory for itself ends at {end:#x}")
    linux.new_memmap, linux.memmap_count = linux.phys_to_virt(array), len(regions)
    with linux.trace.span("kernel", f"fill the array of {len(regions)} descriptors", "array"):
        for place, md in enumerate(regions):
            linux.cpu.write(linux.new_memmap + place * size, md.pack(size))


def phys_efi_set_virtual_address_map(linux: Linux32) -> EfiStatus:
    """The call, inside the seam that the kernel's record provides."""
    size = linux.machine.descriptor_size
    with linux.record.efi_call_phys(linux):
        address = linux.firmware.service("SetVirtualAddressMap")
        return efi_call_phys(linux, address, size * linux.memmap_count, size, DESCRIPTOR_VERSION, linux.pointer)


def efi_call_phys(linux: Linux32, address: int, *arguments: int) -> EfiStatus:
    """efi_stub_32.S: jump to the low alias of the code, clear CR0.PG, call, set it, and jump back.

    The numbers are the stub's own.  While paging is still on, the code's physical address must be mapped at itself, and
    so must the GDT, whose physical address is loaded already; whether it is, is kept in `gdt_at_call`.
    """
    cpu = linux.cpu
    with linux.trace.span(
        "kernel", "efi_stub_32.S: 1. jump to the low alias, 3. clear CR0.PG, 4. the stack", "paging-off"
    ):
        cpu.fetch(KERNEL_TEXT)
        linux.gdt_at_call = cpu.walk(linux.gdt + KERNEL_DS)
        cpu.write_cr0(cpu.cr0 & ~CR0_PG)
        cpu.rsp -= PAGE_OFFSET
    linux.call_cr3, linux.call_mode = cpu.cr3, cpu.mode
    status = linux.firmware.call(cpu, address, *arguments)
    with linux.trace.span("kernel", "efi_stub_32.S: 6. the stack, 7. set CR0.PG, 8. jump back", "paging-on"):
        cpu.rsp += PAGE_OFFSET
        cpu.write_cr0(cpu.cr0 | CR0_PG)
        cpu.fetch(KERNEL_TEXT)
        cpu.fetch(PAGE_OFFSET + KERNEL_TEXT)
    return status


def runtime_code_page_mkexec(linux: Linux32) -> None:
    """After the switch, the firmware's code may be fetched at its virtual addresses."""
    for md in linux.memmap:
        if md.type == EfiMemoryType.EfiRuntimeServicesCode:
            set_memory_x(linux, md.virtual_start, md.number_of_pages)
