"""Memory maps that no firmware printed: for a machine known only by its RAM size, or only by its e820 list.

The generated layout follows what OVMF 2022.11 reported to our own boots of Linux 3.5.0 (November 2026): RAM up to
2 GiB, the firmware's regions just below that, device space up to 4 GiB, the rest of the RAM above.  Sizes are rounded.
"""

from __future__ import annotations

from dataclasses import replace

from ..units import GIB
from .memmap import (
    EFI_MEMORY_NV,
    EFI_MEMORY_RUNTIME,
    EFI_MEMORY_UC,
    EFI_MEMORY_WB,
    EFI_MEMORY_WC,
    EFI_MEMORY_WT,
    EFI_PAGE_SIZE,
    E820Entry,
    E820Type,
    EfiMemoryDescriptor,
    EfiMemoryType,
    MemoryMap,
    e820_from_efi,
)

MIB = 1 << 20
LOW_RAM = 2 * GIB
FOUR_GIB = 4 * GIB
ADDRESS_LIMIT = 1 << 46

_CACHED = EFI_MEMORY_UC | EFI_MEMORY_WC | EFI_MEMORY_WT | EFI_MEMORY_WB
_RUNTIME = EFI_MEMORY_RUNTIME | _CACHED
_T = EfiMemoryType

# The firmware's regions below the end of low RAM: (distance of the start from that end, type, attribute).
_FIRMWARE_REGIONS = (
    (24 * MIB, _T.EfiBootServicesCode, _CACHED),
    (20 * MIB, _T.EfiBootServicesData, _CACHED),
    (14 * MIB, _T.EfiRuntimeServicesData, _RUNTIME),
    (13 * MIB, _T.EfiRuntimeServicesCode, _RUNTIME),
    (12 * MIB, _T.EfiReservedMemoryType, _CACHED),
    (11 * MIB, _T.EfiACPIReclaimMemory, _CACHED),
    (10 * MIB, _T.EfiACPIMemoryNVS, _CACHED),
    (9 * MIB, _T.EfiBootServicesData, _CACHED),
)

_EFI_OF_E820: dict[int, tuple[EfiMemoryType, int]] = {
    E820Type.RAM: (_T.EfiConventionalMemory, _CACHED),
    E820Type.ACPI: (_T.EfiACPIReclaimMemory, _CACHED),
    E820Type.NVS: (_T.EfiACPIMemoryNVS, _CACHED),
    E820Type.UNUSABLE: (_T.EfiUnusableMemory, _CACHED),
    E820Type.PMEM: (_T.EfiPersistentMemory, _CACHED | EFI_MEMORY_NV),
}


def generated_map(ram: int) -> MemoryMap:
    """The map of a machine with `ram` bytes of memory: 2 GiB below the device hole, the rest from 4 GiB on.

    Nothing lies above 64 TiB (46 address bits): of 64 TiB of RAM, the 2 GiB that the hole displaces cannot be reached.
    """
    low = min(ram, LOW_RAM)
    starts = [low - distance for distance, _, _ in _FIRMWARE_REGIONS]
    ends = [*starts[1:], low]
    regions = [
        _descriptor(_T.EfiConventionalMemory, 0, 0xA0000, _CACHED),
        _descriptor(_T.EfiConventionalMemory, MIB, 9 * MIB, _CACHED),
        _descriptor(_T.EfiBootServicesData, 9 * MIB, 21 * MIB, _CACHED),
        _descriptor(_T.EfiConventionalMemory, 21 * MIB, starts[0], _CACHED),
    ]
    for start, end, (_, kind, attribute) in zip(starts, ends, _FIRMWARE_REGIONS, strict=True):
        regions.append(_descriptor(kind, start, end, attribute))
    if ram > low:
        high_end = min(FOUR_GIB + ram - low, ADDRESS_LIMIT)
        regions.append(_descriptor(_T.EfiConventionalMemory, FOUR_GIB, high_end, _CACHED))
    regions.append(_descriptor(_T.EfiReservedMemoryType, 0xB000_0000, 0xC000_0000, EFI_MEMORY_UC))
    flash = EFI_MEMORY_RUNTIME | EFI_MEMORY_UC
    regions.append(_descriptor(_T.EfiMemoryMappedIO, 0xFFC0_0000, FOUR_GIB, flash))
    return MemoryMap(
        name="generated",
        descriptors=tuple(regions),
        e820=e820_from_efi(tuple(regions)),
        title=f"a machine with {ram / GIB:g} GiB of RAM",
        notes=("generated: no firmware printed this map",),
    )


def efi_from_e820(given: MemoryMap) -> MemoryMap:
    """`given` with EFI descriptors: its own where it has some, else inferred from its e820 list, and a note saying so.

    The runtime regions, which an e820 list does not tell apart, are put at the start of a reserved range of at least
    2 MiB that follows other memory below 4 GiB; without such a range, at the end of the RAM below 4 GiB.
    """
    if given.descriptors:
        return given if given.e820 else replace(given, e820=e820_from_efi(given.descriptors))
    e820 = given.kernel_e820
    runtime = _reserved_range(e820)
    if runtime is None:
        e820, runtime = _carved_from_ram(e820)
    middle = runtime.start + MIB
    regions = [
        _descriptor(_T.EfiRuntimeServicesData, runtime.start, middle, _RUNTIME),
        _descriptor(_T.EfiRuntimeServicesCode, middle, middle + MIB, _RUNTIME),
    ]
    for entry in e820:
        start = middle + MIB if entry is runtime else entry.start
        kind, attribute = _EFI_OF_E820.get(entry.type, (_T.EfiReservedMemoryType, EFI_MEMORY_UC))
        if start < entry.end:
            regions.append(_descriptor(kind, start, entry.end, attribute))
    ordered = tuple(sorted(regions, key=lambda d: d.physical_start))
    notes = [
        *given.notes,
        f"inferred: no EFI map was told; 2 MiB of runtime services are assumed at {runtime.start:#x}",
    ]
    if given.booted_by == "BIOS":
        notes.append("the machine was started by a BIOS and makes no EFI call: this is the same memory under UEFI")
    return replace(given, descriptors=ordered, e820=e820, user_e820=(), notes=tuple(notes))


def _descriptor(kind: EfiMemoryType, start: int, end: int, attribute: int) -> EfiMemoryDescriptor:
    return EfiMemoryDescriptor(int(kind), start, 0, (end - start) // EFI_PAGE_SIZE, attribute)


def _reserved_range(e820: tuple[E820Entry, ...]) -> E820Entry | None:
    ends = {entry.end for entry in e820}
    for entry in e820:
        big_enough = entry.end - entry.start >= 2 * MIB and entry.start % EFI_PAGE_SIZE == 0
        if entry.type == E820Type.RESERVED and big_enough and MIB <= entry.start < FOUR_GIB and entry.start in ends:
            return entry
    return None


def _carved_from_ram(e820: tuple[E820Entry, ...]) -> tuple[tuple[E820Entry, ...], E820Entry]:
    low_ram = [e for e in e820 if e.type == E820Type.RAM and e.end <= FOUR_GIB and e.end - e.start > 2 * MIB]
    if not low_ram:
        raise ValueError("the map has no RAM below 4 GiB to put a firmware in")
    ram = max(low_ram, key=lambda e: e.end)
    cut = ram.end // EFI_PAGE_SIZE * EFI_PAGE_SIZE - 2 * MIB
    runtime = E820Entry(cut, ram.end, E820Type.RESERVED)
    pieces = [(replace(e, end=cut), runtime) if e is ram else (e,) for e in e820]
    return tuple(piece for group in pieces for piece in group), runtime
