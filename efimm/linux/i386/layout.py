"""The i386 address space of Linux 3.5, for its two kinds of page tables.

Source: arch/x86/include/asm/pgtable_32_types.h, pgtable-2level_types.h, pgtable-3level_types.h, page_32_types.h, v3.5.
PKMAP_BASE follows from the size of the fixmap, which depends on the configuration; the two values are those that 3.x
kernels of distributions print ("pkmap : 0xff800000", "0xffa00000"; recalled).
"""

from __future__ import annotations

from dataclasses import dataclass

from ...x86 import LEGACY, PAE, PagingMode
from ...x86.memory import PAGE_SHIFT, PAGE_SIZE
from ...x86.modes import NX, PCD, RW, US, A, D, G, P
from ..layout import Layout, Region

PAGE_OFFSET = 0xC000_0000
VMALLOC_OFFSET = 8 << 20
VMALLOC_RESERVE = 128 << 20
FIXADDR_TOP = 0xFFFF_F000

# arch/x86/include/asm/pgtable_types.h, v3.5
PTE_IDENT_ATTR = P | RW
PDE_IDENT_ATTR = P | RW | US | A | D
PGD_IDENT_ATTR = P
PAGE_TABLE = P | RW | US | A | D
PAGE_KERNEL_EXEC = P | RW | D | A | G


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout32(Layout):
    """What differs between a kernel with two levels of tables and one with PAE.

    It names no regions: where the vmalloc area begins depends on how much RAM there is (Linux32.high_memory).
    """

    page_offset: int = PAGE_OFFSET
    regions: tuple[Region, ...] = ()
    mode: PagingMode
    max_arch_pfn: int
    pkmap_base: int

    @property
    def pgdir_shift(self) -> int:
        """The address bits below a top-level entry's own."""
        return self.mode.levels[0].shift

    @property
    def pmd_shift(self) -> int:
        """The address bits within a large page."""
        return self.mode.levels[-2].shift

    @property
    def kernel_pgd_boundary(self) -> int:
        """KERNEL_PGD_BOUNDARY: the first top-level entry of the kernel's addresses."""
        return PAGE_OFFSET >> self.pgdir_shift

    @property
    def kernel_pgd_ptrs(self) -> int:
        """KERNEL_PGD_PTRS: how many top-level entries the kernel's addresses have."""
        return (1 << 32 - self.pgdir_shift) - self.kernel_pgd_boundary

    @property
    def task_size_max(self) -> int:
        """TASK_SIZE_MAX: the end of what a process may use."""
        return PAGE_OFFSET

    @property
    def vmalloc_end(self) -> int:
        """VMALLOC_END, two pages below the map for high memory."""
        return self.pkmap_base - 2 * PAGE_SIZE

    @property
    def maxmem_pfn(self) -> int:
        """MAXMEM_PFN: how much RAM can have a permanent kernel address."""
        return self.vmalloc_end - PAGE_OFFSET - VMALLOC_RESERVE >> PAGE_SHIFT

    @property
    def page_kernel(self) -> int:
        """PAGE_KERNEL; two-level tables have no NX bit."""
        return PAGE_KERNEL_EXEC | (NX if self.mode is PAE else 0)

    @property
    def page_kernel_uc_minus(self) -> int:
        """PAGE_KERNEL_UC_MINUS, for device memory."""
        return self.page_kernel | PCD


# Every PAE process shares the kernel's PMD table (SHARED_KERNEL_PMD, pgtable-3level_types.h, native).
TWO_LEVEL = Layout32(mode=LEGACY, max_arch_pfn=1 << 20, pkmap_base=0xFF80_0000)
THREE_LEVEL = Layout32(mode=PAE, max_arch_pfn=1 << 24, pkmap_base=0xFFA0_0000, shared_kernel_pmd=True)
