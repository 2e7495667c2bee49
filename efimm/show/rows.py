"""How 512 slots and up to 128 blocks become some twenty rows: what may be folded, and what must stay apart.

Blocks, the identity slots (0 up) and the direct map's slots (272 up) fold at the same places, so that a row of one
stands for the same 512-GiB pieces as a row of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..linux.layout import PGDIR_SHIFT, PTRS_PER_PGD
from ..text import some_slots
from .state import Slot, State

SHOW_ALL = 5
_DIRECT_MAP_SLOTS = 128


@dataclass(frozen=True, slots=True)
class BlockRow:
    """Blocks `first` to `last`, alike; a row of several is a fold."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class SlotRow:
    """Slots `first` to `last`: all empty, or all filled in the same role.  `gap`: the empty slot that is needed."""

    first: int
    last: int
    slots: tuple[Slot, ...]
    gap: bool = False

    @property
    def empty(self) -> bool:
        """True when there is nothing in these slots."""
        return not self.slots

    @property
    def role(self) -> str:
        """The role of the slots, "" for empty ones."""
        return self.slots[0].role if self.slots else ""

    @property
    def what(self) -> str:
        """The slots in words: their role, and the slots that share their lower tables."""
        if self.gap:
            return "empty, and needed now"
        if self.empty:
            return "empty"
        shared = {other for slot in self.slots for other in slot.shared}
        return f"{self.role}, shared with {some_slots(shared)}" if shared else self.role


def block_rows(state: State) -> list[BlockRow]:
    """The blocks from 0 up, equal neighbours folded when there are more than five.

    The first two, the last one, and those that the story is about stay apart.
    """
    count = len(state.blocks)
    if count <= SHOW_ALL:
        return [BlockRow(index, index) for index in range(count)]
    apart = {0, 1, count - 1, *_blocks_of_the_story(state)}

    def alike(index: int) -> object:
        block, slots = state.blocks[index], state.slots
        low, high = slots.get(index), slots.get(state.kernel_pgd_boundary + index)
        looks = (low and low.role, high and high.role, bool(low and low.shared))
        return (
            index if index in apart else (block.ram_bytes >> PGDIR_SHIFT, bool(block.ram), bool(block.runtime), looks)
        )

    return [BlockRow(run[0], run[-1]) for run in ([*group] for _, group in groupby(range(count), alike))]


def slot_rows(state: State) -> list[SlotRow]:
    """All 512 slots from 0 up, folded: with the blocks where they mirror them, else equal neighbours together."""
    blocks = block_rows(state)
    rows: list[SlotRow] = []
    boundary = state.kernel_pgd_boundary
    for base, end in ((0, boundary), (boundary, boundary + _DIRECT_MAP_SLOTS)):
        for row in blocks:
            rows += _runs(state, range(base + row.first, base + row.last + 1))
        rows += _runs(state, range(base + len(state.blocks), end), blocks)
    rows += _runs(state, range(boundary + _DIRECT_MAP_SLOTS, PTRS_PER_PGD))
    return _join_empty(rows, keep_below=len(state.blocks))


def _runs(state: State, indexes: Iterable[int], blocks: Sequence[BlockRow] = ()) -> list[SlotRow]:
    """Equal neighbours together; slots that lead to different rows of `blocks` are not equal."""

    def alike(index: int) -> object:
        slot = state.slots.get(index)
        if slot is None:
            return index if index == state.gap else None
        target = slot.low >> PGDIR_SHIFT
        return slot.role, next((row.first for row in blocks if row.first <= target <= row.last), None)

    rows = []
    for _, group in groupby(indexes, alike):
        run = [*group]
        slots = tuple(state.slots[index] for index in run if index in state.slots)
        rows.append(SlotRow(run[0], run[-1], slots, gap=run[0] == state.gap))
    return rows


def _join_empty(rows: list[SlotRow], keep_below: int) -> list[SlotRow]:
    """Join empty rows that touch; those beside a block (slots below `keep_below`) stay as they are."""
    joined: list[SlotRow] = []
    for row in rows:
        last = joined[-1] if joined else None
        if last and last.empty and row.empty and not last.gap and not row.gap and last.first >= keep_below:
            joined[-1] = SlotRow(last.first, row.last, ())
        else:
            joined.append(row)
    return joined


def _blocks_of_the_story(state: State) -> set[int]:
    """The blocks of the array, of the address asked for, and of the slot that is needed."""
    addresses = [*(state.array[:1] if state.array else ())]
    if state.ask and state.ask.pa is not None:
        addresses.append(state.ask.pa)
    story = {address >> PGDIR_SHIFT for address in addresses}
    for slot in (state.ask.slot if state.ask else None, state.gap):
        if slot is not None:
            story.add(slot - state.kernel_pgd_boundary if slot >= state.kernel_pgd_boundary else slot)
    return story
