"""A story to play, step through and rewind: a run of the model, or a schedule of several processors.

    kernel  tables  processor  firmware      one lane for each who acts
    CPU 0   CPU 1                            one lane for each processor

Events that belong together make one step.  Steps go from the top down, and beside them stands what lasts: the picture
is a window around the step that is shown, and what has not happened yet is pale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby

from ..locks.finding import Done, Finding
from ..run import Outcome
from ..text import table, wrapped
from ..trace import Access, Enter, EntryWrite, Event, Fault, Leave, Lock, Printk
from .drawing.frames import Frame, Frames
from .drawing.kit import MARGIN, WIDTH, boxed, filled, fitted, heads, joined, legend
from .drawing.shapes import Circle, Path, Rect, Scene, Shape, Text, points

_MOST = 4  # so many steps of a kind may follow one another


def folded(events: Iterable[Event]) -> Iterator[list[Event]]:
    """The events in order, in groups that make a step each.

    Together are: the lines of the console; accesses of one kind to one page; and, where more than a few such steps
    follow one another, all accesses, and all writes to one table.
    """
    close = [list(group) for _, group in groupby(events, key=_alike)]
    for _, groups in groupby(close, key=_related):
        several = list(groups)
        yield from [list(chain(*several))] if len(several) > _MOST else several


def words(run: list[Event]) -> str:
    """A group in words; accesses and writes are counted."""
    first = run[0]
    if isinstance(first, Printk):
        return f"console: {first.text.strip()}" + (f" (and {len(run) - 1} lines more)" if len(run) > 1 else "")
    if len(run) > 1 and isinstance(first, EntryWrite):
        writes = [event for event in run if isinstance(event, EntryWrite)]
        low, high = min(w.index for w in writes), max(w.index + w.count - 1 for w in writes)
        return f"{first.table}[{low}..{high}]: {sum(w.count for w in writes)} entries written"
    if len(run) > 1 and isinstance(first, Access):
        return _accesses([event for event in run if isinstance(event, Access)])
    return first.step if isinstance(first, Enter) else str(first)


def _accesses(run: list[Access]) -> str:
    if len({access.kind for access in run}) == 1 and len({access.pa >> 12 for access in run}) == 1:
        return f"{run[0]} ({len(run)} times, up to {run[-1].va:#x})"
    counts = ", ".join(f"{sum(a.kind == kind for a in run)} {kind}s" for kind in dict.fromkeys(a.kind for a in run))
    return f"cpu: {counts}, from {min(a.va for a in run):#x} to {max(a.va for a in run):#x}"


def _alike(event: Event) -> object:
    """Equal for events that make one step in any case."""
    if isinstance(event, Access):
        return event.kind, event.pa >> 12
    return Printk if isinstance(event, Printk) else id(event)


def _related(group: list[Event]) -> object:
    """Equal for groups that make one step when there are many in a row."""
    first = group[0]
    if isinstance(first, Access):
        return Access
    return first.table if isinstance(first, EntryWrite) else id(first)


RUN_LANES = ("kernel", "tables", "processor", "firmware")
CALL, LOCK, IRQS_OFF, WAITS = "call", "lock", "irqs", "waits"
DONE, TROUBLE = "done", "trouble"

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
    """The run from the step `since` on, a key or a step's words; ValueError where the trace has no such step."""
    events = outcome.trace.events
    start = next(
        (place for place, event in enumerate(events) if isinstance(event, Enter) and since in (event.key, event.step)),
        None,
    )
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
            _close(spans, held.pop(("call", first.actor, first.key), None), len(steps))
            continue
        if isinstance(first, Enter):
            held["call", first.actor, first.key] = len(spans)
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
    steps += [Step(cpu, words, TROUBLE) for cpu, words in found.stopped]
    spans = _spans_of(found.steps)
    spans += [Span(step.lane, WAITS, step.text, place, None) for place, step in enumerate(steps) if place >= happened]
    lanes = tuple(f"CPU {number}" for number in range(len(found.programs)))
    doing = ", ".join(f"{lane}: {program}" for lane, program in zip(lanes, found.programs, strict=True))
    return Timeline(doing, lanes, tuple(steps), tuple(spans), end[0].capitalize() if end else "", good=False)


