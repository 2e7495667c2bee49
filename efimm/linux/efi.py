"""efi_enter_virtual_mode: give every runtime region an address, and tell the firmware in one call.

Source: arch/x86/platform/efi/efi.c and efi_64.c, v3.5 (the tree of Robin Holt's patch: blob 92660ed); the order of the
steps is that of v4.9, where those that 3.5 does not have are calls that do nothing.  The functions in which kernels
differ come from the kernel's record.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

from ..uefi.memmap import DESCRIPTOR_VERSION, EFI_MEMORY_RUNTIME, EfiMemoryDescriptor, EfiMemoryType
from ..uefi.runtime import EfiStatus
from ..x86 import PageFault, PageTable
from .fault import do_page_fault
from .page_alloc import kmalloc_memmap, memmap_pages
from .state import KernelError, Linux

BOOT_SERVICES = (EfiMemoryType.EfiBootServicesCode, EfiMemoryType.EfiBootServicesData)
LOW_32 = (1 << 32) - 1
LOADER_OR_FREE = (EfiMemoryType.EfiLoaderCode, EfiMemoryType.EfiLoaderData, EfiMemoryType.EfiConventionalMemory)


def efi_reserve_boot_services(linux: Linux) -> None:
    """Reserve each boot-services region, or mark it "could not" by setting its number of pages to 0."""
    memblock = linux.memblock
    for place, md in enumerate(linux.memmap):
        if md.type not in BOOT_SERVICES:
            continue
        if memblock.is_region_reserved(md.physical_start, md.size) or not can_free_region(linux, md):
            linux.memmap[place] = replace(md, number_of_pages=0)
        else:
            memblock.reserve(md.physical_start, md.end)


def can_free_region(linux: Linux, md: EfiMemoryDescriptor) -> bool:
    """True where the region is RAM from end to end and not under the kernel's image (the name is that of v4.9)."""
    over_kernel = md.end >= linux.image.start and md.physical_start <= linux.image.stop
    return not over_kernel and any(a <= md.physical_start and md.end <= b for a, b in linux.memblock.memory)


def efi_enter_virtual_mode(linux: Linux) -> EfiStatus | None:
    """Switch the firmware to virtual addresses, in the kernel's way; the status of SetVirtualAddressMap.

    None where the kernel does not call it.  Raises PageFault where the processor would.  A status other than
    EFI_SUCCESS makes Linux panic (6.1 goes on without runtime services); here it is the result.  What the console
    prints is 3.5's in every kernel.
    """
    if linux.no_runtime:
        return None
    with linux.trace.span("kernel", "efi_enter_virtual_mode"):
        try:
            return _checked_status(linux, linux.kernel.efi_enter_virtual_mode(linux))
        except PageFault as fault:
            do_page_fault(linux, fault)
            raise


def set_virtual_address_map(linux: Linux) -> EfiStatus:
    """The steps of efi_enter_virtual_mode, from the kernel's record.

    Left out: freeing the boot services' memory and the array, which no later step here looks at.
    """
    kernel = linux.kernel
    copy_regions(linux, linux.regions or map_regions(linux))
    linux.regions = ()
    pa = linux.layout.virt_to_phys(linux.new_memmap)
    kernel.efi_setup_page_tables(linux, pa, memmap_pages(linux.memmap_count, linux.machine.descriptor_size))
    linux.pointer = checked_pointer(linux, kernel.memmap_pointer(linux, linux.new_memmap))
    status = phys_efi_set_virtual_address_map(linux)
    report_status(linux, status)
    if status == EfiStatus.EFI_SUCCESS:
        kernel.efi_runtime_update_mappings(linux)
    return status


def map_regions(linux: Linux) -> tuple[EfiMemoryDescriptor, ...]:
    """What is done before the array has a place: the firmware's table, and an address for each region."""
    linux.efi_pgd = checked_table(linux, linux.kernel.efi_alloc_page_tables(linux))
    merge_regions(linux.memmap)
    linux.regions = tuple(checked_regions(linux, linux.kernel.efi_map_regions(linux)))
    return linux.regions


def _shown(given: object) -> str:
    return f"{given:#x}" if isinstance(given, int) else f"{given!r:.40}"


def _checked_status(linux: Linux, given: object) -> EfiStatus | None:
    if given is None or isinstance(given, EfiStatus):
        return given
    raise KernelError(linux.kernel, f"efi_enter_virtual_mode gave {_shown(given)}; expected an EfiStatus or None")


def checked_table(linux: Linux, given: object) -> PageTable:
    """`given`, which a kernel's efi_alloc_page_tables may have given; KernelError where it is no table."""
    if not isinstance(given, PageTable):
        raise KernelError(linux.kernel, f"efi_alloc_page_tables gave {_shown(given)}; expected a PageTable")
    return given


def checked_regions(linux: Linux, given: object) -> list[EfiMemoryDescriptor]:
    """`given`, which a kernel's efi_map_regions may have given; KernelError where no array can be made of it."""
    regions = list(given) if isinstance(given, list | tuple) else []
    if not regions:
        raise KernelError(linux.kernel, f"efi_map_regions gave {_shown(given)}; expected a list of regions")
    for md in regions:
        try:
            md.pack()
        except (AttributeError, struct.error):
            raise KernelError(
                linux.kernel, f"efi_map_regions gave {md!r:.60}...; expected numbers of 64 bits"
            ) from None
    return regions


