"""The direct map of RAM at PAGE_OFFSET, the mapping that the identity map is later borrowed from.

Source: arch/x86/mm/init.c (init_memory_mapping) and init_64.c (kernel_physical_mapping_init, phys_pud_init), v3.5.
Which ranges are mapped is the kernel's `init_mem_mapping`; of a range everything is mapped, reserved or not, but for a
whole GiB that e820 does not mention at all.
"""

from __future__ import annotations

from contextlib import nullcontext

from ..x86.memory import PAGE_SHIFT
from .early_tables import EarlyTables, MapRange, TableAllocator
from .layout import LOW_48, PAGE_KERNEL, PGDIR_SHIFT, PMD_SIZE, PUD_SIZE
from .new_tables import Extent, new_tables
from .page_alloc import alloc_pages
from .pgtable import TableFiller
from .state import Linux

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
    """Map physical [start, end) at PAGE_OFFSET, one top-level entry (512 GiB) after the other.

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
    filler = TableFiller(linux.memory, linux.trace, alloc, clear_rest=early and static_tables)
    mentioned = _mentioned_in_e820(linux) if early else [(0, end)]
    base = linux.layout.page_offset & LOW_48
    pgd_changed, last_map_addr = False, end
    while start < end:
        index = (base + start) >> PGDIR_SHIFT
        entry = linux.swapper_pg_dir[index]
        count = 1 if entry else _empty_entries(linux, index, base + end)
        upto = min(end, (index + count << PGDIR_SHIFT) - base)
        parts = [Extent(base + a, base + b, a, PAGE_KERNEL, shift) for a, b in _overlaps(mentioned, start, upto)]
        if entry:
            for part in parts:
                last_map_addr = filler.fill_below(entry.address, 1, part) - base
        else:
            pud_page = new_tables(linux.memory, alloc, 1, parts, base + start, base + upto)
            linux.kernel.pgd_populate(linux, index, pud_page, count)
            pgd_changed, last_map_addr = True, parts[-1].end - base if parts else last_map_addr
        start = upto
    return pgd_changed, last_map_addr


def _empty_entries(linux: Linux, index: int, end: int) -> int:
    """How many top-level entries from `index` on, as far as addresses below `end` need them, are empty."""
    most = -(-end >> PGDIR_SHIFT) - index
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
