"""The page tables that a processor could reach from CR3, as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, Protocol

from ..x86 import Walk, walk
from ..x86.cpu import CR0_PG, Registers
from ..x86.memory import PAGE_MASK, PAGE_SIZE, PhysMemory
from ..x86.modes import ADDRESS_MASK, P, PagingMode, reserved_masks
from .host import JudgeError

MOST_TABLES = 8192

# Physical address of a frame to its 4096 bytes.
Tables = dict[int, bytes]

_WORD_CODES: Final[dict[int, Literal["Q", "I"]]] = {8: "Q", 4: "I"}


class Readable(Protocol):
    """Memory by physical address: a model's, or that of a guest that stands still."""

    def read(self, pa: int, size: int, /) -> bytes:
        """The bytes at [pa, pa + size)."""


@dataclass(frozen=True)
class Moment:
    """The processor and the tables below its CR3, when a service was called with `arguments`.

    `mode` is the one that the tables are made for; a 32-bit kernel has turned paging off (`paging`).
    """

    registers: Registers
    cr3: int
    mode: PagingMode
    tables: Tables
    arguments: tuple[int, ...] = ()

    @property
    def paging(self) -> bool:
        """True when the tables are in force."""
        return bool(self.registers.cr0 & CR0_PG)

    @cached_property
    def memory(self) -> PhysMemory:
        """A memory that holds these tables and nothing else."""
        return memory_of(self.tables)

    def walk(self, va: int) -> Walk:
        """What the processor found for `va` at this moment."""
        return walk(self.memory, self.cr3, va, self.mode)


@dataclass(frozen=True, slots=True)
class TablePlace:
    """A table where a path from the root leads to it: its address, its level's depth, the first va it maps."""

    pa: int
    depth: int
    va: int


def reachable(memory: Readable, root: int, mode: PagingMode, maxphyaddr: int) -> Tables:
    """Every table page that `root` leads to, in ascending order, for a processor with these physical address bits.

    Runs become bytes here.  JudgeError when there are more than MOST_TABLES: the guest would have to be fed with them.
    """
    found: Tables = {}
    waiting = [(root & mode.root_mask, 0)]
    while waiting:
        pa, depth = waiting.pop()
        if pa & PAGE_MASK in found:
            continue
        if len(found) == MOST_TABLES:
            raise JudgeError(f"the kernel has over {MOST_TABLES} page tables, too many to hand over: use larger pages")
        found[pa & PAGE_MASK] = memory.read(pa & PAGE_MASK, PAGE_SIZE)
        must_be_zero = reserved_masks(mode, maxphyaddr, nxe=True)[depth][0]
        further = [entry for _, entry in links(found, pa, depth, mode) if not entry & must_be_zero]
        waiting += [(entry & ADDRESS_MASK, depth + 1) for entry in further]
    return dict(sorted(found.items()))


def entries(tables: Tables, pa: int, depth: int, mode: PagingMode) -> list[int]:
    """The entries of the table at `pa`, which belongs to the level of that depth; PAE's first one has only four."""
    page = memoryview(tables[pa & PAGE_MASK]).cast(_WORD_CODES[mode.entry_bytes])
    first = (pa & ~PAGE_MASK) // mode.entry_bytes
    return page[first : first + (1 << mode.levels[depth].bits)].tolist()


def links(tables: Tables, pa: int, depth: int, mode: PagingMode) -> Iterator[tuple[int, int]]:
    """Index and value of the entries of a table that lead to lower tables."""
    level = mode.levels[depth]
    for index, entry in enumerate(entries(tables, pa, depth, mode)):
        if entry & P and not level.is_leaf(entry):
            yield index, entry


def places(tables: Tables, root: int, mode: PagingMode) -> Iterator[TablePlace]:
    """Every table once for each path that leads to it."""
    waiting = [TablePlace(root & mode.root_mask, 0, 0)]
    while waiting:
        place = waiting.pop()
        yield place
        span = mode.levels[place.depth].span
        for index, entry in links(tables, place.pa, place.depth, mode):
            if entry & ADDRESS_MASK & PAGE_MASK in tables:
                waiting.append(TablePlace(entry & ADDRESS_MASK, place.depth + 1, place.va + index * span))


def memory_of(tables: Tables) -> PhysMemory:
    """A memory that holds these table pages and nothing else."""
    memory = PhysMemory()
    for pa, data in tables.items():
        memory.write(pa, data)
    return memory


def canonical(va: int, mode: PagingMode) -> int:
    """`va` as the processor writes it: with 64-bit addresses the highest translated bit fills the bits above it."""
    return va | (1 << 64) - (1 << mode.va_bits) if mode.va_bits > 32 and va >> mode.va_bits - 1 & 1 else va
