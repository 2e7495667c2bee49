"""Robin Holt's patch of 2012-06-20: pass the array's kernel virtual address instead of the physical one.

One line of efi_enter_virtual_mode changes: `(efi_memory_desc_t *)__pa(new_memmap)` becomes `new_memmap`.  It works on
x86-64 because slot 272 and up are still in the table that CR3 points at during the call, and it was rejected: the
firmware must be called with physical addresses (Matthew Garrett, 2012-06-20; UEFI 2.10, section 2.3.4).  The line is in
a file that i386 shares; there the firmware runs without paging, and takes the kernel address for a physical one.
"""

from __future__ import annotations

from dataclasses import replace

from ..linux.state import Linux
from . import v3_5


def memmap_pointer(_linux: Linux, new_memmap: int) -> int:
    """`new_memmap` itself: an address in the direct map."""
    return new_memmap


I386 = replace(v3_5.I386, memmap_pointer=memmap_pointer)

KERNEL = replace(
    v3_5.KERNEL,
    name="va-patch",
    order=1,
    title="Linux 3.5 with Robin Holt's patch",
    source="[PATCH] phys_efi_set_virtual_address_map needs va, no pa. (Robin Holt, 2012-06-20)",
    memmap_pointer=memmap_pointer,
    i386=I386,
    known_bugs=(),
)
