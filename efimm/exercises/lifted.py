"""Machines whose firmware lies further up than usual."""

from __future__ import annotations

from dataclasses import replace

from ..uefi import MemoryMap
from ..uefi.memmap import EfiMemoryType

_MOVED = (EfiMemoryType.EfiRuntimeServicesCode, EfiMemoryType.EfiRuntimeServicesData)


def lifted(plain: MemoryMap, distance: int) -> MemoryMap:
    """The map with the firmware's runtime code and data `distance` bytes further up."""
    moved = (
        replace(region, physical_start=region.physical_start + distance)
        if region.runtime and region.type in _MOVED
        else region
        for region in plain.descriptors
    )
    return replace(plain, name="firmware above the line", descriptors=tuple(moved))
