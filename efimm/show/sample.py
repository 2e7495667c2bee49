"""Small tables made by hand, one set for each paging mode, for the explorer to begin with."""

from __future__ import annotations

from collections.abc import Iterator

from ..x86 import LEGACY, LEGACY_4K, LONG4, LONG5, PAE, PAGING_OFF, PagingMode, PhysMemory
from ..x86.memory import PAGE_SIZE
from ..x86.modes import ADDRESS_MASK, NX, PS, RW, US, A, D, G, P

MODES = (LONG4, LONG5, PAE, LEGACY, LEGACY_4K, PAGING_OFF)

CODE, DATA, READ_ONLY = 0x40_1000, 0x40_2000, 0x40_3000
LARGE, WRONG = 0xC0_0000, 0x140_0000
_FIRST_TABLE = 0x1_0000


def sample_tables() -> tuple[PhysMemory, dict[str, tuple[int, PagingMode]]]:
    """A memory, and a top-level table for each mode, by the mode's name: its address and the mode.

    Each set maps the same: user code, user data and a kernel page that is read-only, a large page (where the mode has
    them), and a page with a reserved bit (where an entry has one).  Everything else is a hole.
    """
    memory, tables = PhysMemory(), {}
    free = iter(range(_FIRST_TABLE, 0x10_0000, PAGE_SIZE))
    for mode in MODES:
        root = next(free) if mode.levels else 0
        tables[mode.name] = root, mode
        for va, depth, leaf in _leaves(mode) if mode.levels else ():
            map_page(memory, mode, root, va, depth, leaf, free)
    return memory, tables


def _leaves(mode: PagingMode) -> Iterator[tuple[int, int, int]]:
    """(address, number of the level, entry) of each page."""
    last = len(mode.levels) - 1
    nx = NX if mode.entry_bytes == 8 else 0
    yield CODE, last, 0x123_4000 | P | US | A
    yield DATA, last, 0x123_5000 | P | RW | US | A | D | nx
    yield READ_ONLY, last, 0x123_6000 | P | A | G | nx
    large = next((depth for depth in range(last, -1, -1) if mode.levels[depth].may_be_large), None)
    if large is not None:
        must_be_0 = 1 << 20 if mode.entry_bytes == 8 else 1 << 21
        yield LARGE, large, 0x80_0000 | P | RW | A | D | PS | G
        yield WRONG, large, 0x80_0000 | P | RW | PS | must_be_0


def map_page(
    memory: PhysMemory, mode: PagingMode, root: int, va: int, depth: int, leaf: int, free: Iterator[int]
) -> None:
    """Write `leaf` for `va` at level number `depth`; tables that are missing on the way come from `free`."""
    table = root
    for number, level in enumerate(mode.levels[: depth + 1]):
        place = table + mode.entry_bytes * level.index(va)
        entry = memory.read_word(place, mode.entry_bytes)
        if number == depth:
            entry = leaf
        elif not entry & P:
            entry = next(free) | P | (RW | US | A if level.has_rights else 0)
        memory.write(place, entry.to_bytes(mode.entry_bytes, "little"))
        table = entry & ADDRESS_MASK
