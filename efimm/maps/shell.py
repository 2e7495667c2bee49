"""The lists that a machine shows before any kernel runs: the UEFI shell's `memmap`, GRUB's `lsefimmap` and `lsmmap`.

The shell's `memmap`: a type, `start-last`, pages and attribute, all in upper-case hex without 0x; with `-sfo` the same
in quotation marks, with commas between and the types' full names.

Names: ShellPkg's MemMap.c (edk2), and those of Apple's and older shells ("MemMapIO", "available"), which differ in case
too.  A type of an OEM is its number in eight digits.

GRUB's `lsefimmap`: a type, `start-last`, pages, a size in words, and words for the attribute; names as in
grub-core/commands/efi/lsefimmap.c (recalled, but for those in the lists that were read).  `lsmmap`, under a BIOS,
too: base, length and a name, or a number where it has none (grub-core/commands/lsmmap.c).

`machine memory` at OpenBSD's boot> prompt: a type of e820's, a start, and a length in whole KiB (dump_biosmem,
sys/arch/amd64/stand/libsa/memprobe.c; recalled), which has 32 bits: of 4 TiB in a row it tells less.
"""

from __future__ import annotations

import re

from ..uefi.memmap import E820Entry, E820Type, EfiMemoryDescriptor
from .boots import Boots
from .entries import attribute_from_grub, check_range, efi_descriptor
from .errors import MapError, shortened
from .lists import GRUB, GRUB_E820, OPENBSD, SHELL
from .wrapped import STAMP

MARKS = (" 000", "# Pages", "#Pages", "iB ", "base_addr = 0x", "Region ", 'MemoryMap,"', 'ShellCommand,"memmap"')

_NAMES = (
    "Reserved,LoaderCode,LoaderData,BS_Code,BS_Data,RT_Code,RT_Data,Available,"
    "Unusable,ACPI_Recl,ACPI_NVS,MMIO,MMIO_Port,PalCode,Persistent,Unaccepted"
)
_TYPES = {name.lower(): number for number, name in enumerate(_NAMES.split(","))}
_TYPES |= {"memmapio": _TYPES["mmio"], "memportio": _TYPES["mmio_port"], "pal_code": _TYPES["palcode"]}
_FULL_NAMES = (
    "Reserved,LoaderCode,LoaderData,BootServiceCode,BootServiceData,RuntimeCode,RuntimeData,Available,UnusableMemory,"
    "ACPIReclaimMemory,ACPIMemoryNVS,MemoryMappedIO,MemoryMappedIOPortSpace,PalCode"
)
_TYPES |= {name.lower(): number for number, name in enumerate(_FULL_NAMES.split(","))}

_HEADING = re.compile(r"Type\s+Start\s+End\s+# Pages\s+Attributes")
_TYPE = "|".join(_TYPES)
# A type of eight digits, and a line that is cut, count under the heading only: a log is full of such digits.
_LINE = re.compile(
    rf"(?<![\w:])(?P<type>{_TYPE}|[0-9A-F]{{8}})\s+(?P<first>[0-9A-F]{{16}})-(?P<last>[0-9A-F]{{16}})\s+"
    r"(?P<pages>[0-9A-F]{16})\s+(?P<attribute>[0-9A-F]{16})\s*$",
    re.IGNORECASE,
)
_CUT = re.compile(rf"(?<![\w:])(?:{_TYPE})\s+[0-9A-F]{{16}}-.*$", re.IGNORECASE)
_CUT_BELOW = re.compile(rf"^\W{{0,40}}(?P<row>(?:{_TYPE}|[0-9A-F]{{8}})\s+000[0-9A-F]{{0,13}}(?:-.*)?)$", re.IGNORECASE)
_SFO_HEADING, _SFO_START = 'ShellCommand,"memmap"', 'MemoryMap,"'
_SFO = re.compile(
    rf'{_SFO_START}(?P<type>{_TYPE})","(?P<first>[0-9A-F]{{1,16}})","(?P<last>[0-9A-F]{{1,16}})",'
    r'"(?P<pages>[0-9A-F]{1,16})","(?P<attribute>[0-9A-F]{1,16})"',
    re.IGNORECASE,
)
_RANGE = re.compile(r"-(?<=[0-9A-F]{16}-)", re.IGNORECASE)  # that of any descriptor; found by its dash, it is quick
_BELOW = "below the heading of memmap"


def read(line: str, boots: Boots) -> bool:
    """One descriptor, or the heading of a list."""
    lists = boots.lists
    if _read_loaders(line, boots):
        return True
    if ("# Pages" in line and _HEADING.search(line)) or _SFO_HEADING in line:
        lists.section = SHELL
        return True
    if _SFO_START in line:
        lists.read(SHELL, _sfo_descriptor, line, anew=lists.section == SHELL)
        lists.section = _BELOW if lists.section == SHELL else lists.section
        return True
    stamped = STAMP.match(line)  # a kernel's line: the listing has ended
    if stamped and lists.section in (SHELL, _BELOW):
        lists.section = ""
    ranged = _RANGE.search(line)
    found = ranged and _LINE.search(line)
    below = lists.section in (SHELL, _BELOW)
    if found:
        lists.read(SHELL, _descriptor, found, anew=lists.section == SHELL)
        lists.section = _BELOW if below else lists.section
        return True
    if (below or ranged) and not stamped and (cut := (_CUT_BELOW if below else _CUT).search(line.rstrip())):
        lists.damage(SHELL, _damaged(cut["row"] if below else cut[0]), anew=lists.section == SHELL)
        return True
    return False


