"""What exercises are drawn from: small random page tables, RAM that a table does not map 1:1, lifted firmware."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from ..linux import Linux
from ..linux.layout import PGDIR_SIZE
from ..uefi import MemoryMap
from ..uefi.memmap import EfiMemoryType
from ..x86 import LONG4, PhysMemory, walk
from ..x86.memory import PAGE_SIZE
from ..x86.modes import NX, PS, RW, US, A, D, P


def not_identical(linux: Linux, root: int) -> int | None:
    """The lowest place in RAM that the table at `root` does not map to itself; None where it maps all.

    Looked at are both ends of each range of RAM, and both sides of each 512 GiB border.
    """
    spots = set()
    for start, end in linux.memblock.memory:
        borders = range(-(-start // PGDIR_SIZE) * PGDIR_SIZE, end, PGDIR_SIZE)
        spots |= {start, end - 1, *borders, *(border - 1 for border in borders if border > start)}
    return next((pa for pa in sorted(spots) if walk(linux.memory, root, pa).pa != pa), None)


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


FIRST_TABLE = 0x1000
_FRAMES = 1 << 28  # physical addresses below 1 TiB
_FLAGS = (RW, US, A, D, NX)


def canonical(va: int) -> int:
    """`va`, 48 bits, with bits 63 to 48 made equal to bit 47."""
    return va | 0xFFFF << 48 if va >> 47 else va


def random_va(random: Random) -> int:
    """A canonical address with four indices that differ, so that no level can be taken for another."""
    while True:
        va = canonical(random.randrange(1 << 48))
        if len({level.index(va) for level in LONG4.levels}) == len(LONG4.levels):
            return va


def random_page(random: Random, shift: int) -> int:
    """The entry of a page of 1 << `shift` bytes at a random place, with random flags; present."""
    frame = random.randrange(_FRAMES) << 12 & ~((1 << shift) - 1)
    flags = sum(bit for bit in _FLAGS if random.random() < 0.5)
    return frame | flags | P | (PS if shift > 12 else 0)


def words_for(va: int, leaf: int, depth: int) -> dict[int, int]:
    """Words of the tables that lead `va` to the entry `leaf` at level number `depth` (0 is the top)."""
    words = {}
    for number, level in enumerate(LONG4.levels[: depth + 1]):
        table = FIRST_TABLE + number * PAGE_SIZE
        entry = leaf if number == depth else table + PAGE_SIZE | P | RW
        words[table + 8 * level.index(va)] = entry
    return words


def memory_of(words: dict[int, int]) -> PhysMemory:
    """A memory that holds `words`, 8 bytes each."""
    memory = PhysMemory()
    for pa, word in words.items():
        memory.write_u64(pa, word)
    return memory
