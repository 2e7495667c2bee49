"""The left and the middle of the picture: blocks of physical memory, the table's slots, and the bands between them."""

from __future__ import annotations

from collections.abc import Iterator

from ..linux.layout import PGDIR_SHIFT, pgd_address
from ..text import gib, ram_words, slot_numbers
from ..uefi.memmap import DESCRIPTOR_SIZE
from ..x86 import Entry
from .places import (
    BAR,
    BAR_END,
    LABEL_END,
    LADDER,
    LADDER_END,
    MARGIN,
    NODE,
    NODE_END,
    Places,
    Span,
    bar_x,
)
from .rows import BlockRow, SlotRow
from .shapes import Circle, Path, Rect, Shape, Text, curve, points
from .state import Slot, State

HATCHED = {"identity": "identity", "direct map": "direct"}
_SMALLEST_RAM, _SMALLEST_HOLE, _HOLE_WORTH_DRAWING = 4.0, 2.5, 1 << 30
_LONE_RAM = 16.0
_TICK_EVERY = 6.0
_NUMBERS_END, _WORDS = 76, 86
_BAND_EDGE = 3


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


def dot_x(pa: int) -> float:
    """The x of a dot at `pa`: inside the bar even at its very ends."""
    return min(max(bar_x(pa), BAR + 7), BAR_END - 7)


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
    yield from _ticks(block.runtime, box)


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


def _ticks(regions: tuple[tuple[int, int], ...], box: Span) -> Iterator[Shape]:
    """A mark at the top edge for each group of runtime regions that lie too close to be told apart."""
    groups: list[list[tuple[int, int]]] = []
    for region in sorted(regions):
        if groups and bar_x(region[0]) - bar_x(groups[-1][0][0]) < _TICK_EVERY:
            groups[-1].append(region)
        else:
            groups.append([region])
    for group in groups:
        x = min(max(bar_x(group[0][0]), BAR + 4), BAR_END - 4)
        tip = f"{len(group)} runtime region{'s' * (len(group) > 1)} of the firmware, from {group[0][0]:#x}"
        corners = points((x - 4, box.top - 1), (x + 4, box.top - 1), (x, box.top + 8))
        yield Path(corners + "Z", "tick", tip)


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
    yield Rect(LADDER, span.top + 1, LADDER_END - LADDER, span.height - 2, f"slot {kind}", _slot_tip(row))
    yield Rect(LADDER, span.top + 1, 12, span.height - 2, f"swatch {kind}")
    if kind in HATCHED.values():
        yield Rect(LADDER, span.top + 1, 12, span.height - 2, f"hatch {kind}")
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
