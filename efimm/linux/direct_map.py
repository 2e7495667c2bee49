"""The direct map of RAM at PAGE_OFFSET, the mapping that the identity map is later borrowed from.

Source: arch/x86/mm/init.c (init_memory_mapping) and init_64.c (kernel_physical_mapping_init, phys_pud_init,
arch_add_memory), v3.5.  Which ranges are mapped is the kernel's `init_mem_mapping`; of a range everything is mapped,
reserved or not, but for a whole GiB that e820 does not mention at all.

Its page tables are needed before there is a page allocator.  Until 3.8 one block is found for all tables of a range
before any is written, and the formula for its size changed (`table_space_3_5`, `table_space_3_8`).  Since 3.9 pages are
taken as they are needed, from memory that is mapped already (`alloc_low_pages`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from ..x86.memory import PAGE_SHIFT, PAGE_SIZE
from .layout import PAGE_KERNEL, PGDIR_SHIFT, PMD_SIZE, PUD_SIZE
from .page_alloc import SECTION_SIZE, TABLE_POOL, alloc_pages, struct_pages_size
from .state import Linux
from .tables import Extent, TableFiller, new_tables
from .vmalloc import struct_page_va, vmemmap_populate

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


_PAGE_NAMES = {30: "1G", 21: "2M", 12: "4k"}


def init_memory_mapping(linux: Linux, start: int, end: int, early_tables: EarlyTables | None = None) -> int:
    """Extend the direct map by [start, end); the page frame number behind what was mapped last, 0 if nothing was.

    `early_tables` says where tables come from before the page allocator runs.
    """
    linux.trace.printk(f"init_memory_mapping: [mem {start:#010x}-{end - 1:#010x}]")
    ranges = split_mem_range(start, end, linux.machine.leaf_shift)
    for low, high, shift in ranges:
        linux.trace.printk(f" [mem {low:#010x}-{high - 1:#010x}] page {_PAGE_NAMES[shift]}")
    last_map_addr = 0
    with nullcontext(_late_tables(linux)) if early_tables is None else early_tables(linux, ranges, end) as alloc:
        for low, high, shift in ranges:
            last_map_addr = kernel_physical_mapping_init(linux, low, high, shift, alloc)
        linux.cpu.flush_tlb_all()
    return last_map_addr >> PAGE_SHIFT


def _late_tables(linux: Linux) -> TableAllocator:
    return lambda count: alloc_pages(linux, count)


def split_mem_range(start: int, end: int, leaf_shift: int) -> list[MapRange]:
    """The range cut by alignment (4K head to 2M, 2M to 1G, 1G body, 2M tail, 4K tail), equal neighbours joined."""
    pos = start
    pieces: list[MapRange] = []
    for shift, upto in (
        (12, min(_round_up(start, PMD_SIZE), end)),
        (21, min(_round_up(_round_up(start, PMD_SIZE), PUD_SIZE), end // PMD_SIZE * PMD_SIZE)),
        (30, end // PUD_SIZE * PUD_SIZE),
        (21, end // PMD_SIZE * PMD_SIZE),
        (12, end),
    ):
        if pos < upto:
            allowed = min(shift, leaf_shift)
            if pieces and pieces[-1][2] == allowed:
                pos = pieces.pop()[0]
            pieces.append((pos, upto, allowed))
            pos = upto
    return pieces


def kernel_physical_mapping_init(linux: Linux, start: int, end: int, shift: int, alloc: TableAllocator) -> int:
    """Map physical [start, end) at PAGE_OFFSET, one top-level entry after the other.

    An entry that exists is used as it is; a new one is announced through the kernel's `sync_global_pgds`.  The result
    is the kernel's `last_map_addr` (see TableFiller.fill_below).
    """
    pgd_changed, last_map_addr = populate_direct_map(linux, start, end, shift, alloc)
    if pgd_changed:
        linux.kernel.sync_global_pgds(linux, *map(linux.layout.phys_to_virt, (start, end)))
    linux.cpu.flush_tlb_all()
    return last_map_addr


def populate_direct_map(linux: Linux, start: int, end: int, shift: int, alloc: TableAllocator) -> tuple[bool, int]:
    """The tables of kernel_physical_mapping_init: whether a top-level entry is new, and the `last_map_addr`.

    New entries in a row are made together: their lower tables are then taken level by level, where Linux takes those of
    one entry after those of another.
    """
    early = not linux.after_bootmem
    static_tables = linux.kernel.image.level2_ident_pgt is not None
    mode, shift_at_top = linux.layout.mode, linux.layout.pgdir_shift
    filler = TableFiller(linux.memory, linux.trace, alloc, clear_rest=early and static_tables, mode=mode)
    mentioned = _mentioned_in_e820(linux) if early else [(0, end)]
    base, prot = linux.layout.translated(linux.layout.page_offset), PAGE_KERNEL | linux.sme_me_mask
    pgd_changed, last_map_addr = False, end
    while start < end:
        index = (base + start) >> shift_at_top
        entry = linux.swapper_pg_dir[index]
        count = 1 if entry else _empty_entries(linux, index, base + end)
        upto = min(end, (index + count << shift_at_top) - base)
        parts = [Extent(base + a, base + b, a, prot, shift) for a, b in _overlaps(mentioned, start, upto)]
        if entry:
            for part in parts:
                last_map_addr = filler.fill_below(entry.address, 1, part) - base
        else:
            below = new_tables(linux.memory, alloc, 1, parts, base + start, base + upto, mode=mode)
            linux.kernel.pgd_populate(linux, index, below, count)
            pgd_changed, last_map_addr = True, parts[-1].end - base if parts else last_map_addr
        start = upto
    return pgd_changed, last_map_addr


def _empty_entries(linux: Linux, index: int, end: int) -> int:
    """How many top-level entries from `index` on, as far as addresses below `end` need them, are empty."""
    most = -(-end >> linux.layout.pgdir_shift) - index
    words = linux.swapper_pg_dir.words(index, most)
    return next((k for k, word in enumerate(words) if word), most)


def _overlaps(ranges: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """What of `ranges` lies in [start, end)."""
    return [(max(start, a), min(end, b)) for a, b in ranges if max(start, a) < min(end, b)]


def _mentioned_in_e820(linux: Linux) -> list[tuple[int, int]]:
    """The whole GiBs in which e820 has an entry of any type, joined: before bootmem, phys_pud_init maps only these."""
    mentioned: list[tuple[int, int]] = []
    for entry in sorted(linux.map.kernel_e820, key=lambda e: e.start):
        low, high = entry.start // PUD_SIZE * PUD_SIZE, _round_up(entry.end, PUD_SIZE)
        if mentioned and low <= mentioned[-1][1]:
            mentioned[-1] = mentioned[-1][0], max(high, mentioned[-1][1])
        else:
            mentioned.append((low, high))
    return mentioned


def _round_up(value: int, size: int) -> int:
    return -(-value // size) * size


def arch_add_memory(linux: Linux, start: int, size: int) -> None:
    """Map new RAM at [start, start + size) in the direct map, with its `struct page`s, and let the allocator have it.

    A new top-level entry reaches other tables through the kernel's `sync_global_pgds`, if it reaches them at all.
    MemoryError where the old RAM has no room for the `struct page` array, 1/64 of the new RAM.
    """
    with linux.trace.span("kernel", "arch_add_memory"):
        last_mapped_pfn = init_memory_mapping(linux, start, start + size)
        linux.max_pfn_mapped = max(linux.max_pfn_mapped, last_mapped_pfn)
        add_pages(linux, start, start + size)
        linux.max_pfn = max(linux.max_pfn, start + size >> PAGE_SHIFT)
    linux.memblock.memory = sorted([*linux.memblock.memory, (start, start + size)])


def add_pages(linux: Linux, start: int, end: int) -> None:
    """`__add_pages`: the `struct page` array of whole sections of 128 MiB, in vmemmap.

    Its memory is taken below the page allocator's pool; where Linux takes it (vmemmap_alloc_block) is not modelled.
    """
    first = start // SECTION_SIZE * SECTION_SIZE
    array = struct_pages_size(first, end)
    pa = linux.memblock.alloc(array, PMD_SIZE, end=linux.page_alloc_base - TABLE_POOL)
    vmemmap_populate(linux, [(struct_page_va(linux, first), pa, array)])