def checked_pointer(linux: Linux, given: object) -> int:
    """`given`, which a kernel's memmap_pointer may have given; KernelError where it is no number of 64 bits."""
    if not isinstance(given, int) or not 0 <= given < 1 << 64:
        raise KernelError(linux.kernel, f"memmap_pointer gave {_shown(given)}; expected a number of 64 bits")
    return int(given)


def report_status(linux: Linux, status: EfiStatus) -> None:
    """What the console says of a status other than EFI_SUCCESS."""
    if status != EfiStatus.EFI_SUCCESS:
        linux.trace.printk(f"Unable to switch EFI into virtual mode (status={status:x})!")
        linux.trace.printk("Kernel panic - not syncing: EFI call to SetVirtualAddressMap() failed!")


def merge_regions(memmap: list[EfiMemoryDescriptor]) -> None:
    """Join each descriptor to the one before it where type, attribute and address continue; it becomes type 0."""
    previous = 0
    for place in range(1, len(memmap)):
        before, md = memmap[previous], memmap[place]
        same = (before.type, before.attribute) == (md.type, md.attribute)
        if same and md.physical_start == before.end:
            memmap[previous] = replace(before, number_of_pages=before.number_of_pages + md.number_of_pages)
            memmap[place] = replace(md, type=EfiMemoryType.EfiReservedMemoryType, attribute=0)
        else:
            previous = place


def should_map_region(md: EfiMemoryDescriptor, *, mixed: bool = False) -> bool:
    """True for runtime regions, and for boot services, which some firmware still needs during the call.

    With 32-bit firmware (`mixed`) for all RAM, so that it reaches its arguments (efi.c, v4.9).
    """
    wanted = (*BOOT_SERVICES, *LOADER_OR_FREE) if mixed else BOOT_SERVICES
    return bool(md.attribute & EFI_MEMORY_RUNTIME) or md.type in wanted


def get_systab_virt_addr(linux: Linux, md: EfiMemoryDescriptor) -> None:
    """Note the system table's virtual address when it lies in this region."""
    systab = linux.firmware.system_table
    if md.physical_start <= systab < md.end:
        linux.efi_systab = systab + md.virtual_start - md.physical_start


def copy_regions(linux: Linux, regions: Sequence[EfiMemoryDescriptor]) -> None:
    """Fill `new_memmap`, the array for the firmware, descriptor by descriptor through the direct map."""
    size = linux.machine.descriptor_size
    linux.new_memmap = linux.layout.phys_to_virt(kmalloc_memmap(linux, size * len(regions)))
    linux.memmap_count = len(regions)
    with linux.trace.span("kernel", f"fill the array of {len(regions)} descriptors", "array"):
        for place, md in enumerate(regions):
            linux.cpu.write(linux.new_memmap + place * size, md.pack(size))


def phys_efi_set_virtual_address_map(linux: Linux) -> EfiStatus:
    """The call itself, inside the seam that the kernel's record provides."""
    size = linux.machine.descriptor_size
    if linux.efi_is_mixed:
        linux.pointer &= LOW_32
    with linux.kernel.efi_call_phys(linux):
        linux.call_cr3, linux.call_mode = linux.cpu.cr3, linux.cpu.mode
        address = linux.firmware.service("SetVirtualAddressMap")
        memory_map_size = size * linux.memmap_count
        return arch_efi_call_virt(linux, address, memory_map_size, size, DESCRIPTOR_VERSION, linux.pointer)


def arch_efi_call_virt(linux: Linux, address: int, *arguments: int) -> EfiStatus:
    """The call of a service; 32-bit firmware is called by `__efi64_thunk` (efi_thunk_64.S, v6.1).

    That cuts each argument to 32 bits, as it is: an address above 4 GiB becomes another one.  Left out: how the
    processor gets to 32-bit code and back, which changes no table.
    """
    if not linux.efi_is_mixed:
        return linux.firmware.call(linux.cpu, address, *arguments)
    cpu, saved = linux.cpu, (linux.cpu.rip, linux.cpu.rsp)
    cpu.rip, cpu.rsp = linux.virt_to_phys(cpu.rip), linux.efi_mixed_mode_stack_pa
    status = linux.firmware.call(cpu, address, *(argument & LOW_32 for argument in arguments))
    cpu.rip, cpu.rsp = saved
    return status


def virt_efi_get_time(linux: Linux, buffer: int) -> EfiStatus:
    """GetTime by the way every later call takes: system table, runtime table, function pointer, each as it now reads.

    `buffer` is a virtual address for the 16 bytes of EFI_TIME.  32-bit firmware gets its physical address, as in v4.9;
    v6.1 has no such call for the time, but goes this way for variables.  Raises PageFault when any of it cannot be
    reached.
    """
    if linux.efi_systab is None:
        raise ValueError("no runtime region holds the EFI system table (BUG_ON(!efi.systab) in Linux)")
    with linux.trace.span("kernel", "virt_efi_get_time"), linux.efi_call_virt():
        linux.call_cr3 = linux.call_cr3 or linux.cpu.cr3
        tables = linux.firmware.tables
        runtime = linux.cpu.read_uint(linux.efi_systab + tables.runtime_services, tables.word)
        get_time = linux.cpu.read_uint(runtime + tables.service("GetTime"), tables.word)
        return arch_efi_call_virt(linux, get_time, linux.virt_to_phys(buffer) if linux.efi_is_mixed else buffer, 0)
