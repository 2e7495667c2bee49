"""Where the e820 list and the EFI list of one machine do not say the same.

Both come from the firmware, but the boot loader translates one into the other, and kernels and loaders have lost ranges
on the way.  Compared is what matters to a kernel: whether a place is RAM that it may use, and whether the runtime
services, which the firmware goes on using, are kept from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import TypeVar

from ..uefi.memmap import (
    EFI_MEMORY_SP,
    E820Entry,
    E820Type,
    EfiMemoryDescriptor,
    EfiMemoryType,
    MemoryMap,
    e820_type_of,
)
from .entries import E820_WORDS
from .lists import is_whole

_Entry = TypeVar("_Entry")

_DEVICES = (EfiMemoryType.EfiMemoryMappedIO, EfiMemoryType.EfiMemoryMappedIOPortSpace)


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A range [start, end) and what each of the lists says of it, in words; "nothing" where it has no entry."""

    start: int
    end: int
    e820: str
    efi: str

    def __str__(self) -> str:
        return f"{self.start:#x} to {self.end:#x}: e820 says {self.e820}, EFI says {self.efi}"


def contradictions(found: MemoryMap) -> tuple[Contradiction, ...]:
    """Every range of which the firmware's two lists differ, ascending; none where there is only one list, or a part.

    Where entries of one list overlap, the one that begins last counts.  Not told: differences between kinds of memory
    that the kernel leaves alone, and what `memmap=` options changed.
    """
    if not (found.e820 and is_whole(found.descriptors)):
        return ()
    e820 = [(entry.start, entry.end, entry) for entry in found.e820]
    efi = [(region.physical_start, region.end, region) for region in found.descriptors]
    bounds = sorted({bound for start, end, _ in (*e820, *efi) for bound in (start, end)})
    joined: list[Contradiction] = []
    for start, end, entry, region in zip(bounds, bounds[1:], _over(e820, bounds), _over(efi, bounds), strict=False):
        if not _differ(entry, region):
            continue
        piece = Contradiction(start, end, _e820_words(entry), _efi_words(region))
        if joined and joined[-1] == replace(piece, start=joined[-1].start, end=start):
            piece = replace(piece, start=joined.pop().start)
        joined.append(piece)
    return tuple(joined)


def _over(ranges: Iterable[tuple[int, int, _Entry]], bounds: Sequence[int]) -> Iterator[_Entry | None]:
    """For each step from one bound to the next, the entry that lies over it: of several, the one that begins last."""
    waiting = sorted(enumerate(ranges), key=lambda each: each[1][0], reverse=True)
    lying: list[tuple[int, int, int, _Entry]] = []
    for bound in bounds:
        while waiting and waiting[-1][1][0] <= bound:
            number, (start, end, entry) = waiting.pop()
            heappush(lying, (-start, number, end, entry))
        while lying and lying[0][2] <= bound:
            heappop(lying)
        yield lying[0][3] if lying else None


def _differ(entry: E820Entry | None, region: EfiMemoryDescriptor | None) -> bool:
    """Whether only one of the two is RAM for the kernel, or the services' own memory is in no entry of e820.

    Memory that a guest has to accept first is RAM for one kernel and left out by another, as it was built (setup_e820,
    drivers/firmware/efi/libstub/x86-stub.c, 6.5).
    """
    if region is not None and region.type == EfiMemoryType.EfiUnacceptedMemoryType:
        return False
    if (entry is not None and entry.type == E820Type.RAM) != (region is not None and _is_ram(region)):
        # Special-purpose memory is RAM that either the boot loader or the kernel sets aside.
        return region is None or not region.attribute & EFI_MEMORY_SP
    return entry is None and region is not None and region.runtime and region.type not in _DEVICES


def _is_ram(region: EfiMemoryDescriptor) -> bool:
    return e820_type_of(region) == E820Type.RAM


def _e820_words(entry: E820Entry | None) -> str:
    return "nothing" if entry is None else E820_WORDS.get(entry.type, f"type {entry.type}")


def _efi_words(region: EfiMemoryDescriptor | None) -> str:
    if region is None:
        return "nothing"
    known = region.type in set(EfiMemoryType)
    return EfiMemoryType(region.type).name.removeprefix("Efi") if known else f"type {region.type:#x}"
