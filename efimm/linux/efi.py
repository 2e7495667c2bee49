"""efi_enter_virtual_mode: give every runtime region an address, and tell the firmware in one call.

Source: arch/x86/platform/efi/efi.c and efi_64.c, v3.5 (the tree of Robin Holt's patch: blob 92660ed).  The functions in
which kernels differ, the pointer and the seam around the call, come from the kernel's record.
"""

from __future__ import annotations

from dataclasses import replace

from ..uefi.memmap import DESCRIPTOR_VERSION, EFI_MEMORY_RUNTIME, EFI_MEMORY_WB, EfiMemoryDescriptor, EfiMemoryType
from ..uefi.runtime import EfiStatus
from ..x86 import PageFault
from ..x86.memory import PAGE_SHIFT
from .direct_map import init_memory_mapping
from .fault import do_page_fault
from .head import KERNEL_END, KERNEL_TEXT
from .layout import pfn_up, phys_to_virt
from .memblock import Memblock
from .page_alloc import kmalloc_memmap
from .pageattr import set_memory_nx, set_memory_uc, set_memory_x
from .state import Linux
from .vmalloc import ioremap

BOOT_SERVICES = (EfiMemoryType.EfiBootServicesCode, EfiMemoryType.EfiBootServicesData)


def efi_reserve_boot_services(memmap: list[EfiMemoryDescriptor], memblock: Memblock) -> None:
    """Reserve each boot-services region, or mark it "could not" by setting its number of pages to 0."""
    for place, md in enumerate(memmap):
        if md.type not in BOOT_SERVICES:
            continue
        over_kernel = md.end >= KERNEL_TEXT and md.physical_start <= KERNEL_END
        all_ram = any(start <= md.physical_start and md.end <= end for start, end in memblock.memory)
        if over_kernel or not all_ram or memblock.is_region_reserved(md.physical_start, md.size):
            memmap[place] = replace(md, number_of_pages=0)
        else:
            memblock.reserve(md.physical_start, md.end)


def efi_enter_virtual_mode(linux: Linux) -> EfiStatus:
    """Switch the firmware to virtual addresses; the status of SetVirtualAddressMap.

    Raises PageFault where the processor would, after the console has printed what 3.5 prints.  A status other than
    EFI_SUCCESS makes Linux panic; here it is the result.  Left out: freeing the boot services' memory and the array,
    which no later step here looks at.
    """
    with linux.trace.span("kernel", "efi_enter_virtual_mode"):
        merge_regions(linux.memmap)
        regions = [map_region(linux, place) for place, md in enumerate(linux.memmap) if is_wanted(md)]
        copy_regions(linux, regions)
        linux.pointer = linux.kernel.memmap_pointer(linux, linux.new_memmap)
        try:
            status = phys_efi_set_virtual_address_map(linux, len(regions))
        except PageFault as fault:
            do_page_fault(linux, fault)
            raise
        report_status(linux, status)
        if status == EfiStatus.EFI_SUCCESS:
            runtime_code_page_mkexec(linux)
    return status


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


def map_region(linux: Linux, place: int) -> EfiMemoryDescriptor:
    """Give descriptor `place` its virtual address, mapping the region first where the direct map does not reach."""
    md = linux.memmap[place]
    end_pfn = pfn_up(md.end)
    low = end_pfn <= linux.max_low_pfn_mapped
    high = 1 << 32 - PAGE_SHIFT < end_pfn <= linux.max_pfn_mapped
    start = md.physical_start
    va = phys_to_virt(start) if low or high else efi_ioremap(linux, start, md.size, md.type)
    md = linux.memmap[place] = replace(md, virtual_start=va)
    if not md.attribute & EFI_MEMORY_WB:
        set_memory_uc(linux, md.virtual_start, md.number_of_pages)
    systab = linux.firmware.system_table
    if md.physical_start <= systab < md.end:
        linux.efi_systab = systab + md.virtual_start - md.physical_start
    return md


def efi_ioremap(linux: Linux, pa: int, size: int, kind: int) -> int:
    """A virtual address for a region outside the direct map: ioremap for device memory, else the direct map grows."""
    if kind == EfiMemoryType.EfiMemoryMappedIO:
        return ioremap(linux, pa, size)
    last_map_pfn = init_memory_mapping(linux, pa, pa + size)
    top = last_map_pfn << PAGE_SHIFT
    if top < pa + size:
        efi_ioremap(linux, top, size - (top - pa), kind)
    return phys_to_virt(pa)


def copy_regions(linux: Linux, regions: list[EfiMemoryDescriptor]) -> None:
    """Fill `new_memmap`, the array for the firmware, descriptor by descriptor through the direct map."""
    size = linux.machine.descriptor_size
    linux.new_memmap = phys_to_virt(kmalloc_memmap(linux, size * len(regions)))
    linux.memmap_count = len(regions)
    with linux.trace.span("kernel", f"fill the array of {len(regions)} descriptors"):
        for place, md in enumerate(regions):
            linux.cpu.write(linux.new_memmap + place * size, md.pack(size))


def phys_efi_set_virtual_address_map(linux: Linux, count: int) -> EfiStatus:
    """The call itself, inside the seam that the kernel's record provides."""
    size = linux.machine.descriptor_size
    with linux.kernel.efi_call_phys(linux):
        linux.call_cr3, linux.call_mode = linux.cpu.cr3, linux.cpu.mode
        address = linux.firmware.service("SetVirtualAddressMap")
        return linux.firmware.call(linux.cpu, address, size * count, size, DESCRIPTOR_VERSION, linux.pointer)


def virt_efi_get_time(linux: Linux, buffer: int) -> EfiStatus:
    """GetTime by the way every later call takes: system table, runtime table, function pointer, each as it now reads.

    `buffer` is a virtual address for the 16 bytes of EFI_TIME.  Raises PageFault when any of it cannot be reached.
    """
    if linux.efi_systab is None:
        raise ValueError("no runtime region holds the EFI system table (BUG_ON(!efi.systab) in Linux)")
    with linux.trace.span("kernel", "virt_efi_get_time"):
        tables = linux.firmware.tables
        runtime = linux.cpu.read_uint(linux.efi_systab + tables.runtime_services, tables.word)
        get_time = linux.cpu.read_uint(runtime + tables.service("GetTime"), tables.word)
        return linux.firmware.call(linux.cpu, get_time, buffer, 0)


def early_code_mapping_set_exec(linux: Linux, executable: bool) -> None:
    """Allow or forbid execution of the firmware's code regions, through their direct-map addresses."""
    code = (EfiMemoryType.EfiRuntimeServicesCode, EfiMemoryType.EfiBootServicesCode)
    _set_executable(linux, [md for md in linux.memmap if md.type in code], executable)


def runtime_code_page_mkexec(linux: Linux) -> None:
    """After the switch, only the runtime code stays executable."""
    _set_executable(linux, [md for md in linux.memmap if md.type == EfiMemoryType.EfiRuntimeServicesCode], True)


def _set_executable(linux: Linux, regions: list[EfiMemoryDescriptor], executable: bool) -> None:
    change = set_memory_x if executable else set_memory_nx
    with linux.trace.span("kernel", f"make {len(regions)} code regions {'' if executable else 'not '}executable"):
        for md in regions:
            change(linux, md.virtual_start, md.number_of_pages)


def is_wanted(md: EfiMemoryDescriptor) -> bool:
    """True for the regions that the firmware gets a virtual address for: runtime ones, and the boot services'."""
    return bool(md.attribute & EFI_MEMORY_RUNTIME) or md.type in BOOT_SERVICES