def unfinished(line: str) -> bool:
    """Whether the line starts like a descriptor and lacks the rest of it."""
    if "base_addr = 0x" in line:
        return not _LSMMAP.match(line, line.index("base_addr"))
    if " 000" not in line or not _RANGE.search(line) or not _CUT.search(line):
        return False
    return not (_LINE.search(line) or _GRUB_LINE.search(line.rstrip()))  # rows of GRUB's begin alike


def _sfo_descriptor(line: str) -> EfiMemoryDescriptor:
    found = _SFO.search(line)
    if not found:
        raise MapError(_damaged(line))
    return _descriptor(found)


def _descriptor(found: re.Match[str]) -> EfiMemoryDescriptor:
    first, last, pages, attribute = (int(found[name], 16) for name in ("first", "last", "pages", "attribute"))
    if last + 1 - first != pages << 12:
        raise MapError(_damaged(found[0]))
    kind = _TYPES.get(found["type"].lower())
    return efi_descriptor(int(found["type"], 16) if kind is None else kind, attribute, first, last + 1)


def _damaged(line: str) -> str:
    return f"damaged line of the shell's memmap; expected 'RT_Data start-end pages attribute', found {shortened(line)}"


_GRUB_NAMES = (
    "reserved,ldr-code,ldr-data,BS-code,BS-data,RT-code,RT-data,conv-mem,unusable,ACPI-rec,ACPI-nvs,MMIO,IO-ports,"
    "PAL-code,persist"
)
_GRUB_TYPES = {name: number for number, name in enumerate(_GRUB_NAMES.split(","))}
_GRUB_HEADING = re.compile(r"Type\s+Physical start\s+- end\s+#Pages\s+Size\s+Attributes")
_GRUB_LINE = re.compile(
    rf"(?<![\w-])(?P<type>{'|'.join(_GRUB_TYPES)}|(?:Unk|type) [0-9a-f]{{1,8}})\s+(?P<start>[0-9a-f]{{12,16}})-"
    r"(?P<last>[0-9a-f]{12,16})\s+(?P<pages>[0-9a-f]{8,16})\s+[0-9]{1,8}[KMGTP]iB(?P<words>(?:\s[A-Z_ ]*)?)$"
)


_LSMMAP_NAMES = {
    "available RAM": E820Type.RAM,
    "reserved RAM": E820Type.RESERVED,
    "ACPI reclaimable RAM": E820Type.ACPI,
    "ACPI non-volatile storage RAM": E820Type.NVS,
    "faulty RAM (BadRAM)": E820Type.UNUSABLE,
    "persistent RAM (legacy)": E820Type.PRAM,
    "persistent RAM": E820Type.PMEM,
    "RAM holding coreboot tables": 16,
    "RAM holding firmware code": 20,
}
_LSMMAP = re.compile(
    r"base_addr = 0x(?P<base>[0-9a-f]{1,16}), length = 0x(?P<length>[0-9a-f]{1,16}), "
    rf"(?:type = 0x(?P<type>[0-9a-f]{{1,8}})|(?P<name>{'|'.join(map(re.escape, _LSMMAP_NAMES))}))"
)


def _lsmmap_entry(line: str) -> E820Entry:
    found = _LSMMAP.match(line, line.index("base_addr"))
    if not found:
        expected = "expected 'base_addr = 0x..., length = 0x..., available RAM'"
        raise MapError(f"damaged line of lsmmap; {expected}, found {shortened(line)}")
    start = int(found["base"], 16)
    end = start + int(found["length"], 16)
    check_range(start, end)
    return E820Entry(start, end, int(found["type"], 16) if found["type"] else _LSMMAP_NAMES[found["name"]])


_REGION = re.compile(r"\bRegion [0-9]{1,4}: type ([0-9]{1,10}) at 0x([0-9a-f]{1,16}) for ([0-9]{1,15})KB")


def _region(found: re.Match[str]) -> E820Entry:
    start, end = int(found[2], 16), int(found[2], 16) + (int(found[3]) << 10)
    check_range(start, end)
    return E820Entry(start, end, int(found[1]))


def _read_loaders(line: str, boots: Boots) -> bool:
    """One entry, or the heading of a list; also one of OpenBSD's boot loader."""
    if "Region " in line and (region := _REGION.search(line)):
        boots.lists.read(OPENBSD, _region, region)
        return True
    if "base_addr = 0x" in line:
        boots.lists.read(GRUB_E820, _lsmmap_entry, line)
        return True
    if _GRUB_HEADING.search(line):
        boots.lists.section = GRUB
        return True
    found = _GRUB_LINE.search(line.rstrip())
    if not found:
        return False
    boots.lists.read(GRUB, _grub_descriptor, found, anew=boots.lists.section == GRUB)
    boots.lists.section = ""
    return True


def _grub_descriptor(found: re.Match[str]) -> EfiMemoryDescriptor:
    first, last, pages = (int(found[name], 16) for name in ("start", "last", "pages"))
    if last + 1 - first != pages << 12:
        expected = f"expected {last + 1 - first >> 12:#x} pages"
        raise MapError(f"damaged line of lsefimmap; {expected}, found {shortened(found[0])}")
    kind = _GRUB_TYPES.get(found["type"], int(found["type"].split()[-1], 16) if " " in found["type"] else 0)
    return efi_descriptor(kind, attribute_from_grub(found["words"]), first, last + 1)
