"""The moments of a run that a reader may want to stop at, found in the trace, and the table in force at each.

A moment is a place in `trace.events`: the state right after that event.  Nothing is decided here by a rule about
addresses; a moment exists when its event does, and the epilog that never ran has no place at all.

What lies below a top-level entry, the physical addresses it leads to and the rest of a walk through it, is read from
the bytes; a table of 512 entries that are one range in a row is told by its ends.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...linux.layout import PGDIR_SHIFT, PGDIR_SIZE
from ...run import Outcome
from ...trace import Access, Enter, Event, Fault, Leave, LoadCr3, Printk, rewind
from ...x86 import PageTable, PhysMemory, Walk, walk
from ...x86.memory import PAGE_SIZE
from ...x86.modes import ADDRESS_MASK, LONG4, PS, P, PagingMode

# What a bead says of a step with this key; else the step's own words.
_SHORT = {"prelog": "prelog", "epilog": "epilog", "cr3-switch": "CR3 switch", "cr3-back": "CR3 back"}
_DETAILS = ("efi_enter_virtual_mode", "code-rights", "identity-map")  # steps that touch no slot of the story
_LONGEST_LABEL = 12


@dataclass(frozen=True, slots=True)
class Moment:
    """A stop in the story: `index` is a place in trace.events, None for a step that never ran.

    `key` names the kind of moment, `label` and `note` are short texts for a bead, `actor` is "kernel" or "firmware".
    `access` is the place of the load, store, fetch or fault that the moment is about, None where there is none.
    """

    key: str
    label: str
    actor: str
    index: int | None
    access: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class TableAt:
    """A top-level table at some moment: its name, its physical address, and its entries that are not zero."""

    name: str
    pa: int
    slots: dict[int, int]


def moments(outcome: Outcome) -> tuple[Moment, ...]:
    """The moments of the run, in order; a step that a fault kept from happening stands last, without an index."""
    found = sorted(_found(outcome), key=lambda moment: moment.index or 0)
    keys = {moment.key for moment in found}
    if "array" in keys and "return" not in keys:
        found.append(Moment("epilog", "epilog", "kernel", None, note="never ran"))
    return tuple(found)


def decisive(outcome: Outcome) -> Moment:
    """The moment that settles the matter: the fault, else the firmware's first read of the array, else the last one."""
    return settling(moments(outcome))


def settling(beads: tuple[Moment, ...]) -> Moment:
    """The decisive one among the moments of a run."""
    there = {moment.key: moment for moment in reversed(beads) if moment.index is not None}
    for key in ("fault", "read", "return"):
        if key in there:
            return there[key]
    return next(iter(there.values()))


def find_moment(outcome: Outcome, moment: Moment | str | None = None) -> Moment:
    """`moment` itself, or the one with that key or label; the decisive one for None.  ValueError lists those there are.

    A step that never ran cannot be stopped at.
    """
    if moment is None:
        return decisive(outcome)
    if isinstance(moment, Moment):
        return moment
    there = [known for known in moments(outcome) if known.index is not None]
    for known in there:
        if moment in (known.key, known.label, known.note):
            return known
    raise ValueError(f"moment {moment!r}: expected one of {', '.join(known.label for known in there)}")


def table_at(outcome: Outcome, moment: Moment | str | None = None) -> TableAt:
    """The top-level table that CR3 pointed at right after `moment`, with its entries as they were then.

    A table of a reader's own, which Linux does not know, is shown as it is at the end of the run.
    """
    linux, events = outcome.linux, outcome.trace.events
    upto = _place(find_moment(outcome, moment)) + 1
    cr3 = next((event.new for event in reversed(events[:upto]) if isinstance(event, LoadCr3)), linux.cpu.cr3)
    pa = cr3 & ADDRESS_MASK
    known = (linux.swapper_pg_dir, linux.trampoline_pgd, linux.efi_pgd, *(mm.pgd for mm in linux.pgd_list))
    table = next((table for table in known if table.pa == pa), None)
    if table is None:
        name = f"table at {pa:#x}"
        return TableAt(name, pa, PageTable(linux.memory, pa, name, outcome.trace).slots())
    return TableAt(table.name, pa, rewind(table.name, table.slots(), events[upto:]))


def _place(moment: Moment) -> int:
    if moment.index is None:
        raise ValueError(f"{moment.label} never ran, so there is no state to show")
    return moment.index


