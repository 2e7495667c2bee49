"""Mappings outside the direct map: device memory in the vmalloc area, and the array of `struct page` at vmemmap.

Source: mm/vmalloc.c, arch/x86/mm/ioremap.c, mm/sparse-vmemmap.c and arch/x86/mm/init_64.c (vmemmap_populate), v3.5.
A new top-level entry for vmemmap is synced to the tables on pgd_list; one for vmalloc is not: there the page-fault
handler copies it when a process first needs it (vmalloc_fault).
"""

from __future__ import annotations

from itertools import accumulate

from ..x86.memory import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from ..x86.modes import ADDRESS_MASK
from .layout import (
    PAGE_KERNEL,
    PAGE_KERNEL_IO_UC_MINUS,
    PMD_SHIFT,
    PMD_SIZE,
)
from .page_alloc import (
    SECTION_SIZE,
    STRUCT_PAGE_SHIFT,
    TAKEN_AT_THE_TOP,
    alloc_pages,
    struct_pages_size,
    top_node_start,
)
from .state import Linux
from .tables import Extent, TableFiller

IOREMAP_MAX_ORDER = 7 + PAGE_SHIFT
HPET_ADDRESS = 0xFED0_0000


def map_kernel_range(linux: Linux, va: int, pa: int, size: int, prot: int, leaf_shift: int) -> None:
    """Map [va, va + size) to `pa` in swapper_pg_dir, taking new table pages (and top-level entries) as needed."""

    def alloc(count: int) -> int:
        return alloc_pages(linux, count)

    layout, end = linux.layout, va + size
    filler = TableFiller(linux.memory, linux.trace, alloc, mode=layout.mode)
    while va < end:
        upto = min(end, (va >> layout.pgdir_shift) + 1 << layout.pgdir_shift)
        index = layout.pgd_index(va)
        if not linux.swapper_pg_dir[index]:
            linux.kernel.pgd_populate(linux, index, alloc(1), 1)
        extent = Extent(layout.translated(va), layout.translated(upto - 1) + 1, pa, prot, leaf_shift)
        filler.fill_below(linux.swapper_pg_dir[index] & ADDRESS_MASK, 1, extent)
        va, pa = upto, pa + upto - va


def ioremap(linux: Linux, pa: int, size: int) -> int:
    """The virtual address at which [pa, pa + size) of device memory is mapped, uncached, in the vmalloc area.

    Aligned to the power of two above its size in whole pages (`fls`), at most 512 KiB; a guard page follows.  Does not
    look whether the range is RAM.
    """
    offset = pa & ~PAGE_MASK
    size = -(-(size + offset) // PAGE_SIZE) * PAGE_SIZE
    align = 1 << min(size.bit_length(), IOREMAP_MAX_ORDER)
    va = -(-max(linux.vmalloc_next, linux.layout.region("vmalloc").start) // align) * align
    linux.vmalloc_next = va + size + PAGE_SIZE
    map_kernel_range(linux, va, pa & PAGE_MASK, size, PAGE_KERNEL_IO_UC_MINUS, PAGE_SHIFT)
    return va + offset


def vmemmap_init(linux: Linux) -> list[tuple[int, int, int]]:
    """Take the memory for `struct page` from the top of each node, before the page allocator runs.

    Gives (va, pa, size) for `vmemmap_populate` to map, those of the top node first.
    """
    node = top_node_start(linux)
    linux.memblock.alloc(TAKEN_AT_THE_TOP)
    wanted = []
    for low, high in ((node, 1 << 64), (0, node)):
        sections = _sections(linux, low, high)
        if not sections:
            continue
        places = _take_struct_pages(linux, [struct_pages_size(*section) for section in sections], high)
        for (start, end), pa in zip(sections, places, strict=True):
            wanted.append((struct_page_va(linux, start), pa, struct_pages_size(start, end)))
    return wanted


def _take_struct_pages(linux: Linux, sizes: list[int], end: int) -> list[int]:
    """Memory below `end` for pieces of the array: in a row where there is room for that, else each for itself.

    Where the pieces of a machine's lower nodes lie is inferred; nothing that is shown depends on it.
    """
    first = linux.memblock.find_in_range(0, end, sum(sizes), PMD_SIZE)
    if first is None:
        return [linux.memblock.alloc(size, PMD_SIZE, end=end) for size in sizes]
    linux.memblock.reserve(first, first + sum(sizes))
    return [first + before for before in accumulate(sizes[:-1], initial=0)]


def struct_page_va(linux: Linux, pa: int) -> int:
    """Where the `struct page` of the page at `pa` lies: pfn_to_page."""
    return linux.layout.region("vmemmap").start + (pa >> PAGE_SHIFT << STRUCT_PAGE_SHIFT)


def vmemmap_populate(linux: Linux, wanted: list[tuple[int, int, int]]) -> None:
    """Map the `struct page` array with 2 MiB pages, and sync its top-level entries to the tables on pgd_list."""
    for va, pa, size in wanted:
        map_kernel_range(linux, va, pa, size, PAGE_KERNEL | linux.sme_me_mask, PMD_SHIFT)
        linux.kernel.sync_global_pgds(linux, va, va + size)


def _sections(linux: Linux, low: int, high: int) -> list[tuple[int, int]]:
    """The RAM in [low, high), rounded to whole sections of 128 MiB, with touching pieces joined."""
    joined: list[tuple[int, int]] = []
    for start, end in linux.memblock.memory:
        if max(start, low) >= min(end, high):
            continue
        first = max(start, low) // SECTION_SIZE * SECTION_SIZE
        last = -(-min(end, high) // SECTION_SIZE) * SECTION_SIZE
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return joined
