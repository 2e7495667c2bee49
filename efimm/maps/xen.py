"""What the Xen hypervisor prints of the machine that it runs on (`xl dmesg`, a serial console).

e820  print_e820_memory_map, xen/arch/x86/e820.c: ` [first, last] (usable)` now; ` start - end (usable)` with an
      exclusive end in 4.12 and before.  "Initial ... RAM map:" heads the list as the boot loader gave it, "... RAM
      map:" the one that Xen works with; with e820-verbose both are printed, and the second counts.
EFI   efi_init_memory, xen/common/efi/boot.c: ` start-last type=7 attr=000000000000000f`.
"""

from __future__ import annotations

import re

from ..uefi.memmap import E820Entry, EfiMemoryDescriptor
from .boots import Boots
from .entries import e820_entry, efi_descriptor
from .errors import shortened
from .lists import HOST, HOST_EFI

MARKS = ("(XEN)", ", 000", " RAM map:", " attr=")

# Every repetition is bounded or cannot begin inside another one: a line may be 64 KiB of anything.
_HEADING = re.compile(r"(?<![\w.()/-])(?P<initial>Initial )?(?P<loader>[\w.()/-]{1,40}) RAM map:\s*$")
_OTHER_HEADING = re.compile(r"[a-z0-9] (?:memory )?map:\s*$")  # such as "Dom0 memory map:"
_E820 = re.compile(
    r"""(?: (?<!\w)\[(?P<first>[0-9a-f]{16}),\ (?P<last>[0-9a-f]{16})\]
          | \(XEN\)\s{0,8}(?:\[[^]]{1,40}\]\s{1,8})?(?P<start>[0-9a-f]{16})\ -\ (?P<end>[0-9a-f]{16}) )
        \ (?: \((?P<word>[^)]{1,40})\) | (?P<number>type\ [0-9]{1,10}) )\s*$""",
    re.VERBOSE,
)
_CUT = re.compile(r"(?:(?<!\w)\[[0-9a-f]{16},|\s[0-9a-f]{16} -).*")
_EFI = re.compile(
    r"(?<!\w)(?P<start>[0-9a-f]{13,16})-(?P<last>[0-9a-f]{13,16}) type=(?P<type>[0-9]{1,10}) "
    r"attr=(?P<attr>[0-9a-f]{16})"
)


def read(line: str, boots: Boots) -> bool:
    """A heading, an entry of Xen's e820 list or one of its EFI list."""
    if "map:" in line and _heading(line, boots):
        return True
    if found := _E820.search(line):
        if boots.lists.section != "passed over":
            boots.lists.read(HOST, _entry, found)
        return True
    if found := _EFI.search(line):
        boots.lists.read(HOST_EFI, _descriptor, found)
        return True
    if "(XEN)" in line and (found := _CUT.search(line)):
        why = f"damaged entry of Xen's list; expected '[..., ...] (usable)', found {shortened(found[0])}"
        boots.lists.damage(HOST, why)
        return True
    return False


def _descriptor(found: re.Match[str]) -> EfiMemoryDescriptor:
    end = int(found["last"], 16) + 1
    return efi_descriptor(int(found["type"]), int(found["attr"], 16), int(found["start"], 16), end)


def _entry(found: re.Match[str]) -> E820Entry:
    word = found["word"] or found["number"]
    if found["first"]:
        return e820_entry(int(found["first"], 16), int(found["last"], 16) + 1, word)
    return e820_entry(int(found["start"], 16), int(found["end"], 16), word)


def _heading(line: str, boots: Boots) -> bool:
    """Notes under which heading the next entries stand; those of the first list and of guests are passed over."""
    found = _HEADING.search(line)
    if not found or "physical RAM map:" in line:
        if "(XEN)" in line and _OTHER_HEADING.search(line):
            boots.lists.section = "passed over"
        return False
    if HOST in boots.lists.printed and not found["initial"]:
        boots.begin()
    boots.lists.section = "passed over" if found["initial"] else ""
    return True
