"""The x86-64 address space of Linux: tables of regions, and the arithmetic between addresses.

Sources: Documentation/x86/x86_64/mm.txt, arch/x86/include/asm/pgtable_64_types.h and page_64_types.h, v3.5;
Documentation/x86/x86_64/mm.rst, v6.1, for four levels and for five (LA57).  With five, a top-level entry covers 256
TiB; the names PGDIR_SHIFT, PGDIR_SIZE and `pgd_index` without a layout are those of four levels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..x86.memory import PAGE_SHIFT, PAGE_SIZE, PhysMemory
from ..x86.modes import ADDRESS_MASK, LONG4, LONG5, NX, PCD, PS, RW, US, A, D, G, P, PagingMode

PGDIR_SHIFT, PUD_SHIFT, PMD_SHIFT = 39, 30, 21
PGDIR_SIZE, PUD_SIZE, PMD_SIZE = 1 << PGDIR_SHIFT, 1 << PUD_SHIFT, 1 << PMD_SHIFT
PTRS_PER_PGD = 512

PAGE_OFFSET = 0xFFFF_8800_0000_0000
START_KERNEL_MAP = 0xFFFF_FFFF_8000_0000
EFI_VA_START, EFI_VA_END = 0xFFFF_FFFF_0000_0000, 0xFFFF_FFEF_0000_0000
MAX_PHYSMEM_BITS = 46
MAX_ARCH_PFN = 1 << MAX_PHYSMEM_BITS - PAGE_SHIFT

# arch/x86/include/asm/pgtable_types.h, v3.5
KERNPG_TABLE = P | RW | A | D
PAGE_TABLE = KERNPG_TABLE | US
PAGE_KERNEL_EXEC = P | RW | D | A | G
PAGE_KERNEL = PAGE_KERNEL_EXEC | NX
PAGE_KERNEL_LARGE_EXEC = PAGE_KERNEL_EXEC | PS
PAGE_IOMAP = 1 << 10
PAGE_ENC = 1 << 47  # _PAGE_ENC, sme_me_mask: where CPUID 8000001Fh has the C-bit on the processors that we know of
PAGE_CACHE_UC_MINUS = PCD
PAGE_KERNEL_IO_UC_MINUS = PAGE_KERNEL | PAGE_IOMAP | PAGE_CACHE_UC_MINUS


@dataclass(frozen=True, slots=True)
class Region:
    """A named part of the address space: [start, end), in whole bytes; `pgdir_shift` is that of its paging mode."""

    name: str
    start: int
    end: int
    pgdir_shift: int = PGDIR_SHIFT

    @property
    def slots(self) -> range:
        """The top-level entries that the region uses."""
        shift, mask = self.pgdir_shift, PTRS_PER_PGD - 1
        return range(self.start >> shift & mask, (self.end - 1 >> shift & mask) + 1)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a kernel keeps what: its direct map from `page_offset` on, and the table of all regions.

    `phys_base` is how far the kernel's text lies above the physical address it was linked for.  `mode` is the
    processor's paging mode.  `shared_kernel_pmd` (SHARED_KERNEL_PMD) is true where processes share the table behind the
    kernel's top-level entries: with PAE only.  `randomize_memory`: memory KASLR (CONFIG_RANDOMIZE_MEMORY, since 4.8)
    may move the direct map.
    """

    page_offset: int
    regions: tuple[Region, ...]
    phys_base: int = 0
    mode: PagingMode = LONG4
    shared_kernel_pmd: bool = False
    randomize_memory: bool = False

    @property
    def kernel_pgd_boundary(self) -> int:
        """The top-level entry of the direct map's first byte (KERNEL_PGD_BOUNDARY)."""
        return self.pgd_index(self.page_offset)

    @property
    def kernel_pgd_ptrs(self) -> int:
        """KERNEL_PGD_PTRS: how many top-level entries the kernel's addresses have."""
        return PTRS_PER_PGD - self.kernel_pgd_boundary

    @property
    def task_size_max(self) -> int:
        """TASK_SIZE_MAX: the end of what a process may use."""
        return (1 << self.mode.va_bits - 1) - PAGE_SIZE

    @property
    def pgdir_shift(self) -> int:
        """PGDIR_SHIFT: 39, and with five levels 48."""
        return self.mode.levels[0].shift

    @property
    def pgtable_l5_enabled(self) -> bool:
        """True with five levels: a table of p4d entries lies between the top level and that of pud entries."""
        return self.mode is LONG5

    def pgd_index(self, va: int) -> int:
        """The top-level entry that `va` uses."""
        return self.mode.levels[0].index(va)

    def translated(self, va: int) -> int:
        """`va` without the bits that repeat the highest translated one."""
        return va & (1 << self.mode.va_bits) - 1

    def region(self, name: str) -> Region:
        """The first region called `name`."""
        return next(region for region in self.regions if region.name == name)

    def region_of_slot(self, index: int) -> Region:
        """The region that top-level entry `index` belongs to; one that is no hole, where it has a part of both."""
        regions = [region for region in self.regions if index in region.slots]
        if self.pgtable_l5_enabled and index == PTRS_PER_PGD - 1:
            return regions[-1]  # six regions have a part of it
        return next((region for region in regions if region.name != "hole"), regions[0])

    def phys_to_virt(self, pa: int) -> int:
        """`__va`: where the direct map has (or would have) physical address `pa`.  Arithmetic: nothing is looked up."""
        return pa + self.page_offset

    def virt_to_phys(self, va: int) -> int:
        """`__pa`: the physical address behind a direct-map or kernel-text address (arch/x86/mm/physaddr.c, v3.5)."""
        return va - START_KERNEL_MAP + self.phys_base if va >= START_KERNEL_MAP else va - self.page_offset

    def moved(self, page_offset: int, areas: tuple[int, int] | None = None) -> Layout:
        """The same layout with the direct map at `page_offset`, as memory KASLR moves it (arch/x86/mm/kaslr.c, v4.9).

        `areas` are vmalloc_base and vmemmap_base; without them those two stay where they are.  The direct map may reach
        up to the vmalloc area.  ValueError for an address outside, or where the three are not in this order.
        """
        low = self.region("direct map").start
        vmalloc, vmemmap = self.region("vmalloc"), self.region("vmemmap")
        starts = areas or (vmalloc.start, vmemmap.start)
        ends = starts[0] + vmalloc.end - vmalloc.start, starts[1] + vmemmap.end - vmemmap.start
        rest = [region for region in self.regions if region.start >= (ends[1] if areas else vmemmap.end)]
        if not (low <= page_offset < starts[0] and ends[0] <= starts[1]):
            raise ValueError(f"page offset {page_offset:#x}: expected an address between {low:#x} and {starts[0]:#x}")
        places = (page_offset, "direct map"), (starts[0], "vmalloc"), (starts[1], "vmemmap")
        upto = (starts[0], *ends)
        moved, at = [region for region in self.regions if region.end <= low], low
        for (start, name), end in zip(places, upto, strict=True):
            moved += [Region("hole", at, start, self.pgdir_shift), Region(name, start, end, self.pgdir_shift)]
            at = end
        moved.append(Region("hole", at, rest[0].start, self.pgdir_shift))
        return replace(
            self, page_offset=page_offset, regions=(*(each for each in moved if each.start < each.end), *rest)
        )


