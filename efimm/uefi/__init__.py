"""The firmware: its memory map, its tables, and what it does when it is called."""

from .formats import MapError, read_map
from .memmap import E820Entry, E820Type, EfiMemoryDescriptor, EfiMemoryType, MemoryMap
from .runtime import EfiStatus, Firmware, WildCall

__all__ = [
    "E820Entry",
    "E820Type",
    "EfiMemoryDescriptor",
    "EfiMemoryType",
    "EfiStatus",
    "Firmware",
    "MapError",
    "MemoryMap",
    "WildCall",
    "read_map",
]
