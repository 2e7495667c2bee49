"""The main picture: blocks of memory, the slots of the table in force, one arrow, and the story so far.

    | 512-GiB blocks | lower tables |  bands  | slots of the top-level table | who asks |
    | the story so far: a lane for the kernel, a lane for the firmware                 |

Columns never move.  The kernel's slots hang from the top, the identity slots stand at the bottom beside their blocks,
and the empty slots between them take what is left: so the picture keeps its size while RAM and slots come and go.  It
is as high as fits a laptop's screen with its controls: many rows are lower ones, and the legend is a scene of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from textwrap import wrap

from ...linux.layout import PGDIR_SHIFT, pgd_address
from ...run import Outcome
from ...text import gib, ram_words, slot_numbers
from ...uefi.memmap import DESCRIPTOR_SIZE
from ...x86 import Entry
from ...x86.memory import GIB
from ..drawing.kit import MARGIN, boxed, filled, fitted, heads, joined, legend, tick, ticks
from ..drawing.shapes import Circle, Path, Rect, Scene, Shape, Text, curve, points
from ..drawing.svg import Picture
from .far import far
from .moments import Moment
from .places import (
    BAR,
    BAR_END,
    BODY_TOP,
    GUTTER,
    LABEL_END,
    LADDER,
    LADDER_END,
    LANE_START,
    LANES,
    LEGEND_HEIGHT,
    NODE,
    NODE_END,
    PANEL,
    PANEL_END,
    WIDTH,
    Places,
    Span,
    bar_x,
    dot_x,
    lane_places,
    places,
)
from .state import Ask, BlockRow, Slot, SlotRow, State, describe, slot_rows, state_of

HATCHED = {"identity": "identity", "direct map": "direct"}
_SMALLEST_RAM, _SMALLEST_HOLE, _HOLE_WORTH_DRAWING = 4.0, 2.5, GIB
_LONE_RAM = 16.0
_NUMBERS_END, _WORDS = 76, 86
_BAND_EDGE = 3
_LINE = 17
_CONSOLE_COLUMNS = 24
_VERBS = {"read": "reads", "write": "writes", "fetch": "fetches code at", "will read": "is about to read"}


def draw(state: State) -> Scene:
    """The scene of a state.  A pure function: the same state gives the same shapes."""
    at = places(state)
    return joined(
        at.height,
        title(state),
        description(state),
        _heads(state),
        bands(state, at),
        blocks(state, at),
        ladder(state, at),
        arrow(state, at),
        _dot_again(state, at),
        panel(state),
        beads(state, at),
        width=WIDTH,
        far=far(state, at),
    )


def with_legend(scene: Scene) -> Scene:
    """A scene with the legend below it."""
    height = scene.height + LEGEND_HEIGHT
    return replace(scene, height=height, shapes=(*scene.shapes, *_legend(scene.height + 12)))


def legend_alone() -> Scene:
    """The colours in words."""
    words = "What the colours and marks of the picture mean"
    return joined(LEGEND_HEIGHT, "Legend", words, _legend(12), width=WIDTH)


def title(state: State) -> str:
    """What the picture is of, in one line."""
    bead = state.moments[state.now]
    moment = f"{bead.label} {bead.note}".rstrip()
    return f"Kernel {state.kernel} on {state.machine}, firmware {state.firmware}; moment: {moment}"


def description(state: State) -> str:
    """The picture in words, for those who do not see it; the text twin has the rest."""
    there = ", ".join(slot_numbers(row.first, row.last) for row in slot_rows(state) if row.slots)
    gap = f" Slot {state.gap}, which the pointer needs, is empty." if state.gap is not None else ""
    array = f" The descriptor array is at {state.array[0]:#x}." if state.array else ""
    return (
        f"Physical memory in {len(state.blocks)} blocks of 512 GiB, RAM up to {gib(state.highest_ram)}.{array} "
        f"CR3 points at {state.table}; filled slots: {there}.{gap} {state.headline}"
    )


def picture(outcome: Outcome, moment: Moment | str | None = None) -> Picture:
    """The main picture of `outcome` right after `moment`, to be shown in a notebook.

    `moment` is one of `moments(outcome)`, its key or its label ("prelog"); None for the decisive one.
    """
    state = state_of(outcome, moment)
    return Picture(with_legend(draw(state)), describe(state), state.headline, good=state.good)


def role_class(role: str) -> str:
    """The CSS class of a slot's role: the kernel's areas other than the direct map look alike."""
    return HATCHED.get(role, "other" if role == "other" else "kernel")


def blocks(state: State, at: Places) -> Iterator[Shape]:
    """The stack of blocks, the 512-GiB line, the runtime regions, and the dot of the array."""
    yield Path(points((MARGIN + 58, at.line), (LADDER_END, at.line)), "line512", "the end of the first 512 GiB")
    yield Text(MARGIN, at.line + 4, "512 GiB", "small strong")
    for row, span in at.blocks:
        yield from _block(state, row, span)
    if state.array:
        start, end = state.array
        count = (end - start) // DESCRIPTOR_SIZE
        tip = f"the array: {end - start} bytes at {start:#x} ({gib(start)}), room for {count} descriptors"
        yield Circle(dot_x(start), at.block(start)[1].middle, 6, "array", tip)


def _block(state: State, row: BlockRow, span: Span) -> Iterator[Shape]:
    block = state.blocks[row.first]
    many = row.last > row.first
    where = f"{gib(row.first << PGDIR_SHIFT)} to {gib(row.last + 1 << PGDIR_SHIFT)}".replace("0 GiB to", "0 to")
    tip = f"block{'s' * many} {slot_numbers(row.first, row.last)}, {where}: {ram_words(block.ram_bytes)}"
    box = Span(span.top + 2, span.bottom - 2)
    yield Text(LABEL_END, span.middle + 4, f"block{'s' * many} {slot_numbers(row.first, row.last)}", "small end")
    yield Rect(BAR, box.top, BAR_END - BAR, box.height, "hole", tip)
    for x, end, ram_tip in _ram_pieces(block.ram):
        yield Rect(x, box.top, end - x, box.height, "ram", f"{tip}; {ram_tip}")
    if many:
        for y in (box.top + 4, box.bottom - 4):
            yield Path(points((BAR, y), (BAR_END, y)), "foldline")
    if many or not block.ram:
        words = f"{row.last - row.first + 1} alike: {ram_words(block.ram_bytes)}" if many else "no RAM"
        yield Text((BAR + BAR_END) / 2, span.middle + 4, words, "small middle")
    yield Rect(BAR, box.top, BAR_END - BAR, box.height, "outline")
    yield from ticks(sorted(block.runtime), box.top + 4, bar_x, (BAR, BAR_END))


def _ram_pieces(ram: tuple[tuple[int, int], ...]) -> Iterator[tuple[float, float, str]]:
    """(x, end, words) of each piece of RAM; what would be too thin to see, a hole of a GiB too, is drawn wider."""
    joined: list[tuple[int, int]] = []
    for start, end in ram:
        if joined and start - joined[-1][1] < _HOLE_WORTH_DRAWING:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    smallest = _LONE_RAM if len(joined) == 1 else _SMALLEST_RAM
    free_from = float(BAR)
    for start, end in joined:
        x = min(max(bar_x(start), free_from), BAR_END - smallest)
        x_end = min(max(BAR + (bar_x(end - 1) - BAR), x + smallest), BAR_END)
        yield x, x_end, f"RAM {start:#x} to {end:#x}"
        free_from = x_end + _SMALLEST_HOLE


def ladder(state: State, at: Places) -> Iterator[Shape]:
    """The slots of the table, folded, from slot 0 at the bottom to slot 511 at the top."""
    for row, span in at.slots:
        if row.empty:
            yield from _empty_row(state, row, span)
        else:
            yield from _filled_row(state, row, span)


def _empty_row(state: State, row: SlotRow, span: Span) -> Iterator[Shape]:
    words, looks = "empty", "muted"
    box = Rect(LADDER, span.top + 1, LADDER_END - LADDER, span.height - 2, "empty", "")
    if row.gap:
        entry = state.ask.steps[0][2] if state.ask and state.ask.slot == row.first else 0
        words, looks = (f"empty: PGD {entry:x}" if state.failed else "empty, but needed"), "faulttext strong"
        box = Rect(LADDER + 1, span.top + 2, LADDER_END - LADDER - 2, span.height - 4, "gap", "the pointer needs this")
    yield box
    yield Text(LADDER + _NUMBERS_END, span.middle + 4, slot_numbers(row.first, row.last), f"small end {looks}")
    yield Text(LADDER + _WORDS, span.middle + 4, words, f"small {looks}")


def _filled_row(state: State, row: SlotRow, span: Span) -> Iterator[Shape]:
    kind = role_class(row.role)
    asked = state.ask is not None and state.ask.slot is not None and row.first <= state.ask.slot <= row.last
    box = Rect(LADDER, span.top + 1, LADDER_END - LADDER, span.height - 2, f"slot {kind}", _slot_tip(row))
    yield from filled(box, kind if kind in HATCHED.values() else "", strip=12, swatch=kind)
    yield Text(LADDER + _NUMBERS_END, span.middle + 4, slot_numbers(row.first, row.last), "small end strong")
    yield Text(LADDER + _WORDS, span.middle + 4, row.what, "small")
    if any(slot.fresh for slot in row.slots):
        yield Rect(LADDER_END - 7, span.top + 1, 7, span.height - 2, "fresh", "written since the moment before")
    if asked:
        yield Rect(LADDER, span.top + 1, LADDER_END - LADDER, span.height - 2, "asked")


def _slot_tip(row: SlotRow) -> str:
    first, last = row.slots[0], row.slots[-1]
    where = f"addresses from {pgd_address(row.first):#x} lead to {first.low:#x} to {max(first.high, last.high):#x}"
    return f"slot {slot_numbers(row.first, row.last)}: {Entry(first.entry)}; {where}"


def bands(state: State, at: Places) -> Iterator[Shape]:
    """From each slot to its lower table, and from there to the blocks; slots that share a table run into one."""
    for row, span in at.slots:
        if row.slots and role_class(row.role) == "kernel":
            target = at.block(row.slots[0].low)[1].middle
            path = curve(LADDER, span.middle, BAR_END + 2, target)
            yield Path(path, "thread", f"{row.what}: leads to {row.slots[0].low:#x}")
    nodes = _nodes(at)
    for row, span in at.slots:
        if row.slots and role_class(row.role) != "kernel":
            yield from _band(row, span, nodes[row.slots[0].table])
    for table, span in nodes.items():
        users = [slot for slot in state.slots.values() if slot.table == table]
        yield from _node(users, span)


def node_span(at: Places, slot: Slot) -> Span:
    """Where the lower table of `slot` stands: beside the block it leads to."""
    return _nodes(at).get(slot.table) or at.block(slot.low)[1]


def _nodes(at: Places) -> dict[int, Span]:
    """Each lower table of a band, with its place; tables that lead to the same block stand above one another."""
    beside: dict[float, list[int]] = {}
    spans: dict[float, Span] = {}
    for row, _ in at.slots:
        if row.slots and role_class(row.role) != "kernel":
            span = at.block(row.slots[0].low)[1]
            spans[span.top] = span
            tables = beside.setdefault(span.top, [])
            if row.slots[0].table not in tables:
                tables.append(row.slots[0].table)
    places = {}
    for top, tables in beside.items():
        whole = spans[top]
        part = (whole.height - 2 * _BAND_EDGE) / len(tables)
        for k, table in enumerate(tables):
            low = whole.bottom - _BAND_EDGE - k * part
            places[table] = Span(low - part, low)
    return places


def _band(row: SlotRow, span: Span, node: Span) -> Iterator[Shape]:
    top, bottom = span.top + _BAND_EDGE, span.bottom - _BAND_EDGE
    upper = curve(LADDER, top, NODE_END, node.top)
    lower = curve(NODE_END, node.bottom, LADDER, bottom, first=False)
    area = f"{upper}L{NODE_END} {node.bottom:g}{lower}Z"
    kind = role_class(row.role)
    yield Path(area, f"band {kind}", _slot_tip(row))
    if kind in HATCHED.values():
        yield Path(area, f"hatch {kind}")


def _node(users: list[Slot], span: Span) -> Iterator[Shape]:
    numbers = " and ".join(str(slot.index) for slot in users)
    shared = len(users) > 1
    tip = f"the lower table at {users[0].table:#x}, used by slot{'s' * shared} {numbers}"
    yield Rect(BAR_END, span.top, NODE - BAR_END, span.height, "stem")
    yield Rect(NODE, span.top, NODE_END - NODE, span.height, f"node {'shared' if shared else ''}".strip(), tip)


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
    lanes = {actor: at.bottom + down for actor, down in LANES.items()}
    for actor, y in lanes.items():
        yield Text(MARGIN, y + 4, actor, "small")
        yield Path(points((LANE_START, y), (PANEL_END, y)), "lane")
    stand = lane_places(state, at)
    ran = [place for place, moment in zip(stand, state.moments, strict=True) if moment.index is not None]
    for number, (start, end) in enumerate(pairwise(ran)):
        yield Path(curve(*start, *end), "string done" if number < state.now else "string")
    for number, moment in enumerate(state.moments):
        yield from _bead(state, number, moment, *stand[number])


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
    top = y - 17 - 14 * (len(lines) - 1) if up else y + 25
    for place, part in enumerate(lines):
        color = " faulttext" if looks in {"fault", "never"} else ""
        yield Text(x, top + 14 * place, part, f"small middle{' strong' if here else ''}{color}")


def _heads(state: State) -> Iterator[Shape]:
    yield from heads("Physical memory", f"RAM up to {state.highest_ram:#x} ({gib(state.highest_ram)})")
    yield from heads(f"Top-level table {state.table}", f"CR3 = {state.table_pa:#x}, 512 slots of 512 GiB", LADDER)
    yield from heads("Who asks", fitted(f"firmware {state.firmware}", PANEL_END - PANEL, 6.6), PANEL)


def _legend(top: float) -> Iterator[Shape]:
    """The colours in words, in three columns."""
    keys = (
        (boxed(20, 14, "swatch identity", "identity"), "identity map: same number on both sides"),
        (boxed(20, 14, "swatch direct", "direct"), "direct map of all RAM"),
        (boxed(20, 14, "swatch kernel"), "other kernel areas"),
        (boxed(12, 16, "node shared"), "lower table that two slots share"),
        (boxed(18, 12, "gap"), "gap: an empty slot that is needed"),
        (boxed(7, 16, "fresh"), "slot just written"),
        (lambda x, y: (Circle(x, y, 6, "array"),), "the array of descriptors"),
        (tick, "runtime regions of the firmware"),
    )
    for column in range(3):
        yield from legend(keys[column * 3 : column * 3 + 3], MARGIN + 10 + column * 300, top + 4, 18, down=20)


def _dot_again(state: State, at: Places) -> Iterator[Shape]:
    """The array's dot once more, over the arrow."""
    yield from (shape for shape in blocks(state, at) if isinstance(shape, Circle))
