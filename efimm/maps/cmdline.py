"""What the options on a kernel's command line make of the firmware's list, and whether they forbid EFI calls.

Source: arch/x86/kernel/e820.c (parse_memopt, parse_memmap_opt, sanitize_e820_map) and arch/x86/platform/efi/efi.c
(do_add_efi_memmap), v3.5; `efi=`: arch/x86/platform/efi/efi.c and drivers/firmware/efi/efi.c, v4.9.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from ..uefi.memmap import E820Entry, E820Type, MemoryMap, e820_type_of, ram_ranges

_MEMMAP_TYPES = {"@": E820Type.RAM, "#": E820Type.ACPI, "$": E820Type.RESERVED, "!": E820Type.PRAM}
_SIZE = re.compile(r"(0x[0-9a-f]{1,16}|[0-9]{1,20})([kmgtp]?)", re.IGNORECASE)
_MEMMAP = re.compile(r"([0-9a-fx]+[kmgtp]?)(?:\\?([@#$!])([0-9a-fx]+[kmgtp]?))?", re.IGNORECASE)
_PAGE_SHIFT = 12


def efi_options(command_line: str) -> dict[str, str]:
    """Of the options that change EFI calls those that are given, each with what it does."""
    words = command_line.split()
    efi = {value for word in words if word.startswith("efi=") for value in word[4:].split(",")}
    found = {"noefi": "noefi" in words, "efi=noruntime": "noruntime" in efi, "efi=old_map": "old_map" in efi}
    return {option: _EFFECTS[option] for option, given in found.items() if given}


_EFFECTS = {
    "noefi": "Linux was started with noefi and makes no EFI call in this boot",
    "efi=noruntime": "Linux was started with efi=noruntime and makes no EFI call in this boot",
    "efi=old_map": "Linux was started with efi=old_map and maps the firmware as 3.5 to 3.8 did",
}


def with_command_line(found: MemoryMap, command_line: str, last_pfns: list[int]) -> MemoryMap:
    """`found` with what the command line makes of it, and notes that say so; a list of the kernel's own counts more.

    Where the kernel's `last_pfn` agrees with one of the two lists, that is the one; where it agrees with none, a note
    says so.
    """
    notes = [f"{effect} (command line)" for effect in efi_options(command_line).values()]
    if not found.user_e820:
        entries, options = _as_the_kernel_changes_it(found, command_line.split())
        changed = replace(found, user_e820=tuple(entries))
        if options and entries and not (_other_end(changed, last_pfns) and last_pfns):
            found = changed
            notes.append(f"worked out: the list as {' '.join(options)[:200]} on the command line changes it")
    left = [word for word in command_line.split() if word.startswith("memmap=") and "%" in word]
    notes += [f"not worked out: {' '.join(left)[:200]} on the command line"] if left and not found.user_e820 else []
    notes += _other_end(found, last_pfns)
    return replace(found, notes=(*found.notes, *notes))


def _as_the_kernel_changes_it(found: MemoryMap, words: list[str]) -> tuple[list[E820Entry], list[str]]:
    """The firmware's list with every option applied in its turn, and these options."""
    entries, options = list(found.e820), []
    if "add_efi_memmap" in words and found.descriptors:
        entries += [E820Entry(d.physical_start, d.end, e820_type_of(d)) for d in found.descriptors]
        entries, options = list(sanitize_e820_map(entries)), ["add_efi_memmap"]
    for word in words:
        changed = _changed(entries, word)
        if changed is not None:
            entries, options = changed, [*options, word]
    return entries, options


def _changed(entries: list[E820Entry], word: str) -> list[E820Entry] | None:
    """The list after one option; None for a word that does not change it."""
    if word.startswith("mem="):
        size = memparse(word[4:])
        return None if size is None else e820_remove_range(entries, size)
    if not word.startswith("memmap="):
        return None
    changed = None
    for option in word[7:].split(","):
        found = _MEMMAP.fullmatch(option)
        size, start = (memparse(number) for number in (found[1], found[3] or "")) if found else (None, None)
        if option == "exactmap":
            entries = changed = []
        elif found and size is not None and found[2] is None:
            entries = changed = e820_remove_range(entries, size)
        elif found and size is not None and start is not None:
            entry = E820Entry(start, start + size, _MEMMAP_TYPES[found[2]])
            entries = changed = list(sanitize_e820_map([*entries, entry]))
    return changed


def memparse(text: str) -> int | None:
    """A number with K, M, G, T or P behind it, as the kernel's memparse reads it; None for anything else."""
    found = _SIZE.fullmatch(text)
    if not found:
        return None
    number = int(found[1], 16 if found[1][:2] in ("0x", "0X") else 10) << 10 * " kmgtp".index(found[2].lower() or " ")
    return number if number < 1 << 64 else None


def e820_remove_range(entries: Iterable[E820Entry], start: int) -> list[E820Entry]:
    """The list without RAM at `start` and above."""
    kept = [replace(e, end=min(e.end, start)) if e.type == E820Type.RAM else e for e in entries]
    return [e for e in kept if e.start < e.end]


def sanitize_e820_map(entries: Iterable[E820Entry]) -> tuple[E820Entry, ...]:
    """The list without overlaps: of the types over a place the highest counts; equal neighbours are one."""
    entries = sorted((e for e in entries if e.start < e.end), key=lambda e: e.start)
    bounds = sorted({bound for e in entries for bound in (e.start, e.end)})
    made: list[E820Entry] = []
    lying: list[E820Entry] = []
    waiting = entries[::-1]
    for start, end in pairwise(bounds):
        while waiting and waiting[-1].start <= start:
            lying.append(waiting.pop())
        lying = [e for e in lying if e.end > start]
        if not lying:
            continue
        kind = max(e.type for e in lying)
        if made and made[-1].end == start and made[-1].type == kind:
            made[-1] = replace(made[-1], end=end)
        else:
            made.append(E820Entry(start, end, kind))
    return tuple(made)


def _other_end(found: MemoryMap, last_pfns: list[int]) -> list[str]:
    """A note where the kernel printed another last page frame than the list has.

    The kernel prints it once for all RAM and once for that below 4 GiB; a cut log may have only the second.
    """
    end = max((end >> _PAGE_SHIFT for _, end in ram_ranges(found.kernel_e820)), default=0)
    told = max(last_pfns, default=end)
    if told == end or told <= 1 << 20 < end:
        return []
    return [f"the kernel's own last_pfn = {told:#x} contradicts the list, whose RAM ends with page {end:#x}"]
