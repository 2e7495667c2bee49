"""Changing the rights of mapped kernel pages, and mapping pages in a table other than the kernel's own.

Source: arch/x86/mm/pageattr.c: set_memory_x, set_memory_nx and set_memory_uc of v3.5, kernel_map_pages_in_pgd of v3.14
and v4.9; arch/x86/mm/pat/set_memory.c, v6.1.  A large page that is changed only in part is split first; one that would
not change at all is left alone.  What is mapped already keeps its page frame and only changes its rights, in whatever
table it lies: if that is shared, so is the change.

Left out: the alias of the kernel's own text, memory-type tracking, static_protections (which keeps the kernel's own
text and read-only data as they are), and that Linux runs past the end of a table page for a range that crosses a 512
GiB line.
"""

from __future__ import annotations

from ..trace import EntryWrite
from ..x86 import PageTable, Step, walk
from ..x86.memory import PAGE_SHIFT, PAGE_SIZE, TableRun
from ..x86.modes import ADDRESS_MASK, LONG4, NX, PS, RW, P
from .direct_map import split_mem_range
from .layout import KERNPG_TABLE, PAGE_CACHE_UC_MINUS, PAGE_ENC, PUD_SHIFT
from .page_alloc import alloc_pages
from .state import KernelError, Linux
from .tables import Extent, TableFiller


def set_memory_x(linux: Linux, va: int, numpages: int) -> None:
    """Allow instruction fetches from `numpages` pages at `va`."""
    change_page_attr(linux, va, numpages, clear=NX)


def set_memory_nx(linux: Linux, va: int, numpages: int) -> None:
    """Forbid instruction fetches from `numpages` pages at `va`."""
    change_page_attr(linux, va, numpages, set_=NX)


def set_memory_uc(linux: Linux, va: int, numpages: int) -> None:
    """Make `numpages` pages at `va` uncached (UC-, which is what 3.5 means by uc)."""
    change_page_attr(linux, va, numpages, set_=PAGE_CACHE_UC_MINUS)


def change_page_attr(linux: Linux, va: int, numpages: int, *, set_: int = 0, clear: int = 0) -> None:
    """Set and clear bits in the leaf entries of `numpages` pages at `va`; unmapped pages are passed over."""
    change_attr_in_pgd(linux, linux.swapper_pg_dir, va, va + numpages * PAGE_SIZE, set_=set_, clear=clear)


