"""Linux 6.12: an entry that is made for the firmware is clean, so that its D bit tells what the firmware wrote.

Sources, v6.12.117 (Debian): arch/x86/mm/pat/set_memory.c (kernel_map_pages_in_pgd: _PAGE_DIRTY in mask_clr, "x86/mm:
Clear _PAGE_DIRTY when we clear _PAGE_RW", February 2025, in stable kernels too), arch/x86/platform/efi/efi_64.c.  Held
against the page tables of real 6.12 kernels, a build for virtual machines.  The 32-bit build is 6.1's.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ..linux.head import V6_12_IMAGE
from ..linux.pageattr import kernel_map_pages_in_pgd
from ..x86.modes import NX, RW, D
from . import v6_1

KERNEL = replace(
    v6_1.KERNEL,
    name="6.12",
    order=10,
    title="Linux 6.12 (November 2024)",
    source="arch/x86/platform/efi/efi_64.c and mm/pat/set_memory.c, v6.12 (Debian's 6.12.117-1)",
    image=V6_12_IMAGE,
    kernel_map_pages_in_pgd=partial(kernel_map_pages_in_pgd, mask_clr=NX | RW | D),
)
