"""Writing a top-level entry of the kernel's table, with what page-table isolation adds to it (KPTI)."""

from __future__ import annotations

from ..x86 import PageTable
from ..x86.modes import NX, US, P
from .layout import PTRS_PER_PGD
from .state import Linux


def set_pgd(linux: Linux, table: PageTable, index: int, entry: int) -> None:
    """`table[index] = entry`; under KPTI an entry of the lower half that user mode may use is made not executable.

    Source: __pti_set_user_pgtbl in arch/x86/mm/pti.c, v6.1.  KPTI came with 4.15 and went into older kernels'
    updates, so any kernel may meet it here.  Left out: the second table, for user mode, that gets the entry too.
    """
    user = P | US
    if linux.machine.kpti and index < PTRS_PER_PGD // 2 and entry & user == user:
        entry |= NX
    table[index] = entry
