"""efimm itself, asked in the ways in which the peers are asked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efimm.x86 import LONG4, PhysMemory
from efimm.x86.batch import translate

from .image import U64, Image

TRANSLATED = -1


def load(image: Image) -> PhysMemory:
    """A physical memory that holds the image's table pages, written one by one."""
    memory = PhysMemory()
    for pfn in image.pfns.tolist():
        memory.write(pfn << 12, image.memory[pfn << 12 : pfn + 1 << 12])
    return memory


def arrays(memory: PhysMemory, root: int, vas: U64) -> tuple[U64, NDArray[np.bool_]]:
    """Array in, arrays out: the physical addresses, and which of them are one."""
    pas, errors = translate(memory, root, vas, LONG4)
    return pas, errors == TRANSLATED


def lists(memory: PhysMemory, root: int, vas: list[int]) -> list[int | None]:
    """List in, list out, as every peer has it."""
    pas, errors = translate(memory, root, np.array(vas, np.uint64), LONG4)
    found: list[int | None] = pas.tolist()
    for place in np.flatnonzero(errors != TRANSLATED).tolist():
        found[place] = None
    return found
