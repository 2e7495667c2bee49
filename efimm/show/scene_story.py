"""The right and the lower edge of the picture: who asks, the one arrow, what the console says, and the beads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from textwrap import wrap

from .moments import Moment
from .places import (
    BODY_TOP,
    GUTTER,
    LADDER,
    LADDER_END,
    MARGIN,
    NODE_END,
    PANEL,
    PANEL_END,
    WIDTH,
    Places,
)
from .scene_table import dot_x, node_span
from .shapes import Circle, Path, Rect, Shape, Text, curve, points
from .state import Ask, State

_LINE = 17
_CONSOLE_COLUMNS = 24
_BEADS, _BEADS_END = 112, 912
_VERBS = {"read": "reads", "write": "writes", "fetch": "fetches code at", "will read": "is about to read"}


def panel(state: State) -> Iterator[Shape]:
    """The box of who asks, with the pointer it was given, and below it the console after a fault."""
    lines = [*_asking(state)]
    height = len(lines) * _LINE + 14
    looks = state.ask.who if state.ask else "nobody"
    yield Rect(PANEL, BODY_TOP, PANEL_END - PANEL, height, f"panel {looks}")
    if state.ask:
        yield Rect(PANEL, BODY_TOP, 6, height, f"edge {looks}")
    for number, (words, role) in enumerate(lines):
        yield Text(PANEL + 14, BODY_TOP + 19 + number * _LINE, words, role)
    if state.console:
        yield from _console(state.console, BODY_TOP + height + 14)


def _asking(state: State) -> Iterator[tuple[str, str]]:
    ask = state.ask
    if ask is None:
        yield "nobody, at this moment", "small muted"
        return
    yield ask.who, "head"
    if ask.who == "firmware":
        late = state.moments[state.now].key == "get_time"
        yield "in GetTime" if late else "in SetVirtualAddressMap", "small"
        if not late and state.pointer is not None:
            yield "was given the pointer", "small"
            yield f"{state.pointer:#x}", "mono"
    yield _VERBS[ask.kind] if ask.slot is not None else "reads from", "small"
    yield f"{ask.va:#x}", "mono strong"
    if ask.slot is None:
        yield "which is no address", "small"
    else:
        yield f"{'for that it needs' if ask.slot == state.gap else 'by way of'} slot {ask.slot}", "small"


def _console(lines: tuple[str, ...], top: float) -> Iterator[Shape]:
    cut = [part for line in lines if not _is_idle(line) for part in wrap(line, _CONSOLE_COLUMNS)]
    height = (len(cut) + 1) * _LINE + 14
    yield Rect(PANEL, top, PANEL_END - PANEL, height, "console", "\n".join(lines))
    yield Text(PANEL + 10, top + 19, "the console says", "small consolehead")
    for number, words in enumerate(cut):
        yield Text(PANEL + 10, top + 19 + (number + 1) * _LINE, words, "mono consoletext")


def _is_idle(line: str) -> bool:
    """True for the lines of an oops that say nothing about the address."""
    return line.startswith(("IP:", "Oops:", "Kernel panic"))


def arrow(state: State, at: Places) -> Iterator[Shape]:
    """From who asks to the slot; and from there through the lower table to the byte, or to where the walk stops."""
    ask = state.ask
    if ask is None:
        return
    start = BODY_TOP + 30
    looks = _looks(state, ask)
    if ask.slot is None:
        yield Path(points((PANEL, start), (GUTTER, start)), looks)
        yield from _cross(GUTTER - 8, start)
        return
    y = at.slot(ask.slot)[1].middle
    end = LADDER_END + (18 if ask.slot == state.gap else 3)
    yield Path(_elbow(start, y, end), looks)
    if ask.slot == state.gap:
        if ask.kind != "will read":
            yield from _cross(LADDER_END + 9, y)
        else:
            yield _head(LADDER_END + 9, y, looks)
        return
    yield _head(LADDER_END + 1, y, looks)
    yield from _onward(state, at, ask, looks)


def _onward(state: State, at: Places, ask: Ask, looks: str) -> Iterator[Shape]:
    """From the slot to the left."""
    slot = state.slots[ask.slot or 0]
    y, node = at.slot(slot.index)[1].middle, node_span(at, slot).middle
    if ask.pa is None:
        yield Path(curve(LADDER, y, NODE_END + 12, node), looks)
        yield from _cross(NODE_END + 6, node)
        return
    x, target = dot_x(ask.pa), at.block(ask.pa)[1].middle
    in_array = state.array is not None and state.array[0] <= ask.pa < state.array[1]
    yield Path(f"{curve(LADDER, y, NODE_END, node)}L{NODE_END - 18} {target:g}L{x + 15:g} {target:g}", looks)
    yield _head(x + 7, target, looks)
    if not in_array:
        yield Circle(x, target, 5, "target", f"physical {ask.pa:#x}")
    if state.failed:
        yield from _cross(x + 22, target)


def _looks(state: State, ask: Ask) -> str:
    if state.failed:
        return "arrow fault"
    return f"arrow {ask.who}" + (" pending" if ask.kind == "will read" else "")


def _elbow(start: float, y: float, end: float) -> str:
    """From the panel to the gutter, along it, and to `end`, with round corners."""
    turn = 8 if y > start else -8
    if abs(y - start) < 2 * abs(turn):
        return points((PANEL, start), (GUTTER, start), (GUTTER, y), (end, y))
    down = f"Q{GUTTER} {start} {GUTTER} {start + turn}L{GUTTER} {y - turn:g}"
    return f"M{PANEL} {start}L{GUTTER + 8} {start}{down}Q{GUTTER} {y:g} {GUTTER - 8} {y:g}L{end} {y:g}"


def _head(x: float, y: float, looks: str) -> Shape:
    """An arrowhead that points left, its tip at x."""
    return Path(points((x, y), (x + 10, y - 5), (x + 10, y + 5)) + "Z", looks.replace("arrow", "head-of"))


def _cross(x: float, y: float) -> Iterator[Shape]:
    yield Path(f"{points((x - 6, y - 6), (x + 6, y + 6))}{points((x - 6, y + 6), (x + 6, y - 6))}", "cross")


def beads(state: State, at: Places) -> Iterator[Shape]:
    """The moments on two lanes: down into the firmware with the call, up again with the return, if there is one."""
    lanes = {"kernel": at.bottom + 56, "firmware": at.bottom + 90}
    step = min((_BEADS_END - _BEADS) / max(len(state.moments) - 1, 1), 100)
    xs = [_BEADS + step * number for number in range(len(state.moments))]
    for actor, y in lanes.items():
        yield Text(MARGIN, y + 4, actor, "small")
        yield Path(points((_BEADS - 20, y), (WIDTH - MARGIN, y)), "lane")
    places = [(x, lanes[moment.actor]) for x, moment in zip(xs, state.moments, strict=True)]
    ran = [place for place, moment in zip(places, state.moments, strict=True) if moment.index is not None]
    for number, (start, end) in enumerate(pairwise(ran)):
        yield Path(curve(*start, *end), "string done" if number < state.now else "string")
    for number, moment in enumerate(state.moments):
        yield from _bead(state, number, moment, *places[number])


def _bead(state: State, number: int, moment: Moment, x: float, y: float) -> Iterator[Shape]:
    looks = "never" if moment.index is None else moment.actor
    if moment.key == "fault":
        looks = "fault"
    here = number == state.now
    words = f"{moment.label} {moment.note}".strip()
    if here:
        yield Circle(x, y, 12, "here")
    yield Circle(x, y, 7, f"bead {looks}", words, -1 if moment.index is None else number)
    up = moment.actor == "kernel"
    lines = [part for part in (moment.label, moment.note) if part]
    top = y - 18 - 14 * (len(lines) - 1) if up else y + 26
    for place, part in enumerate(lines):
        color = " faulttext" if looks in {"fault", "never"} else ""
        yield Text(x, top + 14 * place, part, f"small middle{' strong' if here else ''}{color}")