def _found(outcome: Outcome) -> Iterator[Moment]:
    """Every moment that has a place in the trace, not yet in order."""
    events = outcome.trace.events
    start = _first(events, 0, _is(Enter, "efi_enter_virtual_mode"))
    if start is None:
        return
    yield Moment("boot", "boot", "kernel", start - 1, note="done")
    array = _first(events, start, _is(Leave, "array"))
    if array is None:
        return
    begun = _last(events, array, Enter)
    yield Moment("array", "array", "kernel", array, _access(events, begun, array), "filled")
    call = _first(events, array, _is(Enter, "SetVirtualAddressMap"))
    after = _first(events, array, _is(Leave, "SetVirtualAddressMap"))
    yield from _kernel_steps(events, array + 1, len(events) if call is None else call, "prelog")
    if call is not None:
        yield Moment("call", "call", "firmware", call, _last(events, call, Access))
        yield from _in_the_firmware(outcome, call)
    if after is not None:
        yield Moment("return", "return", "firmware", after, note="" if outcome.status is None else _status(outcome))
        yield from _afterwards(outcome, after)
    yield from _bad_ends(outcome, array)


def _in_the_firmware(outcome: Outcome, call: int) -> Iterator[Moment]:
    """The commit, and the first load from the array: an address within what the firmware was told is the array."""
    events, told = outcome.trace.events, _told(outcome)
    commit = _first(events, call, _is(Leave, "commit"))
    if commit is None:
        return
    yield Moment("commit", "commit", "firmware", commit, _last(events, commit, Access))
    read = _first(events, commit, lambda event: isinstance(event, Access) and event.va in told)
    fault = _first(events, commit, lambda event: isinstance(event, Fault))
    if read is not None and (fault is None or read < fault):
        yield Moment("read", "first read", "firmware", read, read)


def _afterwards(outcome: Outcome, after: int) -> Iterator[Moment]:
    """What the kernel undoes after the return, and the first call at the new addresses."""
    events = outcome.trace.events
    get_time = _first(events, after, _is(Enter, "virt_efi_get_time"))
    yield from _kernel_steps(events, after + 1, len(events) if get_time is None else get_time, "epilog")
    if get_time is None:
        return
    end = _first(events, get_time, _is(Leave, "virt_efi_get_time"))
    upto = len(events) - 1 if end is None else end
    yield Moment(
        "get_time", "GetTime", "firmware", upto, _telling(events, get_time), "goes wrong" if end is None else "works"
    )


def _telling(events: list[Event], get_time: int) -> int | None:
    """The access that tells how GetTime went: its fault, or the fetch at its new address."""
    fault = _first(events, get_time, lambda event: isinstance(event, Fault))
    fetch = _first(events, get_time, lambda event: isinstance(event, Access) and event.kind == "fetch")
    return fetch if fault is None else fault


def _bad_ends(outcome: Outcome, start: int) -> Iterator[Moment]:
    """Page faults, and the ends that are none: a pointer that is no address, a call into nowhere."""
    events, told = outcome.trace.events, _told(outcome)
    fault = _first(events, start, lambda event: isinstance(event, Fault))
    # A fault of GetTime, after the return, belongs to that bead.
    if fault is not None and outcome.fault is not None:
        earlier = any(isinstance(event, Access) and event.va in told for event in events[start:fault])
        first = outcome.fault.cr2 in told and not earlier
        label, note = ("first read", "page fault") if first else ("page fault", "")
        yield Moment("fault", label, outcome.who or "firmware", fault, fault, note)
    if outcome.status is None and outcome.fault is None:
        last = next(k for k in reversed(range(len(events))) if isinstance(events[k], Printk))
        refused = str(events[last]).startswith("console | general protection")
        yield Moment("fault", "#GP" if refused else "wild call", "firmware", last)


def _kernel_steps(events: list[Event], start: int, end: int, key: str) -> Iterator[Moment]:
    """The kernel's own steps that ended in the range; changes of page rights are left out, they touch no slot."""
    for place in range(start, end):
        event = events[place]
        if isinstance(event, Leave) and event.actor == "kernel" and event.key not in _DETAILS:
            label = _SHORT.get(event.key, event.step[:_LONGEST_LABEL].strip())
            yield Moment(key, label, "kernel", place)


def _told(outcome: Outcome) -> range:
    """The addresses at which the firmware was told that the array is."""
    return range(outcome.pointer, outcome.pointer + outcome.linux.memmap_count * outcome.linux.machine.descriptor_size)


def _status(outcome: Outcome) -> str:
    name = outcome.status.name.removeprefix("EFI_") if outcome.status is not None else ""
    return name.lower().replace("_", " ")[:_LONGEST_LABEL]


def _is(kind: type[Enter] | type[Leave], key: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, kind) and event.key == key


def _first(events: list[Event], start: int, wanted: Callable[[Event], bool]) -> int | None:
    return next((k for k in range(start, len(events)) if wanted(events[k])), None)


def _last(events: list[Event], end: int, kind: type[Event]) -> int:
    return next((k for k in reversed(range(end)) if isinstance(events[k], kind)), 0)


def _access(events: list[Event], start: int, end: int) -> int | None:
    return next((k for k in range(start, end) if isinstance(events[k], Access)), None)


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
