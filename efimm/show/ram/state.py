"""One moment of a run as plain facts, read from the trace and the bytes: what picture and text both tell; and the text.

Everything about top-level entries is as it was at the moment.  The tables below them are read as they are at the end
of the run: the kernels of this story share them and extend them, and write no slot's meaning anew.

512 slots and up to 128 blocks become some twenty rows.  Blocks, the identity slots (0 up) and the direct map's slots
(272 up) fold at the same places, so that a row of one stands for the same 512-GiB pieces as a row of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby

from ...linux.layout import PGDIR_SHIFT, PTRS_PER_PGD, Layout, pgd_address
from ...run import Outcome
from ...text import gib, map_title, ram_words, slot_numbers, some_slots, verdict_line, wrapped
from ...trace import Access, EntryWrite, Fault
from ...uefi.firmwares import find_firmware
from ...x86.modes import ADDRESS_MASK, LONG4, P
from .moments import Moment, find_moment, moments, reach, settling, table_at, walk_below

_LOWER_HALF = range(256)


@dataclass(frozen=True, slots=True)
class Block:
    """512 GiB of physical memory: its number, the RAM in it and the firmware's runtime regions, as [start, end)."""

    index: int
    ram: tuple[tuple[int, int], ...]
    runtime: tuple[tuple[int, int], ...]

    @property
    def ram_bytes(self) -> int:
        """How much of the block is RAM."""
        return sum(end - start for start, end in self.ram)


