"""What happened, in order: the events, and the trace that keeps them.

An event is a value, and `str()` says it in words.  It carries no time, no number and no machine: its place in the trace
is its order, and the old value beside the new one in every write makes the past recoverable (`rewind`).  Five doors
write here and nobody else: `PageTable.__setitem__`, the `Cpu`, a `SpinLock`, the console (`printk`) and `Trace.span`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Enter:
    """Somebody began a step.  A step with an `Enter` and no `Leave` never came to its end.

    `step` is what people read.  `key` is the step's short, lasting name for programs; two events are equal without it.
    """

    actor: str
    step: str
    key: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.actor}: {self.step}"


@dataclass(frozen=True, slots=True)
class Leave:
    """The step ended normally; actor, step and key are those of its `Enter`."""

    actor: str
    step: str
    key: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"end of {self.step}"


@dataclass(slots=True, unsafe_hash=True)  # a sync makes a hundred thousand; frozen, each takes five times as long
class EntryWrite:
    """`count` entries of a page table changed, from `index` on; `old` and `new` are the values of the first.

    Entry `index + k` became `new + k * step`.  The old values of the others are not kept.
    """

    table: str
    index: int
    old: int
    new: int
    count: int = 1
    step: int = 0

    def __str__(self) -> str:
        if self.count == 1:
            return f"{self.table}[{self.index}] = {self.new:#x} (was {self.old:#x})"
        return f"{self.table}[{self.index}..{self.index + self.count - 1}] = {self.new:#x}, step {self.step:#x}"


@dataclass(slots=True, unsafe_hash=True)  # a call of the firmware makes ten thousand: as above
class Access:
    """The processor read, wrote or fetched `size` bytes at virtual address `va`, found at physical address `pa`."""

    kind: str
    va: int
    size: int
    pa: int

    def __str__(self) -> str:
        verb = {"read": "reads", "write": "writes", "fetch": "fetches at"}[self.kind]
        return f"cpu {verb} {self.va:#x} -> {self.pa:#x}"


@dataclass(frozen=True, slots=True)
class Fault:
    """The processor raised a page fault: CR2, the error code, and the entry at which the walk ended."""

    kind: str
    cr2: int
    error_code: int
    level: str
    index: int
    entry: int

    def __str__(self) -> str:
        where = f"{self.level}[{self.index}] = {self.entry:#x}"
        return f"PAGE FAULT on {self.kind} of {self.cr2:#x}: {where}, error code {self.error_code:#x}"


@dataclass(frozen=True, slots=True)
class LoadCr3:
    """CR3 was loaded: another top-level table is in force from here on."""

    old: int
    new: int

    def __str__(self) -> str:
        return f"CR3 = {self.new:#x} (was {self.old:#x})"


@dataclass(frozen=True, slots=True)
class TlbFlush:
    """Cached translations were dropped; `global_pages` tells whether global ones went too (the CR4.PGE toggle)."""

    global_pages: bool

    def __str__(self) -> str:
        return "TLB flushed" + (", global pages too" if self.global_pages else "")


@dataclass(frozen=True, slots=True)
class Lock:
    """A spinlock was taken (`taken`) or let go."""

    name: str
    taken: bool

    def __str__(self) -> str:
        return f"{'lock' if self.taken else 'unlock'} {self.name}"


@dataclass(frozen=True, slots=True)
class Printk:
    """One line on the machine's console."""

    text: str

    def __str__(self) -> str:
        return f"console | {self.text}"


def _shown(text: str) -> str:
    """Lines of a console, in which nothing is left that a terminal would obey."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode("ascii") for char in text
    )


Event = Enter | Leave | EntryWrite | Access | Fault | LoadCr3 | TlbFlush | Lock | Printk


class Trace:
    """The record of one machine, from power-on.  It belongs to that machine; there is no global one."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __repr__(self) -> str:
        return f"<Trace of {len(self.events)} events>"

    def printk(self, text: str) -> None:
        """Put one line on the console."""
        self.events.append(Printk(_shown(text)))

    @contextmanager
    def span(self, actor: str, step: str, key: str = "") -> Iterator[None]:
        """Mark a step of `actor`; without a `key`, its words are its key, as for a function that is told by its name.

        No `finally` on purpose: a step that a fault cuts short is never left.
        """
        self.events.append(Enter(actor, step, key or step))
        yield
        self.events.append(Leave(actor, step, key or step))

    @contextmanager
    def record(self) -> Iterator[list[Event]]:
        """The events of the block, in a list that is filled when the block ends, with or without an exception."""
        story: list[Event] = []
        start = len(self.events)
        try:
            yield story
        finally:
            story.extend(self.events[start:])

    @property
    def console(self) -> list[str]:
        """Every line that was printed, oldest first."""
        return [event.text for event in self.events if isinstance(event, Printk)]


def writes(events: Iterable[Event], table: str) -> list[EntryWrite]:
    """The writes to the page table named `table` among `events`, in their order."""
    return [event for event in events if isinstance(event, EntryWrite) and event.table == table]


def rewind(table: str, slots: dict[int, int], later: Iterable[Event]) -> dict[int, int]:
    """The entries of `table` as they were before the events in `later`, given `slots`, its non-zero entries now.

    Only single-entry writes can be taken back; top-level tables are written no other way.
    """
    before = dict(slots)
    for event in reversed(list(later)):
        if isinstance(event, EntryWrite) and event.table == table:
            before[event.index] = event.old
    return {index: entry for index, entry in before.items() if entry}
