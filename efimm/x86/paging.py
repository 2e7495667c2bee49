"""Page tables: the paging modes as data, an entry, a table, and the walk.

    va      a virtual (linear) address          pa      a physical address
    entry   one 8-byte word of a table          index   the entry's place in its table
    level   one step of the walk; Linux's names (pgd, pud, pmd, pte) for the SDM's PML4, PDPT, PD, PT

      63 62      52 51                        12 11  9  8  7  6  5   4   3   2  1 0
     +--+----------+----------------------------+-----+--+--+--+--+---+---+--+--+-+
     |NX| ignored  | physical address of the    | sw  |G |PS|D |A |PCD|PWT|US|RW|P|
     |  |          | next table or of the page  |     |  |  |  |  |   |   |  |  | |
     +--+----------+----------------------------+-----+--+--+--+--+---+---+--+--+-+

Source: Intel SDM, volume 3A, chapter 4 (recalled; checked in the tests against an independent MMU).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ..trace import EntryWrite, Trace
from .memory import PAGE_SHIFT, PAGE_SIZE, PHYSICAL_BITS, PhysMemory, progression

P, RW, US, PWT, PCD, A, D, PS, G = (1 << bit for bit in range(9))
NX = 1 << 63
ADDRESS_MASK = (1 << PHYSICAL_BITS) - PAGE_SIZE

_FLAG_NAMES = {P: "P", RW: "RW", US: "US", PWT: "PWT", PCD: "PCD", A: "A", D: "D", PS: "PS", G: "G", NX: "NX"}


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a walk: which address bits choose the entry, and whether that entry may be a large page."""

    name: str
    shift: int
    bits: int
    may_be_large: bool

    @property
    def span(self) -> int:
        """How many bytes of address space one entry covers."""
        return 1 << self.shift

    def index(self, va: int) -> int:
        """Which entry of its table `va` uses at this level."""
        return va >> self.shift & (1 << self.bits) - 1


@dataclass(frozen=True, slots=True, eq=False)
class PagingMode:
    """A paging mode: its levels from the top, the size of an entry, and how many address bits are translated.

    There is one object for each mode; modes are compared by identity.
    """

    name: str
    levels: tuple[Level, ...]
    entry_bytes: int
    va_bits: int

    def is_canonical(self, va: int) -> bool:
        """True when the untranslated upper bits of the 64-bit address `va` repeat its highest translated bit."""
        upper = va >> self.va_bits - 1
        return upper in (0, (1 << 64 - self.va_bits + 1) - 1)


LONG4 = PagingMode(
    name="4-level",
    levels=(
        Level("pgd", 39, 9, may_be_large=False),
        Level("pud", 30, 9, may_be_large=True),
        Level("pmd", 21, 9, may_be_large=True),
        Level("pte", 12, 9, may_be_large=False),
    ),
    entry_bytes=8,
    va_bits=48,
)


class Entry(int):
    """One page-table entry: a number that can say what it means."""

    __slots__ = ()

    @property
    def present(self) -> bool:
        """Bit 0.  Without it the processor ignores every other bit."""
        return bool(self & P)

    @property
    def address(self) -> int:
        """The physical address in bits 51..12 (a large page's PAT bit, bit 12, is not taken out)."""
        return self & ADDRESS_MASK

    @property
    def flags(self) -> str:
        """The names of the bits that are set, such as "P RW A D"."""
        return " ".join(name for bit, name in _FLAG_NAMES.items() if self & bit)

    def __repr__(self) -> str:
        meaning = f"{self.flags} -> {self.address:#x}" if self.present else "not present"
        return f"Entry {int(self):#x}: {meaning}"

    __str__ = __repr__


