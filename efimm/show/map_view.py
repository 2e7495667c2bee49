"""A machine's memory map as a picture: what lies where, and what of it the firmware still needs."""

from __future__ import annotations

import os

from ..machines import load_map
from ..uefi.memmap import MemoryMap
from .frames import Frame, Frames
from .map_scene import draw, words
from .map_state import state_of
from .map_twin import describe


def map_view(what: MemoryMap | str | os.PathLike[str]) -> Frames:
    """The picture of a MemoryMap, of a machine in data/ by its name, of a log's file, or of a log's text.

    Raises MapError for what cannot be read.
    """
    return Frames([frame(load_map(what))])


def frame(memory_map: MemoryMap) -> Frame:
    """The map as picture and as text."""
    state = state_of(memory_map)
    return Frame(draw(state), describe(state), words(state), good=True)
