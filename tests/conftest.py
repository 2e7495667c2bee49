"""What several test files share: page tables written entry by entry, as bytes, by nobody but the test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from efimm.x86 import PhysMemory

ROOT = 0x1000
Chain = Callable[..., list[int]]


@pytest.fixture
def chain() -> Chain:
    """A function that writes one entry of each level for `va`, from the table at `root` down.

    Each entry's bits 51..12 say where the next table is.  The result is where the entries were written.
    """

    def write(memory: PhysMemory, va: int, *entries: int, root: int = ROOT) -> list[int]:
        places = []
        for shift, entry in zip((39, 30, 21, 12), entries, strict=False):
            place = root + 8 * (va >> shift & 511)
            memory.write(place, entry.to_bytes(8, "little"))
            places.append(place)
            root = entry & 0x000F_FFFF_FFFF_F000
        return places

    return write