def change_attr_in_pgd(
    linux: Linux, pgd: PageTable, va: int, end: int, *, set_: int, clear: int, stop_at_hole: bool = False
) -> int:
    """Set and clear bits in the leaf entries for [va, end) under the top-level table `pgd`.

    Gives `end`, or with `stop_at_hole` the first address that has no entry at all.  Raises KernelError for an address
    that is not canonical.
    """
    changed = False
    while va < end:
        found = walk(linux.memory, pgd.pa, va, linux.layout.mode)
        steps = found.steps
        if not steps:
            raise KernelError(linux.kernel, f"{va:#x}, where it maps something, is not canonical")
        leaf = steps[-1]
        if stop_at_hole and not leaf.entry:
            break
        span = leaf.level.span
        new = leaf.entry & ~clear | set_
        if found.pa is None or new == leaf.entry:
            va = (va // span + _alike(linux, steps, -(-end // span) - va // span)) * span
        elif span > PAGE_SIZE and (va % span or end - va < span):
            split_large_page(linux, leaf)
            changed = True
        else:
            count = _alike(linux, steps, (end - va) // span)
            _fill(linux, leaf, count, new)
            changed = True
            va += count * span
    if changed:
        linux.cpu.flush_tlb_all()
    return min(va, end)


def split_large_page(linux: Linux, leaf: Step) -> None:
    """Replace a large page by a table of 512 pages of the next smaller size, with the same rights."""
    below = LONG4.levels[LONG4.levels.index(leaf.level) + 1]
    prot = leaf.entry & ~ADDRESS_MASK
    if below.shift == PAGE_SHIFT:
        prot &= ~PS
    base = alloc_pages(linux, 1)
    linux.memory.add_tables([TableRun(base >> PAGE_SHIFT, 1, 0, 512, leaf.entry & ADDRESS_MASK | prot, below.span)])
    _table(linux, leaf)[leaf.index] = base | KERNPG_TABLE


def _alike(linux: Linux, steps: tuple[Step, ...], most: int) -> int:
    """How many entries from the last of `steps` on are alike, at most `most`: holes, or flags alike and the next page.

    In one table, or in several whose pages follow each other as the addresses do; the cost grows with extents of such.
    """
    here, above = steps[-1], steps[:-1]
    step = here.level.span if here.entry & P else 0
    run = linux.memory.run_from(here.table >> PAGE_SHIFT)
    if run is None:
        return _table(linux, here).alike(here.index, most, step)
    return _alike_in(linux, run, here.index, step, above, most)


def _alike_in(linux: Linux, run: TableRun, index: int, step: int, above: tuple[Step, ...], most: int) -> int:
    """As `_alike` from entry `index` of `run` on, to whose first page the last step of `above` leads."""
    if run.low <= index < run.high:
        alike = run.high - index if run.step == step else 1
    else:
        alike = run.low - index if index < run.low else run.count * 512 - index
    alike = min(alike, most)
    if alike <= 512 - index or not above:
        return min(alike, 512 - index)
    tables = _tables_in_a_row(linux, above, -(-(index + alike) // 512))
    return min(alike, tables * 512 - index)


def _tables_in_a_row(linux: Linux, steps: tuple[Step, ...], most: int) -> int:
    """How many tables in a row, at most `most`, the entries from the last of `steps` on lead to, in pages in a row."""
    here, above = steps[-1], steps[:-1]
    run = linux.memory.run_from(here.table >> PAGE_SHIFT)
    if run is not None:
        return _alike_in(linux, run, here.index, PAGE_SIZE, above, most)
    return _table(linux, here).alike(here.index, most, PAGE_SIZE)


def _fill(linux: Linux, leaf: Step, count: int, first: int) -> None:
    """Write `first` and what continues it into `count` entries from `leaf` on, alike so far; whole tables as a run."""
    span, table, index = leaf.level.span, leaf.table, leaf.index
    while count:
        here = min(count, 512 - index)
        if here == 512 and linux.memory.run_at(table >> PAGE_SHIFT):
            here, old = count // 512 * 512, linux.memory.read_u64(table)
            linux.memory.replace_tables(TableRun(table >> PAGE_SHIFT, here // 512, 0, here, first, span))
            linux.trace.events.append(EntryWrite(_name(leaf, table), 0, old, first, here, span))
        else:
            PageTable(linux.memory, table, _name(leaf, table), linux.trace).fill(index, here, first, span)
        table, index, first, count = table + (index + here) // 512 * PAGE_SIZE, 0, first + here * span, count - here


def _table(linux: Linux, leaf: Step) -> PageTable:
    return PageTable(linux.memory, leaf.table, _name(leaf, leaf.table), linux.trace)


def _name(leaf: Step, table: int) -> str:
    return f"{leaf.level.name}@{table:#x}"


def kernel_map_pages_in_pgd(
    linux: Linux, pgd: PageTable, pa: int, va: int, numpages: int, page_flags: int, *, mask_clr: int = NX | RW
) -> None:
    """Map `numpages` pages at `va` to `pa`; writable only with RW in `page_flags`, executable only without NX.

    `mask_clr` are the bits that an entry has only if `page_flags` has them; _PAGE_ENC is always one (v6.1).

    From the first page on that is not mapped, all that follow are mapped anew.
    """
    end = va + numpages * PAGE_SIZE
    clear = ~page_flags & (mask_clr | PAGE_ENC)
    hole = change_attr_in_pgd(linux, pgd, va, end, set_=P | page_flags, clear=clear, stop_at_hole=True)
    if hole < end:
        populate_pgd(linux, pgd, pa + hole - va, hole, end, KERNPG_TABLE & ~clear | page_flags)
    linux.cpu.flush_tlb_all()


def populate_pgd(linux: Linux, pgd: PageTable, pa: int, va: int, end: int, prot: int) -> None:
    """Map [va, end) to `pa`, by 1 GiB and 2 MiB where `va` is aligned to it.

    Linux does not look at the alignment of `pa`: a device of more than 1 GiB gets entries with reserved bits set.
    """

    def alloc(count: int) -> int:
        return alloc_pages(linux, count)

    layout = linux.layout
    filler = TableFiller(linux.memory, linux.trace, alloc, table_flags=KERNPG_TABLE, mode=layout.mode)
    while va < end:
        upto = min(end, (va >> layout.pgdir_shift) + 1 << layout.pgdir_shift)
        index = layout.pgd_index(va)
        if not pgd[index]:
            pgd[index] = alloc(1) | KERNPG_TABLE
        start = layout.translated(va)
        for low, high, shift in split_mem_range(start, start + upto - va, PUD_SHIFT):
            filler.fill_below(pgd[index].address, 1, Extent(low, high, pa + low - start, prot, shift))
        va, pa = upto, pa + upto - va
