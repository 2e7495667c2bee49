"""Processes' top-level tables come and go: pgd_alloc, pgd_ctor, pgd_dtor, pgd_free (arch/x86/mm/pgtable.c, v3.5).

Whether a process has the kernel's top-level entries as copies or shares the table that they lead to (SHARED_KERNEL_PMD:
PAE, unless it runs as a guest of Xen) decides whether it has to be on pgd_list at all.

Which top-level tables have fallen behind init_mm's, found by comparing them.
"""

from __future__ import annotations

from functools import lru_cache

from ..x86 import LONG4, PAE, Entry, PageTable
from ..x86.memory import PAGE_SIZE
from ..x86.modes import ADDRESS_MASK
from .i386.layout import PGD_IDENT_ATTR
from .layout import PTRS_PER_PGD
from .page_alloc import alloc_pages
from .state import Linux, Linux32, Mm

Piece = tuple[int, int, int, int]  # first index, count, first entry, step


def pgd_alloc(linux: Linux, name: str) -> Mm:
    """A top-level table for the process `name`, with the kernel's entries in it, linked into pgd_list if it has to be.

    The entries share everything below the top level; only top-level entries that appear later have to be synced.
    MemoryError when the kernel's pages for tables are used up.
    """
    mode = linux.layout.mode if isinstance(linux, Linux32) else LONG4
    processes = linux.pgd_list
    pgd = processes.make_table(linux.memory, alloc_pages(linux, 1), f"{name}'s pgd", linux.trace, mode)
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
    boundary, end = kernel_half(linux)
    if not (_is_pae(linux) and not shared_kernel_pmd(linux)):
        clone_pgd_range(mm.pgd, linux.swapper_pg_dir, boundary, end - boundary)
    if not shared_kernel_pmd(linux):
        linux.pgd_list.add(mm)


def pgd_dtor(linux: Linux, mm: Mm) -> None:
    """Unlink."""
    if shared_kernel_pmd(linux):
        return
    with linux.kernel.hold_pgd_lock(linux):
        linux.pgd_list.remove(mm)


def preallocate_pmds(linux: Linux) -> list[int]:
    """The lower tables of a PAE process, made at once: its own three, and a fourth where the kernel's is not shared."""
    unshared = kernel_half(linux)[shared_kernel_pmd(linux) is False]
    return [alloc_pages(linux, 1) for _ in range(unshared)] if _is_pae(linux) else []


def pgd_prepopulate_pmd(linux: Linux, mm: Mm, pmds: list[int]) -> None:
    """Link them; one for kernel addresses starts as a copy of the kernel's own."""
    for index, pmd in enumerate(pmds):
        if index >= kernel_half(linux)[0]:
            linux.memory.write(pmd, linux.memory.read(linux.swapper_pg_dir[index].address, PAGE_SIZE))
        mm.pgd[index] = pmd | PGD_IDENT_ATTR


def shared_kernel_pmd(linux: Linux) -> bool:
    """SHARED_KERNEL_PMD: no on x86-64 and with two levels, yes with PAE."""
    return isinstance(linux, Linux32) and linux.layout.shared_kernel_pmd


def kernel_half(linux: Linux) -> tuple[int, int]:
    """KERNEL_PGD_BOUNDARY and PTRS_PER_PGD: the kernel's top-level entries are those between."""
    if isinstance(linux, Linux32):
        boundary = linux.layout.kernel_pgd_boundary
        return boundary, boundary + linux.layout.kernel_pgd_ptrs
    return linux.layout.kernel_pgd_boundary, PTRS_PER_PGD


def clone_pgd_range(target: PageTable, source: PageTable, first: int, count: int) -> None:
    """Copy `count` entries from index `first` on into a table that is empty there."""
    for index, length, entry, step in _pieces(tuple(source.words(first, count))):
        target.fill(first + index, length, entry, step)


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


def _is_pae(linux: Linux) -> bool:
    return isinstance(linux, Linux32) and linux.layout.mode is PAE


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
    first, end = kernel_half(linux)
    reference, own = (some.words(first, end - first) for some in (linux.swapper_pg_dir, table))
    if own == reference:
        return []
    pairs = enumerate(zip(reference, own, strict=True), first)
    return [slot for slot, (there, here) in pairs if there and _behind(linux, there, here)]


def _behind(linux: Linux, there: int, here: int) -> bool:
    if not (here ^ there) & ADDRESS_MASK:
        return False
    if not (isinstance(linux, Linux32) and linux.layout.mode is PAE and here):
        return True
    kernel, copy = (PageTable(linux.memory, Entry(e).address, "pmd", linux.trace, PAE).words() for e in (there, here))
    return any(e and (e ^ own) & ADDRESS_MASK for e, own in zip(kernel, copy, strict=True))
