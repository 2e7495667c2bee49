"""The picture of a timeline: lanes side by side, steps from the top down, and beside them what lasts.

A window of steps around the one that is shown; what has not happened yet is pale.
"""

from __future__ import annotations

from collections.abc import Iterator

from .shapes import Circle, Path, Rect, Scene, Shape, Text, points
from .timeline_state import CALL, IRQS_OFF, LOCK, TROUBLE, WAITS, Span, Step, Timeline

WIDTH, MARGIN = 960, 16
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
    parts = (
        _heads(timeline, now, bottom),
        _rows(timeline, now, shown),
        _spans(timeline, now, shown),
        _steps(timeline, now, shown),
        _legend(timeline, bottom + 24),
    )
    shapes = tuple(shape for part in parts for shape in part)
    return Scene(WIDTH, bottom + 44, title(timeline, now), sentence(timeline, now), shapes)


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
    yield Text(MARGIN, 22, "Timeline", "head")
    yield Text(MARGIN, 42, timeline.title, "small")
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
        yield Rect(*box, _ROLES[span.kind], f"{span.name}: from step {span.first + 1}, {until}")
        if span.kind in _HATCHES:
            yield Rect(*box, f"hatch {_HATCHES[span.kind]}")


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
    letters = int((WIDTH - MARGIN - text_x) / _LETTERS)
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
        short = step.text if len(step.text) <= letters else f"{step.text[: letters - 1]}…"
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


def _legend(timeline: Timeline, y: float) -> Iterator[Shape]:
    there = {span.kind for span in timeline.spans}
    for place, (kind, words) in enumerate(entry for entry in LEGEND if entry[0] in there):
        x = MARGIN + 200 * place
        yield Rect(x, y - 9, _BAR + 2, 18, _ROLES[kind])
        if kind in _HATCHES:
            yield Rect(x, y - 9, _BAR + 2, 18, f"hatch {_HATCHES[kind]}")
        yield Text(x + 20, y + 4, words, "small")
