"""How kernels since 3.14 give the firmware's regions their addresses: downwards from -4 GiB, and 1:1 besides.

Source: arch/x86/platform/efi/efi_64.c, v3.14 and v6.1 (__map_region, efi_map_region).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..uefi.memmap import EFI_MEMORY_WB, EfiMemoryDescriptor
from ..x86.memory import PAGE_MASK
from ..x86.modes import NX, RW
from .efi import get_systab_virt_addr
from .layout import EFI_VA_END, PAGE_CACHE_UC_MINUS, PMD_SIZE
from .map_in_pgd import kernel_map_pages_in_pgd
from .state import Linux

RegionFlags = Callable[[EfiMemoryDescriptor], int]


def writable_and_executable(md: EfiMemoryDescriptor) -> int:
    """The flags of a region until 4.9 and later: everything is allowed, and only RAM is cached."""
    return RW if md.attribute & EFI_MEMORY_WB else RW | PAGE_CACHE_UC_MINUS


def efi_map_region(linux: Linux, place: int, flags: RegionFlags = writable_and_executable) -> EfiMemoryDescriptor:
    """Map descriptor `place` 1:1, for firmware that keeps using physical addresses, and at the next address below.

    Where the window of 64 GiB is used up, this region and all that follow keep virtual address 0, and are passed to the
    firmware with it.
    """
    md = linux.memmap[place]
    map_region(linux, md, md.physical_start, flags(md))
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
    kernel_map_pages_in_pgd(linux, linux.efi_pgd, md.physical_start, va, md.number_of_pages, flags)


def next_efi_va(efi_va: int, pa: int, size: int) -> int:
    """The highest address below `efi_va` with room for `size` bytes and the offset of `pa` within 2 MiB."""
    efi_va -= size
    if not pa % PMD_SIZE:
        return efi_va // PMD_SIZE * PMD_SIZE
    prev_va, efi_va = efi_va, efi_va // PMD_SIZE * PMD_SIZE + pa % PMD_SIZE
    return efi_va - PMD_SIZE if efi_va > prev_va else efi_va


def efi_setup_page_tables(linux: Linux, pa_memmap: int, num_pages: int) -> None:
    """Map the array 1:1 for the call: the direct fix of the bug of 2012, since it may lie where nothing else is."""
    start = pa_memmap & PAGE_MASK
    kernel_map_pages_in_pgd(linux, linux.efi_pgd, start, start, num_pages, NX | RW)
