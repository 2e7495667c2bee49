"""The direct map of low memory, changes of its rights, and the page allocator that gives low memory out.

Source: arch/x86/mm/init.c (init_memory_mapping), init_32.c (kernel_physical_mapping_init) and pageattr.c
(set_memory_x, set_memory_uc: a large page is split first), v3.5.  Which free page a table gets is the model's own
choice: one after the other from the top of what is mapped already.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from ...x86 import PAE, PageTable, walk
from ...x86.memory import PAGE_SHIFT, PAGE_SIZE
from ...x86.modes import ADDRESS_MASK, NX, PCD, PS
from ..page_alloc import ARRAY_ROOM, MAX_ORDER_BLOCK, TABLE_POOL, alloc_pages
from ..state import Linux32
from .head import INIT_END, KERNEL_TEXT
from .layout import PAGE_OFFSET, PAGE_TABLE
from .tables import KernelTables

STRUCT_PAGE = 32


def kernel_tables(linux: Linux32, pgd: PageTable | None = None) -> KernelTables:
    """The kernel's tables under `pgd` (if None, swapper_pg_dir), with new pages from whichever allocator is up."""

    def alloc_page() -> int:
        if linux.after_bootmem:
            return alloc_pages(linux, 1)
        return linux.memblock.alloc(PAGE_SIZE, end=linux.max_pfn_mapped << PAGE_SHIFT)

    return KernelTables(
        linux.memory, linux.trace, linux.layout, linux.swapper_pg_dir if pgd is None else pgd, alloc_page
    )


def init_memory_mapping(linux: Linux32, end: int) -> None:
    """Map physical [0, end) at PAGE_OFFSET: small pages first and last, large pages between.

    The first large page's worth is mapped by small pages because of the fixed MTRRs there.  Linux writes every entry
    twice, first with the flags of the early map; here it is written once.
    """
    linux.trace.printk(f"init_memory_mapping: [mem {0:#010x}-{end - 1:#010x}]")
    shift = linux.layout.pmd_shift
    head, body = min(end, 1 << shift), end >> shift << shift
    if linux.machine.leaf_shift == PAGE_SHIFT:
        head = body = end
    for start, upto, large in ((0, head, False), (head, body, True), (body, end, False)):
        if start < upto:
            name = ("4M" if shift == 22 else "2M") if large else "4k"
            linux.trace.printk(f" [mem {start:#010x}-{upto - 1:#010x}] page {name}")
            _map_piece(linux, start, upto, large)
    linux.cpu.flush_tlb_all()


def _map_piece(linux: Linux32, start: int, end: int, large: bool) -> None:
    """[start, end) in pieces of equal rights: the kernel's text and init sections stay executable."""
    span = 1 << (linux.layout.pmd_shift if large else PAGE_SHIFT)
    text_start, text_end = KERNEL_TEXT // span * span, -(-INIT_END // span) * span
    tables, prot = kernel_tables(linux), linux.layout.page_kernel
    cuts = sorted({start, end, *(cut for cut in (text_start, text_end) if start < cut < end)})
    for low, high in pairwise(cuts):
        rights = prot & ~NX if text_start <= low < text_end else prot
        tables.map(PAGE_OFFSET + low, low, high - low, rights, large=large)


def mem_init(linux: Linux32) -> None:
    """Open the page allocator at the top of low memory, below mem_map (32 bytes for every page; inferred)."""
    linux.memblock.alloc(STRUCT_PAGE * linux.max_pfn, end=linux.max_low_pfn << PAGE_SHIFT)
    room = TABLE_POOL + ARRAY_ROOM
    pool = linux.memblock.find_in_range(0, linux.max_low_pfn << PAGE_SHIFT, room, MAX_ORDER_BLOCK)
    if pool is None:
        raise MemoryError(f"no {room:#x} bytes of free low memory in a row for the kernel to run in")
    linux.page_alloc_base = linux.page_alloc_next = pool + TABLE_POOL
    linux.after_bootmem = True


def set_memory_x(linux: Linux32, va: int, numpages: int) -> None:
    """Allow instruction fetches from `numpages` pages at `va`; two-level tables never forbid them."""
    if linux.layout.mode is PAE:
        _change(linux, va, numpages, lambda entry: entry & ~NX)


def set_memory_uc(linux: Linux32, va: int, numpages: int) -> None:
    """Make `numpages` pages at `va` uncached."""
    _change(linux, va, numpages, lambda entry: entry | PCD)


def _change(linux: Linux32, va: int, numpages: int, new: Callable[[int], int]) -> None:
    for page in range(va, va + numpages * PAGE_SIZE, PAGE_SIZE):
        found = walk(linux.memory, linux.swapper_pg_dir.pa, page, linux.layout.mode)
        leaf = found.last
        if found.pa is None or leaf is None or new(leaf.entry) == leaf.entry:
            continue
        if leaf.level.span > PAGE_SIZE:
            split_large_page(linux, page)
        level = linux.layout.mode.levels[-1]
        table = kernel_tables(linux).page_table(page)
        table[level.index(page)] = new(int(table[level.index(page)]))
    linux.cpu.flush_tlb_all()


def split_large_page(linux: Linux32, va: int) -> None:
    """Replace the large page around `va` by a table of small ones with the same rights."""
    tables = kernel_tables(linux)
    directory, index = tables.directory(va)
    large = directory[index]
    directory[index] = 0  # so that page_table makes a new one
    level = linux.layout.mode.levels[-1]
    table = tables.page_table(va)
    table.fill(0, len(table), large & ~PS, level.span)
    set_pmd_pte(linux, va, directory[index] & ADDRESS_MASK | PAGE_TABLE)


def set_pmd_pte(linux: Linux32, va: int, entry: int) -> None:
    """`__set_pmd_pte`: where the kernel's PMD entries are copies, every process's table gets the new one at once.

    A valid entry is being replaced, so no fault would ever repair a table that was left out; initial_page_table is.
    """
    if linux.layout.shared_kernel_pmd:
        return
    with linux.kernel.hold_pgd_lock(linux):
        for mm in linux.pgd_list:
            directory, index = kernel_tables(linux, mm.pgd).directory(va)
            directory[index] = entry
