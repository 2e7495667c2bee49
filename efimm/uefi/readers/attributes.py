"""The attribute of an EFI descriptor, from the short words that kernels print for its bits."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .. import memmap
from ..errors import MapError, shortened

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