@dataclass(frozen=True, slots=True)
class Slot:
    """One filled top-level entry: where its lower table lies, and the physical addresses [low, high) that it reaches.

    `role` is "identity" where, in the lower half, pages have the same physical as virtual address, else "other";
    in the upper half it is Linux's name for the region.  `shared` lists the other slots with the same lower table.
    `fresh`: written since the moment before.
    """

    index: int
    entry: int
    role: str
    table: int
    low: int
    high: int
    shared: tuple[int, ...]
    fresh: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody's access: who, what ("read", "write", "fetch", or "will read"), the virtual address and its slot.

    `pa` is where it leads, None where it leads nowhere; `steps` are the walk's (level, index, entry) as the table was.
    """

    who: str
    kind: str
    va: int
    slot: int | None
    pa: int | None
    problem: str
    steps: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class State:
    """One moment of a run: physical memory, the table in force, who asks for what, and the verdict on the whole run.

    `gap` is an empty slot that is needed: by `ask`, or by the pointer until the firmware has used it; None without one.
    `kernel_pgd_boundary` is the slot of the direct map's first byte; `now` and `decisive` are numbers of moments.
    """

    machine: str
    kernel: str
    firmware: str
    kernel_pgd_boundary: int
    highest_ram: int
    blocks: tuple[Block, ...]
    array: tuple[int, int] | None
    table: str
    table_pa: int
    slots: dict[int, Slot] = field(hash=False)  # what else there is tells states apart well enough
    gap: int | None
    ask: Ask | None
    pointer: int | None
    console: tuple[str, ...]
    moments: tuple[Moment, ...]
    now: int
    decisive: int
    verdict: str
    verdict_words: str

    @property
    def failed(self) -> bool:
        """True at a moment at which the processor could not do what was asked."""
        pending = self.ask is None or self.ask.kind == "will read"
        return self.moments[self.now].key == "fault" or (not pending and self.ask is not None and self.ask.pa is None)

    @property
    def headline(self) -> str:
        """What is known by now: the verdict from the decisive moment on, before it how far the story has come."""
        if self.now >= self.decisive:
            return self.verdict_words
        empty = f" Slot {self.gap}, which it needs, is empty." if self.gap is not None else ""
        return f"So far: {self._so_far()}.{empty}"

    @property
    def good(self) -> bool:
        """False where the headline tells of trouble."""
        return self.verdict == "success" or self.now < self.decisive

    def _so_far(self) -> str:
        moment, pointer = self.moments[self.now], self.pointer or 0
        if self.array is None:
            return "the kernel has booted, and the array is still to be made"
        if moment.key == "array":
            return f"the array lies at {self.array[0]:#x}, and the firmware will be given the pointer {pointer:#x}"
        if moment.key == "call":
            return f"the firmware is called with the pointer {pointer:#x}, and has not read the array yet"
        if moment.key == "commit":
            return "the firmware has switched to virtual mode for good, and has not read the array yet"
        fresh = [slot.index for slot in self.slots.values() if slot.fresh]
        wrote = (
            f"slot{'s' * (len(fresh) > 1)} {some_slots(fresh)} written" if fresh else "no slot of this table written"
        )
        return f"the {moment.actor}'s {moment.label} is done, {wrote}"


def state_of(outcome: Outcome, moment: Moment | str | None = None) -> State:
    """The state of `outcome` right after `moment`: a Moment, its key or label, or None for the decisive one."""
    return Story(outcome).at(find_moment(outcome, moment))


class Story:
    """A run, of which each moment gives a State; what all of them share is read once."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self.moments = moments(outcome)
        self.decisive = self.moments.index(settling(self.moments))
        self._reached: dict[int, list[tuple[int, int, int]]] = {}
        self._roles: dict[tuple[int, int], str] = {}
        memory_map = outcome.linux.map
        self._ram = _by_block(memory_map.ram)
        self._regions = _by_block((d.physical_start, d.end) for d in memory_map.descriptors if d.runtime)

    def at(self, at: Moment) -> State:
        """The state right after one of the moments."""
        outcome, linux = self._outcome, self._outcome.linux
        table = table_at(outcome, at)
        now = self.moments.index(at)
        passed = {bead.key for bead in self.moments[: now + 1]}
        known = "array" in passed
        slots = self._slots(table.slots, _written(outcome, self.moments, now, table.name))
        ask = _ask(outcome, at, table.slots, pending=known and not passed & {"call", "return", "fault"})
        return State(
            machine=map_title(linux.map),
            kernel=linux.kernel.name,
            firmware=find_firmware(linux.machine.firmware).name,
            kernel_pgd_boundary=linux.layout.kernel_pgd_boundary,
            highest_ram=linux.machine.highest_ram,
            blocks=self._blocks(slots, ask),
            array=_array(outcome) if known else None,
            table=table.name,
            table_pa=table.pa,
            slots=slots,
            gap=_gap(slots, ask, outcome.pointer if known and not passed & {"read", "return"} else None),
            ask=ask,
            pointer=outcome.pointer if known else None,
            console=_console(outcome, at),
            moments=self.moments,
            now=now,
            decisive=self.decisive,
            verdict=outcome.verdict,
            verdict_words=verdict_line(outcome),
        )

    def _slots(self, entries: dict[int, int], fresh: frozenset[int]) -> dict[int, Slot]:
        users: dict[int, list[int]] = {}
        for index, entry in sorted(entries.items()):
            if entry & P:
                users.setdefault(entry & ADDRESS_MASK, []).append(index)
        found = {}
        for table, indexes in users.items():
            pages = self._pages(table)
            low, high = min((pa for _, pa, _ in pages), default=0), max((pa + size for _, pa, size in pages), default=0)
            for index in indexes:
                others = tuple(other for other in indexes if other != index)
                role = self._role(index, table)
                found[index] = Slot(index, entries[index], role, table, low, high, others, index in fresh)
        return dict(sorted(found.items()))

    def _pages(self, table: int) -> list[tuple[int, int, int]]:
        if table not in self._reached:
            self._reached[table] = list(reach(self._outcome.linux.memory, table))
        return self._reached[table]

    def _role(self, index: int, table: int) -> str:
        if (index, table) not in self._roles:
            self._roles[index, table] = _role(self._outcome.linux.layout, index, self._pages(table))
        return self._roles[index, table]

    def _blocks(self, slots: dict[int, Slot], ask: Ask | None) -> tuple[Block, ...]:
        """All blocks up to the highest address that anything in the state is at."""
        mapped = [slot.high for slot in slots.values()]
        own = [end for pieces in self._regions.values() for _, end in pieces]
        asked = (ask.pa or 0) + 1 if ask else 0
        top = max([self._outcome.linux.map.highest_ram, *mapped, *own, asked])
        return tuple(
            Block(index, tuple(self._ram.get(index, ())), tuple(self._regions.get(index, ())))
            for index in range((top - 1 >> PGDIR_SHIFT) + 1)
        )


