"""GRUB's `lsefimmap`: a type, `start-last`, pages, a size in words, and words for the attribute.

The names are those of grub-core/commands/efi/lsefimmap.c (recalled, but for those in the logs that were read).
"""

from __future__ import annotations

import re

from ..uefi.memmap import EfiMemoryDescriptor
from .boots import Boots
from .entries import attribute_from_grub, efi_descriptor
from .errors import MapError, shortened
from .lists import GRUB

MARKS = ("#Pages", "iB ")

_NAMES = (
    "reserved,ldr-code,ldr-data,BS-code,BS-data,RT-code,RT-data,conv-mem,unusable,ACPI-rec,ACPI-nvs,MMIO,IO-ports,"
    "PAL-code,persist"
)
_TYPES = {name: number for number, name in enumerate(_NAMES.split(","))}
_HEADING = re.compile(r"Type\s+Physical start\s+- end\s+#Pages\s+Size\s+Attributes")
_LINE = re.compile(
    rf"(?<![\w-])(?P<type>{'|'.join(_TYPES)}|(?:Unk|type) [0-9a-f]{{1,8}})\s+(?P<start>[0-9a-f]{{12,16}})-"
    r"(?P<last>[0-9a-f]{12,16})\s+(?P<pages>[0-9a-f]{8,16})\s+[0-9]{1,8}[KMGTP]iB\s(?P<words>[A-Z_ ]*)$"
)


def read(line: str, boots: Boots) -> bool:
    """One descriptor, or the heading of a list."""
    if _HEADING.search(line):
        boots.lists.section = GRUB
        return True
    found = _LINE.search(line.rstrip())
    if not found:
        return False
    boots.lists.read(GRUB, _descriptor, found, anew=boots.lists.section == GRUB)
    boots.lists.section = ""
    return True


def _descriptor(found: re.Match[str]) -> EfiMemoryDescriptor:
    first, last, pages = (int(found[name], 16) for name in ("start", "last", "pages"))
    if last + 1 - first != pages << 12:
        expected = f"expected {last + 1 - first >> 12:#x} pages"
        raise MapError(f"damaged line of lsefimmap; {expected}, found {shortened(found[0])}")
    kind = _TYPES.get(found["type"], int(found["type"].split()[-1], 16) if " " in found["type"] else 0)
    return efi_descriptor(kind, attribute_from_grub(found["words"]), first, last + 1)