def _spans_of(steps: Iterable[Done]) -> list[Span]:
    """Locks that are held and interrupts that are off, from the steps' keys."""
    spans: list[Span] = []
    held: dict[object, int] = {}
    for place, step in enumerate(steps):
        what = (step.cpu, step.thing)
        if step.key in ("unlock", "irqs-on"):
            _close(spans, held.pop(what, None), place)
        elif step.key in ("lock", "irqs-off"):
            held[what] = len(spans)
            kind, name = (LOCK, step.thing) if step.key == "lock" else (IRQS_OFF, "interrupts off")
            spans.append(Span(step.cpu, kind, name, place, None))
    return spans


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


ROWS, ROW = 15, 26
_NUMBERS_END, _LANES, _LANE = 50, 64, 92
_TOP, _BAR, _BARS = 86, 10, 4
_LETTERS = 7.4  # width of a letter of the steps' texts, at most
_ROLES = {CALL: "slot other", LOCK: "slot direct", IRQS_OFF: "slot identity", WAITS: "gap"}
_HATCHES = {LOCK: "direct", IRQS_OFF: "identity"}
LEGEND = ((CALL, "inside a step"), (LOCK, "holds a lock"), (IRQS_OFF, "interrupts off"), (WAITS, "waits, or crashed"))


