"""Which RAM a table does not map to itself: what several tasks ask of a reader's kernel."""

from __future__ import annotations

from ..linux import Linux
from ..linux.layout import PGDIR_SIZE
from ..x86 import walk


def not_identical(linux: Linux, root: int) -> int | None:
    """The lowest place in RAM that the table at `root` does not map to itself; None where it maps all.

    Looked at are both ends of each range of RAM, and both sides of each 512 GiB border.
    """
    spots = set()
    for start, end in linux.memblock.memory:
        borders = range(-(-start // PGDIR_SIZE) * PGDIR_SIZE, end, PGDIR_SIZE)
        spots |= {start, end - 1, *borders, *(border - 1 for border in borders if border > start)}
    return next((pa for pa in sorted(spots) if walk(linux.memory, root, pa).pa != pa), None)
