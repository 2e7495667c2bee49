"""Which top-level tables have fallen behind init_mm's, found by comparing them."""

from __future__ import annotations

from ..x86 import PAE, Entry, PageTable
from ..x86.modes import ADDRESS_MASK
from .pgd_alloc import kernel_half
from .state import Linux, Linux32


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
