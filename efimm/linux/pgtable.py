"""Processes' top-level tables come and go, and which of them have fallen behind init_mm's.

Source: arch/x86/mm/pgtable.c, v3.5 (pgd_alloc, pgd_ctor, pgd_dtor, pgd_free).  Whether a process has the kernel's
top-level entries as copies or shares the table that they lead to (SHARED_KERNEL_PMD: PAE, unless it runs as a guest of
Xen) decides whether it has to be on pgd_list at all.
"""

from __future__ import annotations

from functools import lru_cache

from ..x86 import PAE, Entry, PageTable
from ..x86.memory import PAGE_SIZE
from ..x86.modes import ADDRESS_MASK
from .i386.layout import PGD_IDENT_ATTR
from .page_alloc import alloc_pages
from .state import Linux, Mm

Piece = tuple[int, int, int, int]  # first index, count, first entry, step


def pgd_alloc(linux: Linux, name: str) -> Mm:
    """A top-level table for the process `name`, with the kernel's entries in it, linked into pgd_list if it has to be.

    The entries share everything below the top level; only top-level entries that appear later have to be synced.
    MemoryError when the kernel's pages for tables are used up.
    """
    processes = linux.pgd_list
    pgd = processes.make_table(linux.memory, alloc_pages(linux, 1), f"{name}'s pgd", linux.trace, linux.layout.mode)
    mm = Mm(pgd, processes.make_lock(f"{name}'s page_table_lock", linux.trace))
    pmds = preallocate_pmds(linux)
    with linux.kernel.hold_pgd_lock(linux):
        pgd_ctor(linux, mm)
        pgd_prepopulate_pmd(linux, mm, pmds)
    return mm


def pgd_free(linux: Linux, mm: Mm) -> None:
    """The end of a process's table.  The model does not use the page again."""
    pgd_dtor(linux, mm)


def pgd_ctor(linux: Linux, mm: Mm) -> None:
    """Copy and link; the caller holds pgd_lock over both, so that no sync comes between."""
    layout = linux.layout
    if layout.mode is not PAE or layout.shared_kernel_pmd:
        clone_pgd_range(mm.pgd, linux.swapper_pg_dir, layout.kernel_pgd_boundary, layout.kernel_pgd_ptrs)
    if not layout.shared_kernel_pmd:
        linux.pgd_list.add(mm)


def pgd_dtor(linux: Linux, mm: Mm) -> None:
    """Unlink."""
    if linux.layout.shared_kernel_pmd:
        return
    with linux.kernel.hold_pgd_lock(linux):
        linux.pgd_list.remove(mm)


def preallocate_pmds(linux: Linux) -> list[int]:
    """The lower tables of a PAE process, made at once: its own three, and a fourth where the kernel's is not shared."""
    layout = linux.layout
    if layout.mode is not PAE:
        return []
    count = layout.kernel_pgd_boundary + (0 if layout.shared_kernel_pmd else layout.kernel_pgd_ptrs)
    return [alloc_pages(linux, 1) for _ in range(count)]


def pgd_prepopulate_pmd(linux: Linux, mm: Mm, pmds: list[int]) -> None:
    """Link them; one for kernel addresses starts as a copy of the kernel's own."""
    for index, pmd in enumerate(pmds):
        if index >= linux.layout.kernel_pgd_boundary:
            linux.memory.write(pmd, linux.memory.read(linux.swapper_pg_dir[index].address, PAGE_SIZE))
        mm.pgd[index] = pmd | PGD_IDENT_ATTR


def clone_pgd_range(target: PageTable, source: PageTable, first: int, count: int, to: int | None = None) -> None:
    """Copy `count` top-level entries from index `first`, to the same indexes or from `to` on (asm/pgtable.h, v3.5).

    Into a table that is empty there run by run; else entry by entry where they differ, so that the trace has each old
    value.
    """
    to = first if to is None else to
    words = tuple(source.words(first, count))
    if any(target.words(to, count)):
        for index, word in enumerate(words, to):
            if target[index] != word:
                target[index] = word
        return
    for index, length, entry, step in _pieces(words):
        target.fill(to + index, length, entry, step)


@lru_cache(maxsize=16)  # thousands of processes copy the same entries
def _pieces(words: tuple[int, ...]) -> tuple[Piece, ...]:
    """The words that are not zero, cut into arithmetic progressions."""
    pieces: list[Piece] = []
    for index, word in enumerate(words):
        if not word:
            continue
        if pieces:
            start, length, entry, step = pieces[-1]
            step = step if length > 1 else word - entry
            if start + length == index and step > 0 and entry + length * step == word:
                pieces[-1] = start, length + 1, entry, step
                continue
        pieces.append((index, 1, word, 0))
    return tuple(pieces)


def stale_slots(linux: Linux) -> dict[str, list[int]]:
    """The kernel's top-level entries that a table lacks or has otherwise than swapper_pg_dir, by the table's name.

    Looked at are the tables on pgd_list and trampoline_pgd, which is initial_page_table on i386; those without such an
    entry are left out.  Flags are not compared.  A PAE entry may lead to a copy, if that copy is not behind.
    """
    tables = (linux.trampoline_pgd, *(mm.pgd for mm in linux.pgd_list))
    found = {table.name: stale_slots_of(linux, table) for table in tables}
    return {name: slots for name, slots in found.items() if slots}


def stale_slots_of(linux: Linux, table: PageTable) -> list[int]:
    """The same for one table, whether it is on a list or not."""
    first, count = linux.layout.kernel_pgd_boundary, linux.layout.kernel_pgd_ptrs
    reference, own = (some.words(first, count) for some in (linux.swapper_pg_dir, table))
    if own == reference:
        return []
    pairs = enumerate(zip(reference, own, strict=True), first)
    return [slot for slot, (there, here) in pairs if there and _behind(linux, there, here)]


def _behind(linux: Linux, there: int, here: int) -> bool:
    if not (here ^ there) & ADDRESS_MASK:
        return False
    if not (linux.layout.mode is PAE and here):
        return True
    kernel, copy = (PageTable(linux.memory, Entry(e).address, "pmd", linux.trace, PAE).words() for e in (there, here))
    return any(e and (e ^ own) & ADDRESS_MASK for e, own in zip(kernel, copy, strict=True))
