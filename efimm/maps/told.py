"""What a log tells besides lists: the kernel's version, the machine's name, and who started it."""

from __future__ import annotations

import re

from .errors import printable
from .lists import Lists

MARKS = ("Linux version ", "DMI: ", "Hardware name: ", "EFI v", "last_pfn = ")

_VERSION = re.compile(r"Linux version ([0-9][\w.+~-]{0,79})")
_MACHINE = re.compile(r"(?:DMI|Hardware name): (?!Memory slots)(?P<name>\S.{0,199})")
_EFI = re.compile(r"(?<!\w)EFI v[0-9]+\.[0-9]+ by ")


def read(line: str, lists: Lists) -> bool:
    """The first version, name and firmware count: what a log says later may be about another machine.

    setup_arch looks at the firmware (efi_init, which prints "EFI v...") between the first line of the boot and the
    lines "DMI: " and "last_pfn = ", in every kernel since 2.6.32 that we looked at.
    """
    if found := _VERSION.search(line):
        lists.kernel = lists.kernel or found[1]
        lists.booting.add("before")
    if found := _MACHINE.search(line):
        lists.title = lists.title or printable(found["name"].rstrip())
    if _EFI.search(line):
        lists.booted_by = "UEFI"
    if "DMI: " in line or "last_pfn = " in line:
        lists.booting.add("after")
    return False
