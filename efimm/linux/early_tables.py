"""Where the page tables of the direct map come from while there is no page allocator yet.

Until 3.8 one block is found for all tables of a range before any is written; how much is needed is computed before, and
the formula changed (`table_space_3_5`, `table_space_3_8`).  Since 3.9 pages are taken as they are needed, from memory
that is mapped already (`alloc_low_pages`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from ..x86.memory import PAGE_SHIFT, PAGE_SIZE
from .layout import PGDIR_SHIFT, PMD_SIZE, PUD_SIZE
from .state import Linux

MapRange = tuple[int, int, int]  # start, end, shift of the largest page allowed
TableAllocator = Callable[[int], int]  # so many pages in a row: the physical address of the first
EarlyTables = Callable[[Linux, list[MapRange], int], AbstractContextManager[TableAllocator]]


@contextmanager
def _one_block(
    table_space: Callable[[Linux, list[MapRange], int], int], linux: Linux, ranges: list[MapRange], end: int
) -> Iterator[TableAllocator]:
    """find_early_table_space, alloc_low_page and pagetable_reserve (arch/x86/mm/init.c and init_64.c, v3.5)."""
    tables = table_space(linux, ranges, end)
    base = linux.memblock.find_in_range(0, linux.max_pfn_mapped << PAGE_SHIFT, tables)
    if base is None:
        linux.trace.printk("Cannot find space for the kernel page tables")
        # Linux panics here.  The model takes the space from anywhere, so that small pages can be tried at any size.
        base = linux.memblock.find_in_range(0, 1 << 64, tables)
    if base is None:
        raise MemoryError("the machine has no room for its page tables")
    where = f"[mem {base:#010x}-{base + tables - 1:#010x}]"
    linux.trace.printk(f"kernel direct mapping tables up to {end - 1:#x} @ {where}")
    pgt_buf_end = base

    def alloc_low_page(count: int) -> int:
        nonlocal pgt_buf_end
        first, pgt_buf_end = pgt_buf_end, pgt_buf_end + count * PAGE_SIZE
        return first

    yield alloc_low_page
    linux.memblock.reserve(base, pgt_buf_end)  # what was not used is free again


def table_space_3_5(linux: Linux, ranges: list[MapRange], end: int) -> int:
    """Bytes for the tables, computed from address 0 on, whatever the range's start (arch/x86/mm/init.c, v3.5)."""
    leaf_shift = linux.machine.leaf_shift
    extra_2m = end % PUD_SIZE if leaf_shift == 30 else end
    extra_4k = end
    if leaf_shift >= 21:
        extra_4k = end % PMD_SIZE
        if ranges and ranges[0][0] < PMD_SIZE:
            extra_4k += ranges[0][1] - ranges[0][0]
    return _pages_of_entries(-(-end // PUD_SIZE), -(-extra_2m // PMD_SIZE), -(-extra_4k // PAGE_SIZE))


def table_space_3_8(_linux: Linux, ranges: list[MapRange], _end: int) -> int:
    """Bytes for the tables of exactly these ranges (arch/x86/mm/init.c, v3.8.13)."""
    puds = pmds = ptes = pgd_extra = 0
    for low, high, shift in ranges:
        size = high - low
        pgd_extra += (high >> PGDIR_SHIFT) != (low >> PGDIR_SHIFT)
        puds += -(-size // PUD_SIZE)
        pmds += -(-(size % PUD_SIZE if shift >= 30 else size) // PMD_SIZE)
        ptes += -(-(size % PMD_SIZE if shift >= 21 else size) // PAGE_SIZE)
    return _pages_of_entries(puds, pmds, ptes) + pgd_extra * PAGE_SIZE


def _pages_of_entries(*counts: int) -> int:
    return sum(-(-8 * count // PAGE_SIZE) * PAGE_SIZE for count in counts)


@contextmanager
def alloc_low_pages(linux: Linux, _ranges: list[MapRange], _end: int) -> Iterator[TableAllocator]:
    """Pages from the top of free RAM (arch/x86/mm/init.c, v3.14).

    Left out: that they must lie in what is mapped already, for which Linux keeps a few pages in its image.
    """
    yield lambda count: linux.memblock.alloc(count * PAGE_SIZE)


one_block_3_5: EarlyTables = partial(_one_block, table_space_3_5)
one_block_3_8: EarlyTables = partial(_one_block, table_space_3_8)
