"""Memory maps from text: what Linux kernels print at boot, and this project's own files in data/.

What the kernels print (the trap is the end of a range, exclusive in some kernels and inclusive in others):
  EFI   print_efi_memmap, arch/x86/platform/efi/efi.c: `type=, attr=` with an exclusive end up to 3.14; 4.4 prints
        names and columns (efi_md_typeattr_format, drivers/firmware/efi/efi.c), still exclusive; inclusive in 4.9.
        Columns were added over time, at any place: NV in 4.9, SP in 5.9, CC and HP in 6.1 (with shorter names).
  e820  e820_print_map, arch/x86/kernel/e820.c: exclusive, word in brackets up to 3.4; `[mem first-last]` from 3.5.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from . import memmap
from .datafiles import MapError, e820_entry, efi_descriptor, read_data_file, shortened, write_map
from .memmap import E820Entry, EfiMemoryDescriptor, MemoryMap

__all__ = ["MapError", "read_map", "write_map"]

# Which columns there are, and where, depends on the kernel; the word in a column does not.
_COLUMNS = {
    "": 0,
    "RUN": memmap.EFI_MEMORY_RUNTIME,
    "HP": memmap.EFI_MEMORY_HOT_PLUGGABLE,
    "MR": memmap.EFI_MEMORY_MORE_RELIABLE,
    "CC": memmap.EFI_MEMORY_CPU_CRYPTO,
    "SP": memmap.EFI_MEMORY_SP,
    "NV": memmap.EFI_MEMORY_NV,
    "XP": memmap.EFI_MEMORY_XP,
    "RP": memmap.EFI_MEMORY_RP,
    "WP": memmap.EFI_MEMORY_WP,
    "RO": memmap.EFI_MEMORY_RO,
    "UCE": memmap.EFI_MEMORY_UCE,
    "WB": memmap.EFI_MEMORY_WB,
    "WT": memmap.EFI_MEMORY_WT,
    "WC": memmap.EFI_MEMORY_WC,
    "UC": memmap.EFI_MEMORY_UC,
}

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

# A log may be cut or damaged anywhere.  These find what starts like an entry, so that a bad one is an error and no
# gap.  They search, since anything may stand in front: time stamps, a host name, quote marks of a mail.
_E820_START = re.compile(r"(?P<list>BIOS-e820(?=:|\s*$)|user(?=: (?:\[m|000))):?(?P<body>.*)")
_EFI_START = re.compile(r"(?:EFI|efi): mem(?=[0-9]|\s*$)(?P<body>.*)")
_BOOT_START = "BIOS-provided physical RAM map:"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # `dmesg --color=always` puts them inside a line

_E820_BODY = re.compile(
    r"""\ (?: \[mem\ 0x(?P<first>[0-9a-f]{1,16})-0x(?P<last>[0-9a-f]{1,16})\]
            | (?P<start>[0-9a-f]{1,16})\ -\ (?P<end>[0-9a-f]{1,16}) )\ (?P<word>.+)""",
    re.VERBOSE,
)
_EFI_BODY = re.compile(
    r"""(?P<number>[0-9]{1,10}):\ (?: type=(?P<type>[0-9]{1,10}),\ attr=0x(?P<attribute>[0-9a-f]{1,16}),
                                    | \[(?P<name>[^]|]+)\|(?P<columns>[^]]*)\] )
        \ range=\[0x(?P<start>[0-9a-f]{1,16})-0x(?P<end>[0-9a-f]{1,16})(?P<bracket>[])])""",
    re.VERBOSE,
)


def read_map(path_or_text: str | os.PathLike[str]) -> MemoryMap:
    """The memory map in a boot log of an x86 Linux kernel, or in one of the project's data files.

    A str with a newline is the text itself, anything else a path.  From a log come the EFI list, the lists that the
    kernel printed again later (`reprints`), the e820 list of the firmware and the user-defined one.  Ends are
    exclusive in the result, whatever the log had; virtual addresses are 0, as logs do not tell them.  The name is that
    of the file without its endings.  Formats and kernel versions: at the top of this module.

    MapError when the file cannot be read, holds no map or more than one boot, misses an EFI entry, or has an entry that
    is damaged.  Does not read the lists of Xen or of `BIOS-EFI:`, /proc/iomem, the UEFI shell's memmap or FreeBSD's
    list, and does not check that ranges are sorted or apart: EFI lists need not be.
    """
    text, where = _load(path_or_text)
    if where.endswith(".toml") or re.search(r'^name *= *"', text, re.MULTILINE):
        return read_data_file(text, where)
    return _read_log(text, where)


def _load(path_or_text: str | os.PathLike[str]) -> tuple[str, str]:
    """The text, and what errors call it."""
    if isinstance(path_or_text, str) and "\n" in path_or_text:
        return path_or_text, "<text>"
    path = Path(path_or_text)
    try:
        # A serial console may add bytes that are no UTF-8 to a good log.
        return path.read_text(encoding="utf-8", errors="replace"), str(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise MapError(f"{shortened(str(path))}: expected a readable file: {reason}") from None


def _read_log(text: str, where: str) -> MemoryMap:
    efi: list[list[EfiMemoryDescriptor]] = []
    e820: dict[str, list[E820Entry]] = {"BIOS-e820": [], "user": []}
    for number, line in enumerate(_COLOUR.sub("", text).split("\n"), 1):
        try:
            _read_line(line, efi, e820)
        except MapError as error:
            raise MapError(f"{where}:{number}: {error}") from None
    if not efi and not any(e820.values()):
        raise MapError(f"{where}: no memory map; expected lines such as 'BIOS-e820: [mem ...' or 'efi: mem00: ...'")
    first, *reprints = map(tuple, efi or [[]])
    name = re.sub(r"(?:\.(?:txt|log|dmesg))+$", "", Path(where).name)
    return MemoryMap(name, first, tuple(e820["BIOS-e820"]), tuple(e820["user"]), tuple(reprints))


def _read_line(line: str, efi: list[list[EfiMemoryDescriptor]], e820: dict[str, list[E820Entry]]) -> None:
    """Adds the entry in `line`, if there is one, to its list."""
    if _BOOT_START in line and e820["BIOS-e820"]:
        raise MapError("a second boot begins here; expected the log of one boot")
    if found := _E820_START.search(line):
        e820[found["list"]].append(_e820_entry(found["body"]))
    elif found := _EFI_START.search(line):
        number, descriptor = _efi_entry(found["body"])
        if number == 0:
            efi.append([])
        expected = len(efi[-1]) if efi else 0
        if number != expected:
            raise MapError(f"mem{number:02} where mem{expected:02} was expected: the log has lost lines")
        efi[-1].append(descriptor)


def _e820_entry(body: str) -> E820Entry:
    found = _E820_BODY.fullmatch(body.rstrip())
    if not found:
        raise MapError(f"damaged e820 entry; expected '[mem 0x...-0x...] usable', found {shortened(body)}")
    if found["first"]:
        return e820_entry(int(found["first"], 16), int(found["last"], 16) + 1, found["word"])
    # Up to 3.4 the word is in brackets, but "type 20" is not.
    return e820_entry(int(found["start"], 16), int(found["end"], 16), re.sub(r"^\((.*)\)$", r"\1", found["word"]))


def _efi_entry(body: str) -> tuple[int, EfiMemoryDescriptor]:
    """The number of the entry in its list, and the descriptor."""
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
        kind, attribute = _type_from_name(found["name"].strip()), _attribute_from_columns(found["columns"])
    return int(found["number"]), efi_descriptor(kind, attribute, start, end)


def _type_from_name(name: str) -> int:
    if numbered := re.fullmatch("type=([0-9]{1,10})", name):
        return int(numbered[1])
    if name not in _TYPES:
        raise MapError(f"unknown memory type {shortened(name)}; expected one of {', '.join(_TYPES)} or type=N")
    return _TYPES[name]


def _attribute_from_columns(columns: str) -> int:
    """The attribute from "RUN|  |WB", or from "attr=0x..." which the kernel prints when it does not know all bits."""
    if numbered := re.fullmatch("attr=0x([0-9a-f]{1,16})", columns):
        return int(numbered[1], 16)
    words = [word.strip() for word in columns.split("|")]
    if unknown := [word for word in words if word not in _COLUMNS]:
        raise MapError(f"unknown attribute {shortened(unknown[0])}; expected {', '.join(filter(None, _COLUMNS))}")
    return sum(_COLUMNS[word] for word in set(words))