@dataclass(frozen=True, slots=True)
class KernelImage:
    """Physical addresses in one build of a kernel; another build has others, and nothing depends on them.

    `level3_ident_pgt` and `level2_ident_pgt`, the static tables of the first GiB of the direct map, are None where the
    image has none in use: since 3.9 the direct map begins with empty tables.  `espfix` is CONFIG_X86_ESPFIX64 (and so
    CONFIG_X86_16BIT): a build for virtual machines has it not, and nothing in that slot.  `level4_kernel_pgt` is in use
    with five levels only, and None in a build that has four at most.
    """

    text: int
    end: int
    init_level4_pgt: int
    level3_kernel_pgt: int
    level2_kernel_pgt: int
    level2_fixmap_pgt: int
    level1_fixmap_pgt: int
    init_stack_top: int
    level3_ident_pgt: int | None = None
    level2_ident_pgt: int | None = None
    espfix: bool = False
    level4_kernel_pgt: int | None = None

    def in_tables(self, memory: PhysMemory, init_top_pgt: int, phys_base: int, mode: PagingMode = LONG4) -> KernelImage:
        """The same build where another boot had it, read off that boot's own tables: KASLR moves an image, too.

        `memory`, `init_top_pgt` and `mode` are what `x86.load_tables` gives of a capture.
        """
        moved = init_top_pgt - self.init_level4_pgt
        level4 = None if self.level4_kernel_pgt is None else self.level4_kernel_pgt + moved
        level3 = _linked(memory, init_top_pgt if mode is LONG4 or level4 is None else level4, 511)
        level2 = _linked(memory, level3, 510)
        fixmap = _linked(memory, level3, 511)
        used = [k for k in range(512) if memory.read_u64(level2 + 8 * k)]
        return replace(
            self,
            text=(used[0] << PMD_SHIFT) + phys_base,
            end=(used[-1] + 1 << PMD_SHIFT) + phys_base,
            init_level4_pgt=init_top_pgt,
            level3_kernel_pgt=level3,
            level2_kernel_pgt=level2,
            level2_fixmap_pgt=fixmap,
            level1_fixmap_pgt=_linked(memory, fixmap, 506),
            init_stack_top=self.init_stack_top + moved,
            level4_kernel_pgt=level4,
        )


