"""The real-mode blob below 1 MiB, which brings up other processors and owns `trampoline_pgd`.

Source: arch/x86/realmode/init.c and realmode.h, v3.5.  `real_mode_header->trampoline_pgd` is a u32: a starting
processor loads CR3 in 32-bit mode, so the table must lie below 4 GiB.
"""

from __future__ import annotations

import struct

from ..x86.memory import PAGE_SIZE
from .memblock import Memblock
from .state import Linux

# Size and place as printed by the 3.5.0 that we booted ("Base memory trampoline at [ffff880000099000] 99000 size
# 24576"); that trampoline_pgd is the blob's last page, and the header's field at 20, are inferred.
BLOB, BLOB_SIZE = 0x99000, 6 * PAGE_SIZE
TRAMPOLINE_PGD = BLOB + BLOB_SIZE - PAGE_SIZE
TRAMPOLINE_PGD_FIELD = BLOB + 20


def reserve_real_mode(memblock: Memblock) -> None:
    """Take the blob's memory out of what can be allocated."""
    memblock.reserve(BLOB, BLOB + BLOB_SIZE)


def write_real_mode_header(linux: Linux) -> None:
    """Store the table's address where a starting processor will look for it: 32 bits, or struct.error."""
    linux.memory.write(TRAMPOLINE_PGD_FIELD, struct.pack("<I", linux.trampoline_pgd.pa))


def trampoline_cr3(linux: Linux) -> int:
    """The value a processor would load into CR3 from the header."""
    return int.from_bytes(linux.memory.read(TRAMPOLINE_PGD_FIELD, 4), "little")