class PageTable:
    """A view of one table page in memory.  Reading is silent; `table[i] = entry` is an act and goes to the trace."""

    def __init__(self, memory: PhysMemory, pa: int, name: str, trace: Trace, mode: PagingMode = LONG4) -> None:
        self.memory, self.pa, self.name, self.trace = memory, pa, name, trace
        self.entry_bytes = mode.entry_bytes

    def __len__(self) -> int:
        return PAGE_SIZE // self.entry_bytes

    def __getitem__(self, index: int) -> Entry:
        pa = self._entry_pa(index)
        return Entry.from_bytes(self.memory.read(pa, self.entry_bytes), "little")

    def __setitem__(self, index: int, entry: int) -> None:
        self.fill(index, 1, entry, 0)

    def fill(self, index: int, count: int, first: int, step: int) -> None:
        """Write `count` entries from `index` on: `first`, `first + step`, ...; one event in the trace.

        IndexError, and nothing is written, when the table ends before.
        """
        self._entry_pa(index + count - 1)
        old = self[index]
        self.memory.write(self._entry_pa(index), progression(first, count, step, self.entry_bytes))
        self.trace.emit(EntryWrite(self.name, index, int(old), first, count, step))

    def slots(self) -> dict[int, int]:
        """The entries that are not zero, by index."""
        return {index: int(entry) for index, entry in enumerate(self) if entry}

    def __iter__(self) -> Iterator[Entry]:
        data = self.memory.read(self.pa, PAGE_SIZE)
        size = self.entry_bytes
        return (Entry.from_bytes(data[at : at + size], "little") for at in range(0, PAGE_SIZE, size))

    def _entry_pa(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has entries 0 to {len(self) - 1}, not {index}")
        return self.pa + index * self.entry_bytes


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a walk: the entry that was looked at, and the physical address of its table."""

    level: Level
    table: int
    index: int
    entry: int

    def __str__(self) -> str:
        return f"{self.level.name}[{self.index}] at {self.table + 8 * self.index:#x} = {Entry(self.entry)}"


@dataclass(frozen=True, slots=True)
class Walk:
    """What the hardware would find for `va`.  `pa` is None where it finds no translation; `problem` says why.

    `problem` is "" for a translation, else "not present", "reserved bit" or "not canonical".
    """

    va: int
    pa: int | None
    steps: tuple[Step, ...]
    problem: str

    @property
    def last(self) -> Step | None:
        """The step at which the walk ended; None for an address that is not canonical."""
        return self.steps[-1] if self.steps else None

    @property
    def page_size(self) -> int:
        """Size in bytes of the page (or of the hole) that the walk ended in; 0 for a non-canonical address."""
        return self.steps[-1].level.span if self.steps else 0

    @property
    def writable(self) -> bool:
        """RW at every level."""
        return bool(self.steps) and all(step.entry & RW for step in self.steps)

    @property
    def user(self) -> bool:
        """US at every level: one table without it makes the page a supervisor page."""
        return bool(self.steps) and all(step.entry & US for step in self.steps)

    @property
    def executable(self) -> bool:
        """No NX at any level."""
        return bool(self.steps) and not any(step.entry & NX for step in self.steps)


def walk(
    memory: PhysMemory,
    root: int,
    va: int,
    mode: PagingMode = LONG4,
    *,
    maxphyaddr: int = PHYSICAL_BITS,
    nxe: bool = True,
) -> Walk:
    """What the processor would find for `va` in the tables at physical address `root`.

    Silent and total: sets no accessed bit, raises nothing, checks no rights.  Reserved bits count as the processor
    with `maxphyaddr` physical address bits, and with EFER.NXE as given, would count them.
    """
    if not mode.is_canonical(va):
        return Walk(va, None, (), "not canonical")
    steps = []
    table = root & ADDRESS_MASK
    for level, (table_mask, large_mask) in zip(mode.levels, _reserved_masks(mode, maxphyaddr, nxe), strict=True):
        index = level.index(va)
        entry = memory.read_u64(table + 8 * index)
        steps.append(Step(level, table, index, entry))
        if not entry & P:
            return Walk(va, None, tuple(steps), "not present")
        leaf = level.shift == PAGE_SHIFT or bool(level.may_be_large and entry & PS)
        if entry & (large_mask if leaf else table_mask):
            return Walk(va, None, tuple(steps), "reserved bit")
        if leaf:
            break
        table = entry & ADDRESS_MASK
    offset = level.span - 1
    return Walk(va, entry & ADDRESS_MASK & ~offset | va & offset, tuple(steps), "")


@lru_cache
def _reserved_masks(mode: PagingMode, maxphyaddr: int, nxe: bool) -> tuple[tuple[int, int], ...]:
    """For each level, the bits that must be 0 in an entry that leads to a table, and in one that maps a page."""
    everywhere = (1 << PHYSICAL_BITS) - (1 << maxphyaddr) | (0 if nxe else NX)
    masks = []
    for level in mode.levels:
        table_mask = everywhere if level.may_be_large or level.shift == PAGE_SHIFT else everywhere | PS
        # Bit 12 of a large page is its PAT bit; the address bits between it and the page size must be 0.
        between = level.span - (PAGE_SIZE << 1) if level.shift > PAGE_SHIFT else 0
        masks.append((table_mask, everywhere | between))
    return tuple(masks)
