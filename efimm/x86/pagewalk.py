"""The walk: what the processor finds for one address, level by level, and what all levels together allow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from .memory import PAGE_SHIFT, PAGE_SIZE, PHYSICAL_BITS, PhysMemory
from .modes import ADDRESS_MASK, LONG4, NX, PAE, PS, RW, US, Level, P, PagingMode, reserved_masks
from .paging import Entry


@dataclass(slots=True, unsafe_hash=True)  # mapping makes some for each region; frozen, each takes five times as long
class Step:
    """One step of a walk: the entry that was looked at, the table it stands in, and its own physical address."""

    level: Level
    table: int
    index: int
    entry: int
    pa: int

    def __str__(self) -> str:
        return f"{self.level.name}[{self.index}] at {self.pa:#x} = {Entry(self.entry)}"


class Walk(NamedTuple):
    """What the hardware would find for `va`.  `pa` is None where it finds no translation; `problem` says why.

    `problem` is "" for a translation, else "not present", "reserved bit" or "not canonical".  `entries` are the
    entries that were looked at, from the top; `steps` says where each of them stands.
    """

    va: int
    pa: int | None
    problem: str
    mode: PagingMode
    root: int
    entries: tuple[int, ...]

    def __repr__(self) -> str:
        path = " ".join(f"{step.level.name}[{step.index}]" for step in self.steps)
        end = f"-> {self.pa:#x}" if self.pa is not None else self.problem
        return f"<Walk of {self.va:#x}: {path}{' ' if path else ''}{end}>"

    @property
    def steps(self) -> tuple[Step, ...]:
        """The walk step by step; none for an address that is not canonical, or without paging."""
        steps = []
        table = self.root & self.mode.root_mask
        for level, entry in zip(self.mode.levels, self.entries, strict=False):
            index = level.index(self.va)
            steps.append(Step(level, table, index, entry, table + self.mode.entry_bytes * index))
            table = entry & ADDRESS_MASK
        return tuple(steps)

    @property
    def last(self) -> Step | None:
        """The step at which the walk ended; None where there was no step."""
        steps = self.steps
        return steps[-1] if steps else None

    @property
    def page_size(self) -> int:
        """Size in bytes of the page, or of the hole, that the walk ended in.

        0 for an address that is not canonical, 4 KiB without paging.
        """
        if self.entries:
            return self.mode.levels[len(self.entries) - 1].span
        return 0 if self.problem else PAGE_SIZE

    @property
    def writable(self) -> bool:
        """RW at every level."""
        return self.problem != "not canonical" and all(entry & RW for entry in self._with_rights())

    @property
    def user(self) -> bool:
        """US at every level: one table without it makes the page a supervisor page."""
        return self.problem != "not canonical" and all(entry & US for entry in self._with_rights())

    @property
    def executable(self) -> bool:
        """No NX at any level."""
        return self.problem != "not canonical" and not any(entry & NX for entry in self._with_rights())

    def _with_rights(self) -> list[int]:
        levels = zip(self.mode.levels, self.entries, strict=False)
        return [entry for level, entry in levels if level.has_rights]


def walk(
    memory: PhysMemory,
    root: int,
    va: int,
    mode: PagingMode = LONG4,
    *,
    maxphyaddr: int = PHYSICAL_BITS,
    nxe: bool = True,
    pdptes: tuple[int, ...] = (),
) -> Walk:
    """What the processor would find for `va` in the tables at physical address `root`.

    Silent and total: sets no accessed bit, raises nothing, checks no rights.  Reserved bits count as the processor
    with `maxphyaddr` physical address bits, and with EFER.NXE as given, would count them.  `pdptes` are the four
    entries that a PAE processor latched when it loaded CR3; without them they are read from memory.
    """
    sign_shift, sign_ones, descent, leaves = _plan(mode, maxphyaddr, nxe)
    upper = va >> sign_shift
    if upper and upper != sign_ones:
        return Walk(va, None, "not canonical", mode, root, ())
    entry, entries = root, []
    if mode is PAE:
        entry = (pdptes or read_pdptes(memory, root))[va >> PAE.levels[0].shift]
        entries.append(entry)
        descent = descent[1:] if entry & descent[0][2] == P else ()
    pages = memory.words[mode.entry_bytes]
    for shift, index_mask, goes_on in descent:
        try:
            entry = pages[(entry & ADDRESS_MASK) >> PAGE_SHIFT][va >> shift & index_mask]
        except KeyError:  # a table run, or memory that was never written
            place = (entry & ADDRESS_MASK) + mode.entry_bytes * (va >> shift & index_mask)
            entry = memory.read_word(place, mode.entry_bytes)
        entries.append(entry)
        if entry & goes_on != P:
            break
    leaf_mask, leaf, page_mask, offset_mask = leaves[len(entries)]
    # The constructor would take longer than a level of the walk.
    if entry & leaf_mask == leaf:
        return tuple.__new__(Walk, (va, entry & page_mask | va & offset_mask, "", mode, root, tuple(entries)))
    if not entry & P:
        return tuple.__new__(Walk, (va, None, "not present", mode, root, tuple(entries)))
    return _unusual_end(va, mode, root, entries, maxphyaddr, nxe)


def read_pdptes(memory: PhysMemory, root: int) -> tuple[int, ...]:
    """The four page-directory-pointer-table entries that a PAE processor latches when it loads `root` into CR3."""
    return tuple(memory.read_word((root & PAE.root_mask) + 8 * index, 8) for index in range(4))


def _unusual_end(va: int, mode: PagingMode, root: int, entries: list[int], maxphyaddr: int, nxe: bool) -> Walk:
    """A walk to an entry with reserved bits, or to a page whose address is not in the usual bits (PSE-36)."""
    entry, depth = entries[-1], len(entries) - 1
    level = mode.levels[depth]
    if entry & reserved_masks(mode, maxphyaddr, nxe)[depth][level.is_leaf(entry)]:
        return Walk(va, None, "reserved bit", mode, root, tuple(entries))
    return Walk(va, mode.page_address(level, entry) | va & level.span - 1, "", mode, root, tuple(entries))


_Rows = tuple[tuple[int, ...], ...]


@lru_cache
def _plan(mode: PagingMode, maxphyaddr: int, nxe: bool) -> tuple[int, int, _Rows, _Rows]:
    """The numbers that a walk in `mode` compares with, so that it computes none of them.

    The shift and the value that tell a canonical address; for each level its shift, its index mask and a mask
    `goes_on`: the walk goes on where `entry & goes_on == P`; for each number of entries looked at a mask and the value
    under it that a usable page has, the address bits of that page, and those of `va`.
    """
    sign_bits = 65 - mode.va_bits if mode.va_bits > 32 else 1
    descent, leaves = [], [(0, 0, 0, (1 << mode.va_bits) - 1)]  # without a level, pa is va
    for level, (table_mask, page_mask) in zip(mode.levels, reserved_masks(mode, maxphyaddr, nxe), strict=True):
        large = PS if level.may_be_large else 0
        last = level.shift == PAGE_SHIFT
        descent.append((level.shift, (1 << level.bits) - 1, 0 if last else P | table_mask | large))
        plain = last or (large and not mode.pse36)
        leaf = P | large if plain else -1  # no entry equals -1
        leaves.append((P | large | page_mask, leaf, ADDRESS_MASK & -level.span, level.span - 1))
    return mode.va_bits - 1, (1 << sign_bits) - 1, tuple(descent), tuple(leaves)
