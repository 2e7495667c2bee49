"""The x86-64 address space of Linux 3.5: a table of regions, and the arithmetic between addresses.

Source: Documentation/x86/x86_64/mm.txt, arch/x86/include/asm/pgtable_64_types.h and page_64_types.h, v3.5.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..x86.memory import PAGE_SHIFT, PAGE_SIZE
from ..x86.modes import NX, PCD, PS, RW, US, A, D, G, P

PGDIR_SHIFT, PUD_SHIFT, PMD_SHIFT = 39, 30, 21
PGDIR_SIZE, PUD_SIZE, PMD_SIZE = 1 << PGDIR_SHIFT, 1 << PUD_SHIFT, 1 << PMD_SHIFT
PTRS_PER_PGD = 512

PAGE_OFFSET = 0xFFFF_8800_0000_0000
VMALLOC_START, VMALLOC_END = 0xFFFF_C900_0000_0000, 0xFFFF_E8FF_FFFF_FFFF
VMEMMAP_START = 0xFFFF_EA00_0000_0000
START_KERNEL_MAP = 0xFFFF_FFFF_8000_0000
MAX_PHYSMEM_BITS = 46
MAX_ARCH_PFN = 1 << MAX_PHYSMEM_BITS - PAGE_SHIFT

# arch/x86/include/asm/pgtable_types.h, v3.5
KERNPG_TABLE = P | RW | A | D
PAGE_TABLE = KERNPG_TABLE | US
PAGE_KERNEL_EXEC = P | RW | D | A | G
PAGE_KERNEL = PAGE_KERNEL_EXEC | NX
PAGE_KERNEL_LARGE_EXEC = PAGE_KERNEL_EXEC | PS
PAGE_IOMAP = 1 << 10
PAGE_CACHE_UC_MINUS = PCD
PAGE_KERNEL_IO_UC_MINUS = PAGE_KERNEL | PAGE_IOMAP | PAGE_CACHE_UC_MINUS


@dataclass(frozen=True, slots=True)
class Region:
    """A named part of the address space: [start, end), in whole bytes."""

    name: str
    start: int
    end: int

    @property
    def slots(self) -> range:
        """The top-level entries that the region uses."""
        return range(pgd_index(self.start), pgd_index(self.end - 1) + 1)


REGIONS = (
    Region("user", 0, 0x0000_8000_0000_0000),
    Region("hypervisor hole", 0xFFFF_8000_0000_0000, PAGE_OFFSET),
    Region("direct map", PAGE_OFFSET, 0xFFFF_C800_0000_0000),
    Region("hole", 0xFFFF_C800_0000_0000, VMALLOC_START),
    Region("vmalloc", VMALLOC_START, VMALLOC_END + 1),
    Region("hole", VMALLOC_END + 1, VMEMMAP_START),
    Region("vmemmap", VMEMMAP_START, 0xFFFF_EB00_0000_0000),
    Region("hole", 0xFFFF_EB00_0000_0000, 0xFFFF_FF80_0000_0000),
    Region("kernel text", 0xFFFF_FF80_0000_0000, 1 << 64),
)


def pgd_index(va: int) -> int:
    """The top-level entry that `va` uses."""
    return va >> PGDIR_SHIFT & PTRS_PER_PGD - 1


KERNEL_PGD_BOUNDARY = pgd_index(PAGE_OFFSET)


def pgd_address(index: int) -> int:
    """The lowest canonical address that top-level entry `index` covers."""
    va = index << PGDIR_SHIFT
    return va if index < PTRS_PER_PGD // 2 else va | 0xFFFF << 48


def region_of_slot(index: int) -> Region:
    """The region that top-level entry `index` belongs to."""
    return next(region for region in REGIONS if index in region.slots)


def phys_to_virt(pa: int) -> int:
    """`__va`: where the direct map has (or would have) physical address `pa`.  Arithmetic: nothing is looked up."""
    return pa + PAGE_OFFSET


def virt_to_phys(va: int) -> int:
    """`__pa`: the physical address behind a direct-map or kernel-text address (arch/x86/mm/physaddr.c, v3.5).

    Arithmetic only; `phys_base` is 0 here, as in a kernel that was not relocated.
    """
    return va - START_KERNEL_MAP if va >= START_KERNEL_MAP else va - PAGE_OFFSET


def pfn_up(address: int) -> int:
    """The first page frame number at or above `address`."""
    return (address + PAGE_SIZE - 1) >> PAGE_SHIFT
