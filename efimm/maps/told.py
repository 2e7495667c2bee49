"""What a log tells besides lists: kernel, machine, command line, who started it, and what architecture it is of."""

from __future__ import annotations

import re

from .boots import Boots
from .errors import printable
from .lists import Lists
from .signs import ARCHITECTURE_MARKS, SYSTEMS, UEFI_MARKS, architecture, uefi

MARKS = (
    *("Linux version ", "DMI: ", "Hardware name: ", "last_pfn = ", "ommand line: ", "RSDP"),
    *("BSD", "SunOS", "Darwin", "Microsoft", "DragonFly", "root on", "illumos"),
    *UEFI_MARKS,
    *ARCHITECTURE_MARKS,
)

MOST_LAST_PFNS = 16

_VERSION = re.compile(r"Linux version ([0-9][\w.+~-]{0,79})")
_MACHINE = re.compile(r"(?:DMI|Hardware name): (?!Memory slots)(?P<name>\S.{0,199})")
_COMMAND_LINE = re.compile(r"(?<!Unknown kernel c)(?:[Kk]ernel c|C)ommand line: (?P<words>.{1,4096})")
_LAST_PFN = re.compile(r"last_pfn = 0x([0-9a-f]{1,13})\b")
_RSDP = re.compile(r"ACPI: RSDP (?:\([^)]{0,40}\) @ )?(?:0x)?([0-9a-fA-F]{5,16})\b")


def read(line: str, boots: Boots) -> bool:
    """Of each boot the first version, name and command line count; a new version begins another boot."""
    if "version" in line and (found := _VERSION.search(line)):
        if boots.lists.kernel or boots.lists.printed or boots.lists.arch:
            boots.begin()
        boots.lists.kernel = found[1]
        boots.lists.booting.add("before")
    lists = boots.lists
    if not lists.title and (found := _MACHINE.search(line)):
        lists.title = printable(found["name"].rstrip())
    if not lists.command_line and (found := _COMMAND_LINE.search(line)):
        lists.command_line = printable(found["words"])
    _read_starter(line, lists)
    if not lists.arch and (name := architecture(line)):
        lists.arch, lists.arch_line = name, lists.line
    for system, words in SYSTEMS.items():
        if system not in boots.systems and words.search(line):
            boots.systems[system] = lists.line
    return False


def _read_starter(line: str, lists: Lists) -> None:
    """What tells UEFI from a BIOS.

    setup_arch looks at the firmware (efi_init, which prints "EFI v...") between the first line of the boot and the
    lines "DMI: " and "last_pfn = ", in every kernel since 2.6.32 that we looked at.
    """
    if not lists.booted_by and uefi(line):
        lists.booted_by = "UEFI"
    if "DMI: " in line or "last_pfn = " in line:
        lists.booting.add("after")
    if "last_pfn = " in line and (found := _LAST_PFN.search(line)) and len(lists.last_pfns) < MOST_LAST_PFNS:
        lists.last_pfns.append(int(found[1], 16))
    if not lists.rsdp and (found := _RSDP.search(line)):
        lists.rsdp = int(found[1], 16)
