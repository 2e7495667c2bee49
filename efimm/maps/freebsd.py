"""What FreeBSD prints: the firmware's lists when it boots verbosely, and the chunks of memory that it uses.

SMAP    add_smap_entry, sys/amd64/amd64/machdep.c: `SMAP type=01 base=... len=...`, the e820 list of a BIOS;
        with commas and `xattr=` in `sysctl machdep.smap` (smap_sysctl_handler).
EFI     print_efi_map_entry: type, physical and virtual address, pages, words for the attribute; the loader's
        `memmap` prints the same.
chunks  "Physical memory chunk(s):" (cpu_startup), inclusive ends, only RAM.
"""

from __future__ import annotations

import re

from ..uefi.memmap import E820Entry, E820Type, EfiMemoryDescriptor, EfiMemoryType
from .boots import Boots
from .entries import attribute_from_words, check_range, efi_descriptor
from .errors import MapError, shortened
from .lists import CHUNKS, FREEBSD_EFI, SMAP

MARKS = ("SMAP type=", "hunk(s):", "#Pages")

_SMAP = re.compile(
    r"SMAP type=([0-9a-f]{2,8}),?(?: xattr=[0-9a-f]{1,8},?)? base=([0-9a-f]{16}),? len=([0-9a-f]{16})"
    r"(?: attr=[0-9a-f]{2})?\s*$"  # of the loader's `smap`
)
_CHUNK = re.compile(r"0x([0-9a-f]{8,16}) - 0x([0-9a-f]{8,16}), ([0-9]{1,20}) bytes \(([0-9]{1,20}) pages\)\s*$")
_CHUNK_CUT = re.compile(r"0x[0-9a-f]{16} - 0x[0-9a-f]{16},(?: [0-9]{1,20}(?: bytes(?: \([0-9]{1,20})?)?)?\s*$")
# Behind marks of a quotation, a time, or what syslog puts in front; elsewhere such numbers are a device's.
_CHUNK_START = re.compile(
    r"(?:^(?:[A-Za-z]{1,8}(?=>))?\W*(?:\[ *[0-9.]{1,20}\] )?|\bkernel: (?:<[0-9]{1,3}>|\[ *[0-9.]{1,20}\] ){0,2})"
    r"0x[0-9a-f]+(?: -|\s*$)"
)
_EFI_HEADING = re.compile(r"Type\s+Physical\s+Virtual\s+#Pages\s+Attr")
_EFI = re.compile(
    r"(?<!\w)(?P<type>\w{1,40})\s+(?P<physical>[0-9a-f]{12,16})\s+(?:0x)?[0-9a-f]{1,16}\s+"
    r"(?P<pages>[0-9a-f]{8,16})\s(?P<words>[A-Z_ ]*)$"
)
_TYPES = {kind.name.removeprefix("Efi").removesuffix("MemoryType"): kind for kind in EfiMemoryType}


def unfinished(line: str) -> bool:
    """Whether the line starts like an entry and lacks the rest of it, as a mailer leaves it."""
    if "SMAP type=" in line:
        return not _SMAP.search(line)
    return " - 0x" in line and bool(_CHUNK_CUT.search(line))


def read(line: str, boots: Boots) -> bool:
    """A line of the e820 list, or the heading of another."""
    lists = boots.lists
    if "#Pages" in line and _EFI_HEADING.search(line):
        lists.section = FREEBSD_EFI
        return True
    if "hunk(s):" in line:
        lists.section = CHUNKS
        return True
    if "SMAP type=" in line:
        lists.read(SMAP, _smap, line)
        return True
    return False


def read_chunk(line: str, boots: Boots) -> bool:
    """A line below the heading of the chunks."""
    if _CHUNK_START.search(line):
        boots.lists.read(CHUNKS, _chunk, line)
        return True
    return False


def read_descriptor(line: str, boots: Boots) -> bool:
    """A line below the heading of the EFI list."""
    if found := _EFI.search(line):
        boots.lists.read(FREEBSD_EFI, _descriptor, found)
        return True
    return False


def _smap(line: str) -> E820Entry:
    found = _SMAP.search(line)
    if not found:
        raise _damaged("SMAP type=.. base=... len=...", line)
    kind, base, length = (int(number, 16) for number in found.groups())
    check_range(base, base + length)
    return E820Entry(base, base + length, kind)


def _chunk(line: str) -> E820Entry:
    found = _CHUNK.search(line)
    if not found:
        raise _damaged("0x... - 0x..., N bytes (N pages)", line)
    first, last = int(found[1], 16), int(found[2], 16)
    check_range(first, last + 1)
    if last + 1 - first != int(found[3]):
        raise _damaged(f"{last + 1 - first} bytes", line)
    return E820Entry(first, last + 1, E820Type.RAM)


def _descriptor(found: re.Match[str]) -> EfiMemoryDescriptor:
    kind = _TYPES.get(found["type"])
    if kind is None:
        raise MapError(f"unknown memory type {shortened(found['type'])}; expected {', '.join(_TYPES)}")
    start, pages = int(found["physical"], 16), int(found["pages"], 16)
    return efi_descriptor(kind, attribute_from_words(found["words"]), start, start + (pages << 12))


def _damaged(expected: str, line: str) -> MapError:
    return MapError(f"damaged line of FreeBSD's list; expected '{expected}', found {shortened(line)}")
