"""The firmware's memory attributes table, as kernels started with efi=debug print it, and where it lies.

Source: drivers/firmware/efi/memattr.c (efi_memattr_apply_permissions) and efi.c (the line of configuration tables),
v6.1 to v7.2.  An entry that begins with "!" is one that Linux does not apply.
"""

from __future__ import annotations

import re

from .boots import Boots
from .entries import attribute_from_columns, efi_descriptor
from .linux import type_from_name
from .lists import MOST_ENTRIES

MARKS = ("efi: memattr:  0x", "MEMATTR=0x")

_TABLE = re.compile(r"\bMEMATTR=0x([0-9a-f]{1,16})\b")
_ENTRY = re.compile(r"efi: memattr:  0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16}) \[([^]|]{1,40})\|([^]]{0,200})\]")


def read(line: str, boots: Boots) -> bool:
    """One entry, or the place of the table."""
    lists = boots.lists
    if found := _ENTRY.search(line):
        if len(lists.memattr) < MOST_ENTRIES:
            kind, attribute = type_from_name(found[3].strip()), attribute_from_columns(found[4])
            lists.memattr.append(efi_descriptor(kind, attribute, int(found[1], 16), int(found[2], 16) + 1))
        return True
    if (found := _TABLE.search(line)) and "efi: " in line[: found.start()]:
        lists.memattr_table = int(found[1], 16)
    return False
