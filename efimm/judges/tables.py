"""The page tables that a processor could reach from CR3, as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..x86.memory import PAGE_SIZE, PhysMemory
from ..x86.modes import ADDRESS_MASK, P, PagingMode
from .errors import JudgeError

MOST_TABLES = 8192

Tables = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class TablePlace:
    """A table page where a path from the root leads to it: its address, its level's depth, the first va it maps."""

    pa: int
    depth: int
    va: int


def reachable(memory: PhysMemory, root: int, mode: PagingMode) -> Tables:
    """Physical address to 4096 bytes of every table page that `root` leads to, in ascending order.

    Runs become bytes here.  JudgeError when there are more than MOST_TABLES: the guest would have to be fed with them.
    """
    found: Tables = {}
    waiting = [(root & mode.root_mask, 0)]
    while waiting:
        pa, depth = waiting.pop()
        if pa in found:
            continue
        if len(found) == MOST_TABLES:
            raise JudgeError(
                f"the kernel has more than {MOST_TABLES} page tables, too many to hand over: use larger pages"
            )
        found[pa] = memory.read(pa, PAGE_SIZE)
        waiting += [(entry & ADDRESS_MASK, depth + 1) for _, entry in links(found[pa], depth, mode)]
    return dict(sorted(found.items()))


def links(table: bytes, depth: int, mode: PagingMode) -> Iterator[tuple[int, int]]:
    """Index and value of the entries of a table page that lead to lower tables."""
    level = mode.levels[depth]
    for index, entry in enumerate(memoryview(table).cast("Q")):
        if entry & P and not level.is_leaf(entry):
            yield index, entry


def places(tables: Tables, root: int, mode: PagingMode) -> Iterator[TablePlace]:
    """Every table page once for each path that leads to it, in the order of virtual addresses within a table."""
    waiting = [TablePlace(root & mode.root_mask, 0, 0)]
    while waiting:
        place = waiting.pop()
        yield place
        if place.depth + 1 < len(mode.levels):
            span = mode.levels[place.depth].span
            below = [
                TablePlace(entry & ADDRESS_MASK, place.depth + 1, place.va + index * span)
                for index, entry in links(tables[place.pa], place.depth, mode)
            ]
            waiting += reversed(below)


def memory_of(tables: Tables) -> PhysMemory:
    """A memory that holds these table pages and nothing else."""
    memory = PhysMemory()
    for pa, data in tables.items():
        memory.write(pa, data)
    return memory


def canonical(va: int, mode: PagingMode) -> int:
    """`va` with its highest translated bit repeated in the bits above it."""
    return va | (1 << 64) - (1 << mode.va_bits) if va >> mode.va_bits - 1 & 1 else va
