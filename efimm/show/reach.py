"""What lies below a top-level entry: which physical addresses it leads to, and the rest of a walk through it.

Only looks at the bytes; a table of 512 entries that are one range in a row is told by its ends.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ..linux.layout import PGDIR_SHIFT, PGDIR_SIZE
from ..x86 import PhysMemory, Walk, walk
from ..x86.memory import PAGE_SIZE
from ..x86.modes import ADDRESS_MASK, LONG4, PS, P, PagingMode

# A walk that starts one level down, at the table that a top-level entry leads to.
_BELOW = PagingMode("below the top level", LONG4.levels[1:], LONG4.entry_bytes, PGDIR_SHIFT + 1)
_WORDS = struct.Struct("<512Q")


def walk_below(memory: PhysMemory, entry: int, va: int) -> Walk:
    """What the processor would find for `va` if its top-level entry were `entry`; the steps from the pud on."""
    return walk(memory, entry & ADDRESS_MASK, va % PGDIR_SIZE, _BELOW)


def reach(memory: PhysMemory, table: int) -> Iterator[tuple[int, int, int]]:
    """(offset, physical address, size) of pages under `table`: the first, the last, and those beside each break.

    Between breaks the entries are an arithmetic progression, as for one range that is mapped in a row.
    """
    words = _WORDS.unpack(memory.read(table, PAGE_SIZE))
    start = 0
    while start < len(words):
        end = _progression_end(words, start)
        if words[start] & P:
            for index in {start, end - 1}:
                yield from _ends(memory, words[index], 1, index * _BELOW.levels[0].span)
        start = end


def _progression_end(words: tuple[int, ...], start: int) -> int:
    """The end of the arithmetic progression that begins at `start`; all of it is filled, or all of it is empty."""
    step = words[start + 1] - words[start] if start + 1 < len(words) else 0
    if not words[start] & P or not words[start] + step & P:
        step = 0
    rest = words[start:]
    # Most tables are one progression to the end: a single comparison settles those.
    if step and rest == tuple(range(rest[0], rest[0] + step * len(rest), step)):
        return len(words)
    return next((k for k in range(start + 1, len(words)) if words[k] != words[start] + (k - start) * step), len(words))


def _ends(memory: PhysMemory, entry: int, depth: int, offset: int) -> Iterator[tuple[int, int, int]]:
    """The first and the last page that `entry`, of level `depth`, leads to."""
    level = LONG4.levels[depth]
    if depth == len(LONG4.levels) - 1 or entry & PS:
        yield offset, entry & ADDRESS_MASK & ~(level.span - 1), level.span
        return
    words = _WORDS.unpack(memory.read(entry & ADDRESS_MASK, PAGE_SIZE))
    below = LONG4.levels[depth + 1].span
    first = next((k for k, word in enumerate(words) if word & P), None)
    if first is None:
        return
    last = next(k for k in reversed(range(512)) if words[k] & P)
    for index in {first, last}:
        yield from _ends(memory, words[index], depth + 1, offset + index * below)
