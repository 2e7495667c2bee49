"""Which top-level tables have fallen behind init_mm's, found by comparing them."""

from __future__ import annotations

from collections.abc import Sequence

from ..x86 import PageTable
from ..x86.modes import ADDRESS_MASK
from .pgd_alloc import kernel_half
from .state import Linux


def stale_slots(linux: Linux) -> dict[str, list[int]]:
    """The kernel's top-level entries that a table lacks or has otherwise than swapper_pg_dir, by the table's name.

    Looked at are the tables on pgd_list and trampoline_pgd, which is initial_page_table on i386; those without such an
    entry are left out.  Flags are not compared.  With PAE, only the top level is: what is shared below cannot differ.
    """
    first, end = kernel_half(linux)
    reference = linux.swapper_pg_dir.words(first, end - first)
    tables = [linux.trampoline_pgd, *(mm.pgd for mm in linux.pgd_list)]
    found = {table.name: _differing(table, reference, first) for table in tables}
    return {name: slots for name, slots in found.items() if slots}


def _differing(table: PageTable, reference: Sequence[int], first: int) -> list[int]:
    own = table.words(first, len(reference))
    if own == reference:
        return []
    pairs = enumerate(zip(reference, own, strict=True), first)
    return [slot for slot, (there, here) in pairs if there and (here ^ there) & ADDRESS_MASK]
