"""/proc/iomem of Linux: `00100000-5a7a0fff : System RAM`, two more spaces for each level, inclusive ends.

The names are those of e820_type_to_string (arch/x86/kernel/e820.c, 6.1); 3.5 writes "reserved".  The same names stand
in /sys/firmware/memmap.
"""

from __future__ import annotations

import re

from ..uefi.memmap import E820Entry, E820Type
from .boots import Boots
from .entries import check_range
from .errors import MapError, shortened
from .lists import IOMEM

RESOURCES = {
    "System RAM": E820Type.RAM,
    "reserved": E820Type.RESERVED,
    "Reserved": E820Type.RESERVED,
    "Unknown E820 type": E820Type.RESERVED,
    "ACPI Tables": E820Type.ACPI,
    "ACPI Non-volatile Storage": E820Type.NVS,
    "Unusable memory": E820Type.UNUSABLE,
    "Persistent Memory": E820Type.PMEM,
    "Persistent Memory (legacy)": E820Type.PRAM,
    "Soft Reserved": E820Type.SOFT_RESERVED,
}
MARKS = tuple(f" : {name}" for name in RESOURCES)

_LINE = re.compile(r"(?<![\w.])(?P<first>[0-9a-f]{8,16})-(?P<last>[0-9a-f]{8,16}) : (?P<name>\S.*)$")


def read(line: str, boots: Boots) -> bool:
    """An entry that comes from the firmware's list; what drivers and the kernel put into such a one is left out."""
    found = _LINE.search(line)
    kind = RESOURCES.get(found["name"].rstrip()) if found else None
    if found is None or kind is None:
        return False
    first, last = int(found["first"], 16), int(found["last"], 16)
    if first == last == 0:
        why = f"the address is hidden, found {shortened(line)}; expected /proc/iomem as root reads it"
        boots.lists.damage(IOMEM, why)
        return True
    before = boots.lists.last(IOMEM)
    if before and first < before.start:
        boots.begin()  # the addresses go back: another listing
    elif before and last < before.end:
        return True
    boots.lists.read(IOMEM, lambda entry: _entry(entry, before), E820Entry(first, last + 1, kind))
    return True


def _entry(entry: E820Entry, before: E820Entry | None) -> E820Entry:
    check_range(entry.start, entry.end)
    if before and before.start <= entry.start < before.end:
        raise MapError("it begins inside the last resource and ends behind it; expected the /proc/iomem of one machine")
    return entry
