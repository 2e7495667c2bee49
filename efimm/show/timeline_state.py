"""A story as steps in lanes: the events of a run, or the schedule of several processors; and what lasts between steps.

kernel  tables  processor  firmware      one lane for each who acts
CPU 0   CPU 1                            one lane for each processor
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..locks.finding import Finding
from ..run import Outcome
from ..trace import Enter, EntryWrite, Event, Fault, Leave, Lock, Printk
from .timeline_fold import folded, words

RUN_LANES = ("kernel", "tables", "processor", "firmware")
CALL, LOCK, IRQS_OFF, WAITS = "call", "lock", "irqs", "waits"
DONE, TROUBLE = "done", "trouble"

_SPIN_LOCK = re.compile(r"spin_(un)?lock\((.+)\)")
_IRQ = re.compile(r"local_irq_(save|restore)")
_CPU = re.compile(r"CPU (\d+)(?: |: )(.+)")
_START = "efi_enter_virtual_mode"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that somebody did; `kind` is DONE or TROUBLE."""

    lane: int
    text: str
    kind: str = DONE


@dataclass(frozen=True, slots=True)
class Span:
    """What lasts from one step to another: a call, a lock that is held, interrupts that are off, waiting.

    `last` is None for what never ended.
    """

    lane: int
    kind: str
    name: str
    first: int
    last: int | None


@dataclass(frozen=True)
class Timeline:
    """A whole story; `ending` are the words for how it ended, `good` whether that is well."""

    title: str
    lanes: tuple[str, ...]
    steps: tuple[Step, ...]
    spans: tuple[Span, ...]
    ending: str
    good: bool

    def lasting(self, now: int) -> list[Span]:
        """The spans that are open right after step `now`."""
        return [span for span in self.spans if span.first <= now and (span.last is None or span.last > now)]


def of_outcome(outcome: Outcome, since: str = _START) -> Timeline:
    """The run from the kernel's step `since` on; ValueError where the trace has no such step."""
    events = outcome.trace.events
    start = next((place for place, event in enumerate(events) if event == Enter("kernel", since)), None)
    if start is None:
        raise ValueError(f"the kernel has no step {since!r} in this run")
    made = outcome.linux.machine
    title = f"kernel {outcome.linux.kernel.name}, {made.arch}, RAM up to {made.highest_ram:#x}"
    ending = outcome.verdict + (f": {outcome.reason}" if outcome.reason else "")
    return of_events(events[start:], title, ending, good=outcome.verdict == "success")


def of_events(events: Iterable[Event], title: str, ending: str, *, good: bool) -> Timeline:
    """The events in order, folded; the end of a call is no step, it ends a span."""
    steps: list[Step] = []
    spans: list[Span] = []
    held: dict[object, int] = {}
    for run in folded(events):
        first = run[0]
        if isinstance(first, Leave):
            _close(spans, held.pop(("call", first.actor, first.step), None), len(steps))
            continue
        if isinstance(first, Enter):
            held["call", first.actor, first.step] = len(spans)
            spans.append(Span(_lane(first), CALL, first.step, len(steps), None))
        if isinstance(first, Lock) and first.taken:
            held["lock", first.name] = len(spans)
            spans.append(Span(_lane(first), LOCK, first.name, len(steps), None))
        elif isinstance(first, Lock):
            _close(spans, held.pop(("lock", first.name), None), len(steps))
        steps.append(Step(_lane(first), words(run), TROUBLE if isinstance(first, Fault) else DONE))
    return Timeline(title, RUN_LANES, tuple(steps), tuple(spans), ending, good)


def of_finding(found: Finding) -> Timeline:
    """The schedule that a search found; ValueError where nothing bad can happen and there is none."""
    if not found.lines:
        raise ValueError("nothing bad can happen in any order of these steps: there is no schedule to show")
    end = found.bad_end.splitlines()
    steps = [Step(cpu, text) for cpu, text in found.lines]
    happened = len(steps)
    steps += [Step(int(match[1]), match[2], TROUBLE) for match in filter(None, map(_CPU.fullmatch, end))]
    spans = list(_spans_of(found.lines))
    spans += [Span(step.lane, WAITS, step.text, place, None) for place, step in enumerate(steps) if place >= happened]
    lanes = tuple(f"CPU {number}" for number in range(len(found.programs)))
    doing = ", ".join(f"{lane}: {program}" for lane, program in zip(lanes, found.programs, strict=True))
    return Timeline(doing, lanes, tuple(steps), tuple(spans), end[0].capitalize() if end else "", good=False)


def _spans_of(lines: Iterable[tuple[int, str]]) -> Iterator[Span]:
    """Locks and interrupts, from the names of the kernel's functions in the steps."""
    spans: list[Span] = []
    held: dict[object, int] = {}
    for place, (cpu, text) in enumerate(lines):
        lock, irq = _SPIN_LOCK.fullmatch(text), _IRQ.fullmatch(text)
        if not (lock or irq):
            continue
        key = (cpu, lock[2] if lock else IRQS_OFF)
        if (lock and lock[1]) or (irq and irq[1] == "restore"):
            _close(spans, held.pop(key, None), place)
        else:
            held[key] = len(spans)
            spans.append(Span(cpu, LOCK if lock else IRQS_OFF, lock[2] if lock else "interrupts off", place, None))
    yield from spans


def _close(spans: list[Span], number: int | None, last: int) -> None:
    if number is not None:
        span = spans[number]
        spans[number] = Span(span.lane, span.kind, span.name, span.first, last)


def _lane(event: Event) -> int:
    if isinstance(event, Enter):
        return RUN_LANES.index("firmware" if event.actor == "firmware" else "kernel")
    if isinstance(event, EntryWrite):
        return RUN_LANES.index("tables")
    return RUN_LANES.index("kernel" if isinstance(event, (Printk, Lock)) else "processor")
