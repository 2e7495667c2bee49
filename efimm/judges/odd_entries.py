"""Linux 3.5 with entries that no kernel writes, in top-level slots that it does not use.

Linux's own tables hold few kinds of entries: rights are restricted in leaves only, and no reserved bit is ever set.
These chains have one odd entry each, so that the processor is judged on them, too; the call itself meets none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..kernels import v3_5
from ..linux import Linux
from ..linux.page_alloc import alloc_pages
from ..x86.modes import LONG4, NX, PS, RW, US, A, D, P

FIRST_SLOT = 128
_ORDINARY = P | RW | US | A | D
_BEYOND_THE_PROCESSOR = 1 << 51  # an address bit that no guest has
_BETWEEN = 1 << 13  # in a large page's entry: between its PAT bit and its address
_PAT_LARGE, _PAT_SMALL = 1 << 12, PS

# (depth of the odd entry, bits that it lacks, bits that it has besides)
ODD = (
    *((depth, lacks, 0) for depth in range(4) for lacks in (P, RW, US)),
    *((depth, 0, has) for depth in range(4) for has in (NX, _BEYOND_THE_PROCESSOR)),
    (0, 0, PS),
    *((depth, lacks, PS | has) for depth in (1, 2) for lacks, has in ((0, 0), (RW, 0), (0, NX), (0, _BETWEEN))),
    *((depth, 0, PS | _PAT_LARGE) for depth in (1, 2)),
    (3, 0, _PAT_SMALL),
)


def write_chain(linux: Linux, slot: int, depth: int, lacks: int, has: int) -> None:
    """One chain of tables for top-level `slot`, each using its entry 1, with the odd entry at `depth`.

    The page that it leads to is free RAM at a GiB of its own above 4 GiB, so that it fits pages of any size.
    """
    table, index = linux.cpu.cr3, slot
    page = (5 + slot - FIRST_SLOT) << 30
    for level in range(len(LONG4.levels)):
        odd = level == depth
        last = level + 1 == len(LONG4.levels) or bool(odd and has & PS and level)
        target = page if last else alloc_pages(linux, 1)
        entry = target | _ORDINARY
        linux.memory.write_u64(table + 8 * index, entry & ~lacks | has if odd else entry)
        if last:
            return
        table, index = target, 1


@contextmanager
def efi_call_phys(linux: Linux) -> Iterator[None]:
    """What 3.5 does, and the odd entries are there during the call."""
    with v3_5.efi_call_phys(linux):
        for number, (depth, lacks, has) in enumerate(ODD):
            write_chain(linux, FIRST_SLOT + number, depth, lacks, has)
        yield


KERNEL = replace(
    v3_5.KERNEL,
    name="odd entries",
    title="Linux 3.5 with odd entries in slots that it does not use",
    source="made up, to judge the processor",
    efi_call_phys=efi_call_phys,
)