def draw(timeline: Timeline, now: int) -> Scene:
    """The scene right after step `now`.  A pure function; the picture has the same size at every step."""
    rows = min(ROWS, len(timeline.steps))
    first = max(0, min(now - ROWS // 2, len(timeline.steps) - rows))
    shown = range(first, first + rows)
    bottom = _TOP + rows * ROW
    there = {span.kind for span in timeline.spans}
    keys = [(boxed(_BAR + 2, 18, _ROLES[kind], _HATCHES.get(kind, "")), said) for kind, said in LEGEND if kind in there]
    return joined(
        bottom + 44,
        title(timeline, now),
        sentence(timeline, now),
        _heads(timeline, now, bottom),
        _rows(timeline, now, shown),
        _spans(timeline, now, shown),
        _steps(timeline, now, shown),
        legend(keys, MARGIN + _BAR / 2 + 1, bottom + 24, 14, across=200),
    )


def title(timeline: Timeline, now: int) -> str:
    """What the picture is of, in one line."""
    return f"Timeline of {timeline.title}; step {now + 1} of {len(timeline.steps)}"


def sentence(timeline: Timeline, now: int) -> str:
    """The step that is shown and what lasts; the end, where this is the last one."""
    step, last = timeline.steps[now], now == len(timeline.steps) - 1
    said = [f"Step {now + 1} of {len(timeline.steps)}, {timeline.lanes[step.lane]}: {step.text}"]
    held = [
        f"{timeline.lanes[span.lane]} {_VERBS[span.kind]}{span.name}"
        for span in timeline.lasting(now)
        if span.kind in _VERBS
    ]
    said += [", ".join(held)] if held else []
    said += [f"The end: {timeline.ending}"] if last else []
    return ". ".join(part.rstrip(".") for part in said) + "."


_VERBS = {LOCK: "holds ", IRQS_OFF: "has "}


def lane_x(lane: int) -> float:
    """Where a lane begins."""
    return _LANES + lane * _LANE


def _heads(timeline: Timeline, now: int, bottom: float) -> Iterator[Shape]:
    yield from heads("Timeline", timeline.title)
    yield Text(_NUMBERS_END, _TOP - 12, "step", "small end muted")
    for lane, name in enumerate(timeline.lanes):
        active = lane == timeline.steps[now].lane
        yield Text(lane_x(lane), _TOP - 12, name, "small strong" if active else "small")
        middle = lane_x(lane) + _BARS * _BAR + 14
        yield Path(points((middle, _TOP), (middle, bottom)), "lane")


def _rows(timeline: Timeline, now: int, shown: range) -> Iterator[Shape]:
    """What lies under each row: it says the step in full, and marks the one that is shown."""
    for number in shown:
        step, y = timeline.steps[number], _TOP + (number - shown.start) * ROW
        whole = f"step {number + 1}, {timeline.lanes[step.lane]}: {step.text}"
        yield Rect(MARGIN, y + 1, WIDTH - 2 * MARGIN, ROW - 2, "now item" if number == now else "row item", whole)


def _spans(timeline: Timeline, now: int, shown: range) -> Iterator[Shape]:
    """What lasts, as bars beside the lane; the part that has not happened yet is left out."""
    for span, level in zip(timeline.spans, _levels(timeline.spans), strict=True):
        end = len(timeline.steps) if span.last is None else span.last
        first, last = max(span.first, shown.start), min(end, now + 1, shown.stop)
        if first >= last or level >= _BARS:
            continue
        x, y = lane_x(span.lane) + level * _BAR, _TOP + (first - shown.start) * ROW
        box = (x, y + 2, _BAR - 2, (last - first) * ROW - 4)
        until = "never ends" if span.last is None else f"to step {span.last}"
        bar = Rect(*box, _ROLES[span.kind], f"{span.name}: from step {span.first + 1}, {until}")
        yield from filled(bar, _HATCHES.get(span.kind, ""))


def _levels(spans: tuple[Span, ...]) -> list[int]:
    """For each span the first place beside its lane that is free for as long as it lasts."""
    taken: dict[tuple[int, int], int | None] = {}
    levels = []
    for span in spans:
        level = 0
        while (span.lane, level) in taken and not _is_over(taken[span.lane, level], span.first):
            level += 1
        taken[span.lane, level] = span.last
        levels.append(level)
    return levels


def _is_over(last: int | None, by: int) -> bool:
    return last is not None and last <= by


def _steps(timeline: Timeline, now: int, shown: range) -> Iterator[Shape]:
    text_x = lane_x(len(timeline.lanes)) + 4
    for number in shown:
        step, y = timeline.steps[number], _TOP + (number - shown.start) * ROW
        middle = y + ROW / 2
        yield Text(
            _NUMBERS_END, middle + 4, str(number + 1), "small end strong" if number == now else "small end muted"
        )
        dot = lane_x(step.lane) + _BARS * _BAR + 14
        if number == now:
            yield Circle(dot, middle, 10, "here")
        yield Circle(dot, middle, 5.5, _bead(step, happened=number <= now))
        short = fitted(step.text, WIDTH - MARGIN - text_x, _LETTERS)
        yield Text(text_x, middle + 4, short, _looks(step, number, now))


def _bead(step: Step, *, happened: bool) -> str:
    if not happened:
        return "bead never" if step.kind == TROUBLE else "bead later"
    return "bead fault" if step.kind == TROUBLE else "bead kernel"


def _looks(step: Step, number: int, now: int) -> str:
    if number > now:
        return "small muted"
    trouble = " faulttext" if step.kind == TROUBLE else ""
    return f"small strong{trouble}" if number == now else f"small{trouble}"


def describe(timeline: Timeline, now: int) -> str:
    """All steps up to `now`, each with its lane; then what lasts."""
    rows = [
        (f"{'>' if number == now else ' '}{number + 1:>4}", timeline.lanes[step.lane], step.text)
        for number, step in enumerate(timeline.steps[: now + 1])
    ]
    width = max(map(len, timeline.lanes))
    return "\n".join([*wrapped(timeline.title), *table(rows, 5, width), "", *wrapped(sentence(timeline, now), 0)])


def timeline_view(what: Outcome | Finding, since: str = "efi_enter_virtual_mode") -> Frames:
    """The steps of `what` in lanes, at the first one; a run begins at the kernel's step `since`.

    Raises ValueError for a run without that step, and for a search that found nothing bad: it has no schedule.
    """
    story = of_outcome(what, since) if isinstance(what, Outcome) else of_finding(what)
    return Frames([frame(story, now) for now in range(len(story.steps))], playable=True)


def frame(story: Timeline, now: int) -> Frame:
    """One step, as picture and as text."""
    good = story.steps[now].kind != TROUBLE and (story.good or now < len(story.steps) - 1)
    return Frame(draw(story, now), describe(story, now), sentence(story, now), good)
