"""Linux 7.3: tables as in 6.12; LASS is off around later calls, since the 1:1 map lies in the lower half.

Sources, v7.2.13 (Debian): arch/x86/platform/efi/efi_64.c (efi_enter_mm with use_temporary_mm, efi_disable_lass,
efi_alloc_page_tables with the pgd_allocation_order of 4ce385f56434; the fallback to the properties table is gone) and
arch/x86/kernel/cpu/common.c (efi_enter_virtual_mode, called from arch_cpu_finalize_init).  That 7.3 has the same is
inferred where its tables do not show it; they were held against those of real 7.3 kernels.  LASS is from the C, not
judged.  Of the 32-bit build nothing was captured: it is 6.1's here, though SHARED_KERNEL_PMD and HIGHMEM64G are gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..linux.layout import KernelImage
from ..linux.state import Linux
from ..x86 import PageTable
from ..x86.cpu import CR4_LASS
from . import v6_1, v6_12


def efi_alloc_page_tables(linux: Linux) -> PageTable:
    """One page for the top level, unless page-table isolation needs two."""
    return v6_1.efi_alloc_page_tables(linux) if linux.machine.kpti else v6_1.efi_pgd_of_one_page(linux)


@contextmanager
def efi_call_virt(linux: Linux) -> Iterator[None]:
    """A later call (arch_efi_call_virt_setup): LASS is off while the firmware may use its 1:1 map.

    The call before the switch is made without this: no processor has LASS on by then.
    """
    with v6_1.efi_call(linux):
        efi_cr4_lass = linux.cpu.cr4 & CR4_LASS
        linux.cpu.write_cr4(linux.cpu.cr4 & ~efi_cr4_lass)
        yield
        linux.cpu.write_cr4(linux.cpu.cr4 | efi_cr4_lass)


# Debian's 7.3.4+deb13-cloud-amd64 as we booted it on OVMF in November 2026, with nokaslr; _end is rounded up.
IMAGE = KernelImage(
    text=0x160_0000,
    end=0x4A0_0000,
    init_level4_pgt=0x362_A000,
    level3_kernel_pgt=0x362_D000,
    level2_kernel_pgt=0x362_E000,
    level2_fixmap_pgt=0x362_F000,
    level1_fixmap_pgt=0x363_0000,
    init_stack_top=0x360_4000,
    level4_kernel_pgt=0x362_C000,
)

KERNEL = replace(
    v6_12.KERNEL,
    name="7.3",
    order=11,
    title="Linux 7.3 (2026)",
    source="arch/x86/platform/efi/efi_64.c, v7.2 (Debian's 7.2.13-1), and page tables of Debian's 7.3.4",
    image=IMAGE,
    efi_alloc_page_tables=efi_alloc_page_tables,
    efi_call_virt=efi_call_virt,
)
