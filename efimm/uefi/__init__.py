"""The firmware: its memory map, its tables, and what it does when it is called."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .memmap import E820Entry, E820Type, EfiMemoryDescriptor, EfiMemoryType, MemoryMap
from .runtime import EfiStatus, Firmware, WildCall

if TYPE_CHECKING:
    from ..maps.errors import MapError
    from ..maps.formats import read_map

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


def __getattr__(name: str) -> Any:
    """The readers of other people's lists stand to the right of the firmware; this address of theirs is promised."""
    if name == "read_map":
        return import_module("..maps.formats", __name__).read_map
    if name == "MapError":
        return import_module("..maps.errors", __name__).MapError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
