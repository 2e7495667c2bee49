"""The UEFI shell's `memmap`: a type, `start-last`, pages and attribute, all in upper-case hex without 0x.

Names: ShellPkg's MemMap.c (edk2), and those of Apple's and older shells ("MemMapIO", "available"), which differ in case
too.  A type of an OEM is its number in eight digits.
"""

from __future__ import annotations

import re

from .entries import efi_descriptor
from .errors import MapError, shortened
from .lists import SHELL, Lists

MARKS = (" 000", "# Pages")

_NAMES = (
    "Reserved,LoaderCode,LoaderData,BS_Code,BS_Data,RT_Code,RT_Data,Available,"
    "Unusable,ACPI_Recl,ACPI_NVS,MMIO,MMIO_Port,PalCode,Persistent,Unaccepted"
)
_TYPES = {name.lower(): number for number, name in enumerate(_NAMES.split(","))}
_TYPES |= {"memmapio": _TYPES["mmio"], "memportio": _TYPES["mmio_port"], "pal_code": _TYPES["palcode"]}

_HEADING = re.compile(r"Type\s+Start\s+End\s+# Pages\s+Attributes")
_START = re.compile(
    rf"(?<![\w:])(?P<type>{'|'.join(_TYPES)}|[0-9a-f]{{8}})\s+(?P<body>000[0-9a-f]{{0,13}}(?:-.*)?)$", re.IGNORECASE
)
_BODY = re.compile(r"([0-9A-F]{16})-([0-9A-F]{16})\s+([0-9A-F]{16})\s+([0-9A-F]{16})\s*")


def read(line: str, lists: Lists) -> bool:
    """One descriptor, or the heading of a list."""
    if "# Pages" in line and _HEADING.search(line):
        lists.section = SHELL
        return True
    start = _START.search(line.rstrip())
    if not start:
        return False
    found = _BODY.fullmatch(start["body"])
    first, last, pages, attribute = (int(number, 16) for number in found.groups()) if found else (0, 0, 0, 0)
    if not found or last + 1 - first != pages << 12:
        raise MapError(
            f"damaged line of the shell's memmap; expected 'RT_Data start-end pages attribute', "
            f"found {shortened(start[0])}"
        )
    kind = _TYPES.get(start["type"].lower())
    descriptor = efi_descriptor(int(start["type"], 16) if kind is None else kind, attribute, first, last + 1)
    lists.add(SHELL, descriptor, anew=lists.section == SHELL)
    lists.section = ""
    return True
