"""Linux 6.12: an entry that is made for the firmware is clean, so that its D bit tells what the firmware wrote.

Sources, v6.12.117 (Debian): arch/x86/mm/pat/set_memory.c (kernel_map_pages_in_pgd: _PAGE_DIRTY in mask_clr, "x86/mm:
Clear _PAGE_DIRTY when we clear _PAGE_RW", February 2025, in stable kernels too), arch/x86/platform/efi/efi_64.c.  Held
against the page tables of real 6.12 kernels, a build for virtual machines.  The 32-bit build is 6.1's.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ..linux.layout import KernelImage
from ..linux.pageattr import kernel_map_pages_in_pgd
from ..x86.modes import NX, RW, D
from . import v6_1

# Debian's 6.12.117+deb13-cloud-amd64 as we booted it on OVMF in November 2026, with nokaslr; _end is rounded up.
IMAGE = KernelImage(
    text=0x160_0000,
    end=0x440_0000,
    init_level4_pgt=0x322_2000,
    level3_kernel_pgt=0x322_7000,
    level2_kernel_pgt=0x322_8000,
    level2_fixmap_pgt=0x322_9000,
    level1_fixmap_pgt=0x322_A000,
    init_stack_top=0x320_4000,
    level4_kernel_pgt=0x322_6000,
)

KERNEL = replace(
    v6_1.KERNEL,
    name="6.12",
    order=10,
    title="Linux 6.12 (November 2024)",
    source="arch/x86/platform/efi/efi_64.c and mm/pat/set_memory.c, v6.12 (Debian's 6.12.117-1)",
    image=IMAGE,
    kernel_map_pages_in_pgd=partial(kernel_map_pages_in_pgd, mask_clr=NX | RW | D),
)
