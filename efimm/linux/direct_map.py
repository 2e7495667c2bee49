"""The direct map of all RAM at PAGE_OFFSET, the mapping that the identity map is later borrowed from.

Source: arch/x86/mm/init.c (init_memory_mapping, find_early_table_space) and init_64.c (kernel_physical_mapping_init,
phys_pud_init), v3.5.  Everything between 0 and the end of low RAM, and between 4 GiB and the end of RAM, is mapped,
reserved or not; only a whole GiB that e820 does not mention at all is left out.
"""

from __future__ import annotations

from collections.abc import Callable

from ..x86.memory import PAGE_SHIFT, PAGE_SIZE
from .layout import PAGE_KERNEL, PGDIR_SIZE, PMD_SIZE, PUD_SIZE, pgd_index, phys_to_virt
from .new_tables import Extent, new_tables
from .page_alloc import alloc_pages
from .pgtable import TableFiller
from .state import Linux

_PAGE_NAMES = {30: "1G", 21: "2M", 12: "4k"}
MapRange = tuple[int, int, int]  # start, end, shift of the largest page allowed


def init_memory_mapping(linux: Linux, start: int, end: int) -> int:
    """Extend the direct map by [start, end); the page frame number behind what was mapped last, 0 if nothing was."""
    linux.trace.printk(f"init_memory_mapping: [mem {start:#010x}-{end - 1:#010x}]")
    ranges = split_mem_range(start, end, linux.machine.leaf_shift)
    for low, high, shift in ranges:
        linux.trace.printk(f" [mem {low:#010x}-{high - 1:#010x}] page {_PAGE_NAMES[shift]}")
    alloc: Callable[[int], int] = lambda count: alloc_pages(linux, count)  # noqa: E731 - the late allocator, by name
    early = None
    if not linux.after_bootmem:
        early = _EarlyTableSpace(linux, ranges, end)
        alloc = early.alloc_low_page
    last_map_addr = 0
    for low, high, shift in ranges:
        last_map_addr = kernel_physical_mapping_init(linux, low, high, shift, alloc)
    linux.cpu.flush_tlb_all()
    if early is not None:
        early.pagetable_reserve()
    return last_map_addr >> PAGE_SHIFT


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


def kernel_physical_mapping_init(linux: Linux, start: int, end: int, shift: int, alloc: Callable[[int], int]) -> int:
    """Map physical [start, end) at PAGE_OFFSET, one top-level entry (512 GiB) after the other.

    An entry that exists is used as it is; a new one is announced through the kernel's `sync_global_pgds`.  The result
    is the kernel's `last_map_addr` (see TableFiller.fill_below).
    """
    pgd_changed, last_map_addr = populate_direct_map(linux, start, end, shift, alloc)
    if pgd_changed:
        linux.kernel.sync_global_pgds(linux, phys_to_virt(start), phys_to_virt(end) - 1)
    linux.cpu.flush_tlb_all()
    return last_map_addr


def populate_direct_map(
    linux: Linux, start: int, end: int, shift: int, alloc: Callable[[int], int]
) -> tuple[bool, int]:
    """The tables of kernel_physical_mapping_init: whether a top-level entry is new, and the `last_map_addr`.

    New entries in a row are made together: their lower tables are then taken level by level, where Linux takes those of
    one entry after those of another.
    """
    filler = TableFiller(linux.memory, linux.trace, alloc, clear_rest=not linux.after_bootmem)
    mentioned = [(0, end)] if linux.after_bootmem else _mentioned_in_e820(linux)
    pgd_changed, last_map_addr = False, end
    while start < end:
        index = pgd_index(phys_to_virt(start))
        entry = linux.swapper_pg_dir[index]
        count = 1 if entry else _empty_entries(linux, index, start, end)
        upto = min(end, (start // PGDIR_SIZE + count) * PGDIR_SIZE)
        parts = [Extent(a, b, a, PAGE_KERNEL, shift) for a, b in _overlaps(mentioned, start, upto)]
        if entry:
            for part in parts:
                last_map_addr = filler.fill_below(entry.address, 1, part)
        else:
            pud_page = new_tables(linux.memory, alloc, 1, parts, start, upto)
            linux.kernel.pgd_populate(linux, index, pud_page, count)
            pgd_changed, last_map_addr = True, parts[-1].end if parts else last_map_addr
        start = upto
    return pgd_changed, last_map_addr


def _empty_entries(linux: Linux, index: int, start: int, end: int) -> int:
    """How many top-level entries from `index` on, as far as [start, end) needs them, are empty."""
    most = -(-end // PGDIR_SIZE) - start // PGDIR_SIZE
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


class _EarlyTableSpace:
    """find_early_table_space and alloc_low_page: one block below what is mapped already, used from its start."""

    def __init__(self, linux: Linux, ranges: list[MapRange], end: int) -> None:
        self._memblock = linux.memblock
        tables = self._size(ranges, end, linux.machine.leaf_shift)
        base = linux.memblock.find_in_range(0, linux.max_pfn_mapped << PAGE_SHIFT, tables)
        if base is None:
            linux.trace.printk("Cannot find space for the kernel page tables")
            # 3.5 panics here.  The model takes the space from anywhere, so that small pages can be tried at any size.
            base = linux.memblock.find_in_range(0, 1 << 64, tables)
        if base is None:
            raise MemoryError("the machine has no room for its page tables")
        self._start = self._next = base
        where = f"[mem {base:#010x}-{base + tables - 1:#010x}]"
        linux.trace.printk(f"kernel direct mapping tables up to {end - 1:#x} @ {where}")

    @staticmethod
    def _size(ranges: list[MapRange], end: int, leaf_shift: int) -> int:
        """An upper bound, computed as the kernel does: from address 0 on, whatever the range's start."""
        extra_2m = end % PUD_SIZE if leaf_shift == 30 else end
        extra_4k = end
        if leaf_shift >= 21:
            extra_4k = end % PMD_SIZE
            if ranges and ranges[0][0] < PMD_SIZE:
                extra_4k += ranges[0][1] - ranges[0][0]
        counts = (-(-end // PUD_SIZE), -(-extra_2m // PMD_SIZE), -(-extra_4k // PAGE_SIZE))
        return sum(_round_up(8 * count, PAGE_SIZE) for count in counts)

    def alloc_low_page(self, count: int) -> int:
        """The next `count` table pages of the block."""
        first, self._next = self._next, self._next + count * PAGE_SIZE
        return first

    def pagetable_reserve(self) -> None:
        """Keep what was used; the rest of the block is free again."""
        self._memblock.reserve(self._start, self._next)


def _round_up(value: int, size: int) -> int:
    return -(-value // size) * size
