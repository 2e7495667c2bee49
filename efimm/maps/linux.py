"""What Linux prints at boot.  The trap is the end of a range, exclusive in some kernels and inclusive in others.

EFI   print_efi_memmap, arch/x86/platform/efi/efi.c: `type=, attr=` with an exclusive end up to 3.14; 4.4 prints
      names and columns (efi_md_typeattr_format, drivers/firmware/efi/efi.c), still exclusive; inclusive in 4.9.
      Columns were added over time, at any place: NV in 4.9, SP in 5.9, CC and HP in 6.1 (with shorter names).
      Mails of 2006 (2.6.17) have the same line without `EFI: ` in front.
e820  e820_print_map, arch/x86/kernel/e820.c: exclusive, word in brackets up to 3.4; `[mem first-last]` from 3.5.
      Who made the list stands in front: `BIOS-e820`, `user` after memmap= options, `modified` where RAM is not
      cached (mtrr_trim_uncached_memory), `Xen` in a guest of Xen, and in
      kernels before 2.6.26 (recalled) `BIOS-EFI` for a list that the kernel itself made of the EFI map.
"""

from __future__ import annotations

import re

from ..uefi.memmap import E820Entry, EfiMemoryDescriptor
from .boots import Boots
from .entries import E820_WORD, attribute_from_columns, e820_entry, efi_descriptor
from .errors import MapError, shortened
from .lists import BIOS, GUEST, KERNEL_EFI

MARKS = (
    "BIOS-e820",
    "efi: mem",
    "EFI: mem",
    ": type=",
    "user: ",
    "modified: ",
    "Xen: ",
    "BIOS-EFI",
    "BIOS-provided physical",
)

# memory_type_name[] of drivers/firmware/efi/efi.c, in the order of the numbers: 4.4 and 4.9, then 6.1.
_LONG_NAMES = (
    "Reserved,Loader Code,Loader Data,Boot Code,Boot Data,Runtime Code,Runtime Data,Conventional Memory,"
    "Unusable Memory,ACPI Reclaim Memory,ACPI Memory NVS,Memory Mapped I/O,MMIO Port Space,PAL Code,Persistent Memory"
)
_SHORT_NAMES = (
    "Reserved,Loader Code,Loader Data,Boot Code,Boot Data,Runtime Code,Runtime Data,Conventional,"
    "Unusable,ACPI Reclaim,ACPI Mem NVS,MMIO,MMIO Port,PAL Code,Persistent,Unaccepted"
)
_TYPES = {name: number for names in (_LONG_NAMES, _SHORT_NAMES) for number, name in enumerate(names.split(","))}

# These find what starts like an entry.  They search, since anything may stand in front: time stamps, a host name, quote
# marks of a mail.
_E820_START = re.compile(
    r"(?P<list>BIOS-e820(?=:\s*(?:\[|[0-9a-f]{4}|$)|\s*$)|(?:user|modified|BIOS-EFI|\bXen)(?=: (?:\[m|000))):?"
    r"(?P<body>.*)"
)
_EFI_START = re.compile(r"(?:(?:EFI|efi): mem(?=[0-9]|\s*$)|(?<![\w.])mem(?=[0-9]{2,}: type=))(?P<body>.*)")
_BOOT_START = "BIOS-provided physical RAM map:"
_GAP = " [gap 0x"  # what lies between entries, printed since 7.0

_OLD_WORD = re.compile(r"\([^)]*\)|type [0-9]")
_NUMBER = re.compile(r"[0-9]{1,10}(?=:)")
_E820_BODY = re.compile(
    r"""\ {1,64}(?: \[mem\ 0x(?P<first>[0-9a-f]{1,16})-0x(?P<last>[0-9a-f]{1,16})\]
            | (?P<start>[0-9a-f]{1,16})\ -\ (?P<end>[0-9a-f]{1,16}) )\ (?P<word>.+)""",
    re.VERBOSE,
)
_EFI_BODY = re.compile(
    r"""[0-9]{1,10}:\ (?: type=(?P<type>[0-9]{1,10}),\ attr=0x(?P<attribute>[0-9a-f]{1,16}),
                                    | \[(?P<name>[^]|]+)\|(?P<columns>[^]]*)\] )
        \ range=\[0x(?P<start>[0-9a-f]{1,16})-0x(?P<end>[0-9a-f]{1,16})(?P<bracket>[])])""",
    re.VERBOSE,
)


