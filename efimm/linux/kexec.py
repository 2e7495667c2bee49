"""A kernel that another one has started by kexec: the firmware was switched already, and will not switch again.

Source: arch/x86/platform/efi/efi.c (save_runtime_map, kexec_enter_virtual_mode) and efi_64.c (efi_map_region_fixed),
v3.14.1 (Dave Young, 1fec0533693c), v4.8-rc8 and v4.9.  The addresses travel through /sys/firmware/efi/runtime-map,
kexec's tools and setup_data; here `Linux.efi_setup` is what arrives.
"""

from __future__ import annotations

from ..uefi.memmap import EfiMemoryDescriptor
from .efi import get_systab_virt_addr
from .efi_map import RegionFlags, map_region, writable_and_executable
from .state import Linux


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
