"""Entries of memory lists, made and checked: the same for every form in which they are written.

The words of the e820 types are those of the kernel (e820_print_type in arch/x86/kernel/e820.c, 6.1); an EFI
descriptor's attribute comes from the short words that kernels print for its bits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..uefi import memmap
from ..uefi.memmap import EFI_PAGE_SHIFT, EFI_PAGE_SIZE, E820Entry, E820Type, EfiMemoryDescriptor
from .errors import MapError, shortened

E820_WORDS: dict[int, str] = {
    E820Type.RAM: "usable",
    E820Type.RESERVED: "reserved",
    E820Type.ACPI: "ACPI data",
    E820Type.NVS: "ACPI NVS",
    E820Type.UNUSABLE: "unusable",
    E820Type.PMEM: "persistent (type 7)",
    E820Type.PRAM: "persistent (type 12)",
    E820Type.SOFT_RESERVED: "soft reserved",
}
_E820_TYPES = {word: number for number, word in E820_WORDS.items()}
# e820_print_type of 7.0 (seen in logs of 7.0; recalled for the last three).
_E820_TYPES |= {
    "System RAM": E820Type.RAM,
    "device reserved": E820Type.RESERVED,
    "unusable memory": E820Type.UNUSABLE,
    "soft-reserved": E820Type.SOFT_RESERVED,
    "persistent RAM (type 7)": E820Type.PMEM,
    "persistent RAM (type 12)": E820Type.PRAM,
}
# Where a line stands in a table, in JSON or in quotes, something follows the word; so does what somebody noted there.
E820_WORD = re.compile(
    rf"(?P<word>{'|'.join(sorted(map(re.escape, _E820_TYPES), key=len, reverse=True))}|type [0-9]{{1,10}})"
    r"(?:\s*[\"'`|,;<\\\]}].*|\s+[#=*(/!\u2014\u2190-\u21ff-].*|\s*)"
)


def e820_type(word: str) -> int:
    """The number of an e820 type from the kernel's word for it, "usable" or "type 20"; MapError for another word."""
    numbered = re.fullmatch(r"type ([0-9]{1,10})", word)
    number = int(numbered[1]) if numbered else _E820_TYPES.get(word)
    if number is None or number >= 1 << 32:
        raise MapError(f"unknown e820 word {shortened(word)}; expected {', '.join(E820_WORDS.values())} or 'type N'")
    return number


def e820_entry(start: int, end: int, word: str) -> E820Entry:
    """The entry [start, end) of the type that `word` names; MapError when it ends before it starts."""
    check_range(start, end)
    return E820Entry(start, end, e820_type(word))


def efi_descriptor(kind: int, attribute: int, start: int, end: int) -> EfiMemoryDescriptor:
    """The descriptor of [start, end), virtual address 0; MapError unless that is a whole number of 4 KiB pages."""
    check_range(start, end)
    if (end - start) % EFI_PAGE_SIZE:
        raise MapError(f"{start:#x} to {end:#x} is {end - start:#x} bytes; expected a whole number of 4 KiB pages")
    if kind >= 1 << 32:
        raise MapError(f"memory type {kind}; expected a number of 32 bits")
    return EfiMemoryDescriptor(kind, start, 0, (end - start) >> EFI_PAGE_SHIFT, attribute)


def check_range(start: int, end: int) -> None:
    """Nothing, or MapError when [start, end) ends before it starts or goes beyond 64 bits."""
    if not start <= end <= 1 << 64:
        raise MapError(f"the range ends before it starts or beyond 64 bits: expected {start:#x} <= end, found {end:#x}")


_BITS = {
    "UC": memmap.EFI_MEMORY_UC,
    "WC": memmap.EFI_MEMORY_WC,
    "WT": memmap.EFI_MEMORY_WT,
    "WB": memmap.EFI_MEMORY_WB,
    "UCE": memmap.EFI_MEMORY_UCE,
    "WP": memmap.EFI_MEMORY_WP,
    "RP": memmap.EFI_MEMORY_RP,
    "XP": memmap.EFI_MEMORY_XP,
    "NV": memmap.EFI_MEMORY_NV,
    "RO": memmap.EFI_MEMORY_RO,
}
_LINUX = _BITS | {
    "": 0,
    "RUN": memmap.EFI_MEMORY_RUNTIME,
    "HP": memmap.EFI_MEMORY_HOT_PLUGGABLE,
    "MR": memmap.EFI_MEMORY_MORE_RELIABLE,
    "CC": memmap.EFI_MEMORY_CPU_CRYPTO,
    "SP": memmap.EFI_MEMORY_SP,
}
_GRUB = _BITS | {"RT": memmap.EFI_MEMORY_RUNTIME, "MR": memmap.EFI_MEMORY_MORE_RELIABLE}
_FREEBSD = _BITS | {"RUNTIME": memmap.EFI_MEMORY_RUNTIME, "MORE_RELIABLE": memmap.EFI_MEMORY_MORE_RELIABLE}


def attribute_from_columns(columns: str) -> int:
    """The attribute from "RUN|  |WB", or from "attr=0x..." which Linux prints when it does not know all bits.

    Which columns there are, and where, depends on the kernel; the word in a column does not.
    """
    if numbered := re.fullmatch("attr=0x([0-9a-f]{1,16})", columns):
        return int(numbered[1], 16)
    return _sum(_LINUX, (word.strip() for word in columns.split("|")))


def attribute_from_grub(words: str) -> int:
    """The attribute from "RT UC WC WT WB", as GRUB prints it."""
    return _sum(_GRUB, words.split())


def attribute_from_words(words: str) -> int:
    """The attribute from "UC WC WT WB RUNTIME", as FreeBSD prints it."""
    return _sum(_FREEBSD, words.split())


def _sum(bits: dict[str, int], words: Iterable[str]) -> int:
    attribute = 0
    for word in words:
        if word not in bits:
            raise MapError(f"unknown attribute {shortened(word)}; expected {', '.join(filter(None, bits))}")
        attribute |= bits[word]
    return attribute