def read(line: str, boots: Boots) -> bool:
    """An e820 entry, an EFI entry, or the heading that begins a boot."""
    if _BOOT_START in line:
        if {BIOS, GUEST} & set(boots.lists.printed):
            boots.begin()
        return True
    if found := _E820_START.search(line):
        if not found["body"].startswith(_GAP) and not _only_named(line):
            _read_e820(found["list"], found["body"], boots)
        return True
    if found := _EFI_START.search(line):
        _read_efi(found["body"], boots)
        return True
    return False


def _only_named(line: str) -> bool:
    """Whether a line ends with the name of the firmware's list behind other words, as a command that looks for it."""
    before, _, after = line.rpartition("BIOS-e820")
    return not after.strip() and before.strip() != "" and before.rstrip()[-1] not in "]:>|"


def unfinished(line: str) -> bool:
    """Whether the line starts like an entry and lacks the rest of it."""
    if "e820" in line or "user: " in line or "modified: " in line or "Xen: " in line or "BIOS-EFI" in line:
        found = _E820_START.search(line)
        if found and not found["body"].startswith(_GAP):
            body = _E820_BODY.fullmatch(found["body"].rstrip())
            return body is None or not (_OLD_WORD if body["start"] else E820_WORD).match(body["word"].strip())
    if "efi: mem" in line or "EFI: mem" in line or ": type=" in line:
        found = _EFI_START.search(line)
        return found is not None and not _EFI_BODY.match(found["body"])
    return False


def _read_e820(source: str, body: str, boots: Boots) -> None:
    """An entry of the list of `source`; one that goes back begins the list of another boot."""
    found, last = _E820_BODY.fullmatch(body.rstrip()), boots.lists.last(source)
    if found and last and source in (BIOS, GUEST) and int(found["first"] or found["start"], 16) <= last.start:
        boots.begin()
    boots.lists.read(source, _e820_entry, body)


def _read_efi(body: str, boots: Boots) -> None:
    """An entry of the EFI list; number 0 begins the list, or its reprint."""
    number, expected = _NUMBER.match(body), boots.lists.count(KERNEL_EFI)
    found = int(number[0]) if number else None
    if found is None or found in (0, expected):
        boots.lists.read(KERNEL_EFI, _efi_entry, body, anew=found == 0)
    else:
        boots.lists.damage(KERNEL_EFI, f"mem{found:02} where mem{expected:02} was expected: the log has lost lines")


def _e820_entry(body: str) -> E820Entry:
    found = _E820_BODY.fullmatch(body.rstrip())
    if not found:
        raise MapError(f"damaged e820 entry; expected '[mem 0x...-0x...] usable', found {shortened(body)}")
    # Up to 3.4 the word is in brackets, but "type 20" is not.
    word = found["word"].strip()
    word = re.sub(r"^\(([^)]*)\).*$", r"\1", word) if found["start"] else word
    known = E820_WORD.fullmatch(word)
    word = known["word"] if known else word
    if found["first"]:
        return e820_entry(int(found["first"], 16), int(found["last"], 16) + 1, word)
    return e820_entry(int(found["start"], 16), int(found["end"], 16), word)


def _efi_entry(body: str) -> EfiMemoryDescriptor:
    found = _EFI_BODY.match(body)
    if not found:
        raise MapError(f"damaged EFI entry; expected 'memNN: ... range=[0x...-0x...]', found {shortened('mem' + body)}")
    start, end = int(found["start"], 16), int(found["end"], 16)
    if found["bracket"] == "]":
        # The kernel prints end - 1 in 64 bits: the all-zero descriptors of some firmware end at 0xffffffffffffffff.
        end = 0 if start == 0 and end == (1 << 64) - 1 else end + 1
    if found["type"]:
        kind, attribute = int(found["type"]), int(found["attribute"], 16)
    else:
        kind, attribute = type_from_name(found["name"].strip()), attribute_from_columns(found["columns"])
    return efi_descriptor(kind, attribute, start, end)


def type_from_name(name: str) -> int:
    """The number of a memory type from the kernel's word for it; MapError for another word."""
    if numbered := re.fullmatch("type=([0-9]{1,10})", name):
        return int(numbered[1])
    if name not in _TYPES:
        raise MapError(f"unknown memory type {shortened(name)}; expected one of {', '.join(_TYPES)} or type=N")
    return _TYPES[name]