def _linked(memory: PhysMemory, table: int, index: int) -> int:
    return memory.read_u64(table + 8 * index) & ADDRESS_MASK


V3_5_LAYOUT = Layout(
    PAGE_OFFSET,
    (
        Region("user", 0, 0x0000_8000_0000_0000),
        Region("hypervisor hole", 0xFFFF_8000_0000_0000, PAGE_OFFSET),
        Region("direct map", PAGE_OFFSET, 0xFFFF_C800_0000_0000),
        Region("hole", 0xFFFF_C800_0000_0000, 0xFFFF_C900_0000_0000),
        Region("vmalloc", 0xFFFF_C900_0000_0000, 0xFFFF_E900_0000_0000),
        Region("hole", 0xFFFF_E900_0000_0000, 0xFFFF_EA00_0000_0000),
        Region("vmemmap", 0xFFFF_EA00_0000_0000, 0xFFFF_EB00_0000_0000),
        Region("hole", 0xFFFF_EB00_0000_0000, 0xFFFF_FF80_0000_0000),
        Region("kernel text", 0xFFFF_FF80_0000_0000, 1 << 64),
    ),
)

V4_9_LAYOUT = replace(V3_5_LAYOUT, randomize_memory=True)

V6_1_LAYOUT = Layout(
    0xFFFF_8880_0000_0000,
    (
        Region("user", 0, 0x0000_8000_0000_0000),
        Region("hypervisor hole", 0xFFFF_8000_0000_0000, 0xFFFF_8800_0000_0000),
        Region("LDT remap", 0xFFFF_8800_0000_0000, 0xFFFF_8880_0000_0000),
        Region("direct map", 0xFFFF_8880_0000_0000, 0xFFFF_C880_0000_0000),
        Region("hole", 0xFFFF_C880_0000_0000, 0xFFFF_C900_0000_0000),
        Region("vmalloc", 0xFFFF_C900_0000_0000, 0xFFFF_E900_0000_0000),
        Region("hole", 0xFFFF_E900_0000_0000, 0xFFFF_EA00_0000_0000),
        Region("vmemmap", 0xFFFF_EA00_0000_0000, 0xFFFF_EB00_0000_0000),
        Region("hole", 0xFFFF_EB00_0000_0000, 0xFFFF_EC00_0000_0000),
        Region("KASAN shadow", 0xFFFF_EC00_0000_0000, 0xFFFF_FC00_0000_0000),
        Region("hole", 0xFFFF_FC00_0000_0000, 0xFFFF_FE00_0000_0000),
        Region("cpu entry area", 0xFFFF_FE00_0000_0000, 0xFFFF_FE80_0000_0000),
        Region("hole", 0xFFFF_FE80_0000_0000, 0xFFFF_FF00_0000_0000),
        Region("espfix stacks", 0xFFFF_FF00_0000_0000, 0xFFFF_FF80_0000_0000),
        Region("EFI and kernel text", 0xFFFF_FF80_0000_0000, 1 << 64),
    ),
    phys_base=0x60_0000,
    randomize_memory=True,
)


def pgd_index(va: int) -> int:
    """The top-level entry that `va` uses."""
    return va >> PGDIR_SHIFT & PTRS_PER_PGD - 1


def pgd_address(index: int) -> int:
    """The lowest canonical address that top-level entry `index` covers."""
    va = index << PGDIR_SHIFT
    return va if index < PTRS_PER_PGD // 2 else va | 0xFFFF << 48


def pfn_up(address: int) -> int:
    """The first page frame number at or above `address`."""
    return (address + PAGE_SIZE - 1) >> PAGE_SHIFT