def _array(outcome: Outcome) -> tuple[int, int]:
    size = outcome.linux.memmap_count * outcome.linux.machine.descriptor_size
    return outcome.buffer_pa, outcome.buffer_pa + size


def _gap(slots: dict[int, Slot], ask: Ask | None, pointer: int | None) -> int | None:
    """The slot that is needed and empty: by what is asked now, or by the pointer that is still to be used."""
    needed = [ask.slot if ask else None]
    if pointer is not None and LONG4.is_canonical(pointer):
        needed.append(LONG4.levels[0].index(pointer))
    return next((slot for slot in needed if slot is not None and slot not in slots), None)


def _written(outcome: Outcome, beads: tuple[Moment, ...], now: int, table: str) -> frozenset[int]:
    """The slots that were written between the moment before and this one."""
    index = beads[now].index or 0
    before = beads[now - 1].index or 0 if now else index
    written = outcome.trace.events[before + 1 : index + 1]
    return frozenset(event.index for event in written if isinstance(event, EntryWrite) and event.table == table)


def _role(layout: Layout, index: int, pages: list[tuple[int, int, int]]) -> str:
    """What the slot is, by what its pages lead to; in the upper half Linux's name for the region."""
    if index not in _LOWER_HALF:
        return layout.region_of_slot(index).name
    base = pgd_address(index)
    return "identity" if pages and all(base + offset == pa for offset, pa, _ in pages) else "other"


def _ask(outcome: Outcome, at: Moment, entries: dict[int, int], *, pending: bool) -> Ask | None:
    """The access that the moment is about; before the call, the one that is to come: the pointer's."""
    event = outcome.trace.events[at.access] if at.access is not None else None
    if isinstance(event, Access):
        return _asked(outcome, at.actor, event.kind, event.va, entries)
    if isinstance(event, Fault):
        return _asked(outcome, at.actor, event.kind, event.cr2, entries)
    if pending or at.key == "fault":
        return _asked(outcome, "firmware", "will read" if pending else "read", outcome.pointer, entries)
    return None


def _asked(outcome: Outcome, who: str, kind: str, va: int, entries: dict[int, int]) -> Ask:
    """What `va` leads to by way of the top-level entries as they were."""
    top = LONG4.levels[0]
    if not LONG4.is_canonical(va):
        return Ask(who, kind, va, None, None, "not canonical", ())
    slot = top.index(va)
    entry = entries.get(slot, 0)
    first = (top.name, slot, entry)
    if not entry & P:
        return Ask(who, kind, va, slot, None, "not present", (first,))
    found = walk_below(outcome.linux.memory, entry, va)
    steps = (first, *((step.level.name, step.index, step.entry) for step in found.steps))
    return Ask(who, kind, va, slot, found.pa, found.problem, steps)


def _console(outcome: Outcome, at: Moment) -> tuple[str, ...]:
    """What the console said of the end, once the story is there: the lines of the oops, or the last line."""
    if at.key != "fault":
        return ()
    lines = outcome.trace.console
    start = next((k for k, line in enumerate(lines) if line.startswith("BUG:")), len(lines) - 1)
    return tuple(line.rstrip() for line in lines[start:])


