"""The loop that a reader of the manual would write first: one address, four levels, `struct.unpack_from`.

It checks for canonical addresses and for large pages, and tells a page from no page, but not why; reserved bits it
does not check.
"""

from __future__ import annotations

import struct

from ..image import Image
from .peer import Peer, Translate


def load(image: Image) -> Translate:
    """Nothing to load: the loop reads the image's own bytes."""
    memory, root = image.memory, image.root
    unpack_from = struct.Struct("<Q").unpack_from

    def translate(va: int) -> int | None:
        if va >> 47 not in (0, 0x1FFFF):
            return None
        entry: int
        table = root
        for shift in (39, 30, 21, 12):
            (entry,) = unpack_from(memory, table + (va >> shift & 511) * 8)
            if not entry & 1:
                return None
            table = entry & 0x000F_FFFF_FFFF_F000
            if shift == 12 or entry & 0x80:
                offset = (1 << shift) - 1
                return table & ~offset | va & offset
        return None

    return lambda vas: [translate(va) for va in vas]


PEER = Peer("textbook loop", "struct.unpack_from in a loop", 30, load, ours=True)