def _by_block(pieces: Iterable[tuple[int, int]]) -> dict[int, list[tuple[int, int]]]:
    cut: dict[int, list[tuple[int, int]]] = {}
    for first, end in pieces:
        start = first
        while start < end:
            upto = min(end, (start >> PGDIR_SHIFT) + 1 << PGDIR_SHIFT)
            cut.setdefault(start >> PGDIR_SHIFT, []).append((start, upto))
            start = upto
    return cut


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


@lru_cache(maxsize=4)
def block_rows(state: State) -> Sequence[BlockRow]:
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


@lru_cache(maxsize=4)
def slot_rows(state: State) -> Sequence[SlotRow]:
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


def twin(outcome: Outcome, moment: Moment | str | None = None) -> str:
    """`outcome` right after `moment` as text; None for the decisive moment."""
    return describe(state_of(outcome, moment))


def describe(state: State) -> str:
    """The state as lines: verdict, blocks, slots from the highest down, who asks, moments."""
    return "\n".join(line for part in _parts(state) for line in part)


def _parts(state: State) -> Iterator[list[str]]:
    bead = state.moments[state.now]
    yield wrapped(f"kernel {state.kernel} on {state.machine}")
    yield [f"firmware {state.firmware}"]  # a line of its own, whatever the length of the name
    yield wrapped(state.headline)
    yield wrapped(f"moment: {bead.label} {bead.note}".rstrip())
    yield ["", f"physical memory, RAM up to {state.highest_ram:#x} ({gib(state.highest_ram)})"]
    yield [line for row in reversed(block_rows(state)) for line in wrapped(_block_line(state, row), 18)]
    yield ["", f"top-level table {state.table}, CR3 = {state.table_pa:#x}"]
    yield [line for row in reversed(slot_rows(state)) if row.slots or row.gap for line in wrapped(_slot_line(row), 18)]
    yield ["", *_asking(state)]
    yield wrapped("moments: " + ", ".join(_moment(state, number) for number in range(len(state.moments))))


def _block_line(state: State, row: BlockRow) -> str:
    block = state.blocks[row.first]
    marks = [ram_words(block.ram_bytes) + (" each" if row.last > row.first else "")]
    if block.runtime:
        marks.append(f"{len(block.runtime)} runtime regions" if len(block.runtime) > 1 else "1 runtime region")
    if state.array and row.first <= state.array[0] >> PGDIR_SHIFT <= row.last:
        marks.append(f"array at {state.array[0]:#x}")
    return f"  block {slot_numbers(row.first, row.last):<9} {', '.join(marks)}"


def _slot_line(row: SlotRow) -> str:
    if row.gap:
        return f"  slot  {slot_numbers(row.first, row.last):<9} GAP: empty, but needed"
    first, last = row.slots[0], row.slots[-1]
    new = " (just written)" if any(slot.fresh for slot in row.slots) else ""
    blocks = slot_numbers(first.low >> PGDIR_SHIFT, max(last.high - 1, last.low) >> PGDIR_SHIFT)
    return f"  slot  {slot_numbers(row.first, row.last):<9} {row.what} -> block {blocks}{new}"


def _asking(state: State) -> Iterator[str]:
    ask = state.ask
    if ask is None:
        yield "arrow: none, nobody asks at this moment"
        return
    slot = f" -> slot {ask.slot}" if ask.slot is not None else ""
    yield f"arrow: {ask.who}, {ask.kind} {ask.va:#x}{slot}"
    if ask.pa is not None:
        yield f"       -> physical {ask.pa:#x}, block {ask.pa >> PGDIR_SHIFT}"
    else:
        walked = " ".join(f"{level.upper()} {entry:x}" for level, _, entry in ask.steps)
        yield f"       -> nowhere: {ask.problem}{', ' + walked if walked else ''}"
    for line in state.console[:1] if ask.pa is None or state.console else ():
        yield from wrapped(f"console: {line}")


def _moment(state: State, number: int) -> str:
    moment = state.moments[number]
    words = f"{moment.label} {moment.note}".strip()
    return f"[{words}]" if number == state.now else words
