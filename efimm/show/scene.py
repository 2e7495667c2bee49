"""The main picture: blocks of memory, the slots of the table in force, one arrow, and the story so far."""

from __future__ import annotations

from collections.abc import Iterator

from ..text import gib, slot_numbers
from .places import BODY_TOP, LADDER, MARGIN, PANEL, WIDTH, Places, places
from .rows import slot_rows
from .scene_story import arrow, beads, panel
from .scene_table import HATCHED, bands, blocks, ladder
from .shapes import Circle, Path, Rect, Scene, Shape, Text, points
from .state import State

_LEGEND_STEP = 20


def draw(state: State) -> Scene:
    """The scene of a state.  A pure function: the same state gives the same shapes."""
    at = places(state)
    parts = (
        _heads(state),
        _legend(),
        bands(state, at),
        blocks(state, at),
        ladder(state, at),
        arrow(state, at),
        _dot_again(state, at),
        panel(state),
        beads(state, at),
    )
    shapes = tuple(shape for part in parts for shape in part)
    return Scene(WIDTH, at.height, title(state), description(state), shapes)


def title(state: State) -> str:
    """What the picture is of, in one line."""
    bead = state.moments[state.now]
    return f"Kernel {state.kernel} on {state.machine}; moment: {bead.label} {bead.note}".rstrip()


def description(state: State) -> str:
    """The picture in words, for those who do not see it; the text twin has the rest."""
    filled = ", ".join(slot_numbers(row.first, row.last) for row in slot_rows(state) if row.slots)
    gap = f" Slot {state.gap}, which the pointer needs, is empty." if state.gap is not None else ""
    array = f" The descriptor array is at {state.array[0]:#x}." if state.array else ""
    return (
        f"Physical memory in {len(state.blocks)} blocks of 512 GiB, RAM up to {gib(state.highest_ram)}.{array} "
        f"CR3 points at {state.table}; filled slots: {filled}.{gap} {state.verdict_words}"
    )


def _heads(state: State) -> Iterator[Shape]:
    yield Text(MARGIN, 22, "Physical memory", "head")
    yield Text(MARGIN, 41, f"RAM up to {state.highest_ram:#x} ({gib(state.highest_ram)})", "small")
    yield Text(LADDER, 22, f"Top-level table {state.table}", "head")
    yield Text(LADDER, 41, f"CR3 = {state.table_pa:#x}, 512 slots of 512 GiB", "small")
    yield Text(PANEL, 22, "Who asks", "head")


def _legend() -> Iterator[Shape]:
    """The colours in words, in the free corner above the blocks."""
    x = MARGIN + 6
    rows = (
        ("identity", "identity map: same number on both sides"),
        ("direct", "direct map of all RAM"),
        ("kernel", "other kernel areas"),
    )
    y = BODY_TOP + 12
    for role, words in rows:
        yield Rect(x - 6, y - 7, 20, 14, f"swatch {role}")
        if role in HATCHED.values():
            yield Rect(x - 6, y - 7, 20, 14, f"hatch {role}")
        yield Text(x + 22, y + 4, words, "small")
        y += _LEGEND_STEP
    marks: tuple[tuple[Shape, str], ...] = (
        (Rect(x - 2, y - 8, 12, 16, "node shared"), "lower table that two slots share"),
        (Rect(x - 5, y + _LEGEND_STEP - 6, 18, 12, "gap"), "gap: an empty slot that is needed"),
        (Rect(x + 1, y + 2 * _LEGEND_STEP - 8, 7, 16, "fresh"), "slot just written"),
        (Circle(x + 4, y + 3 * _LEGEND_STEP, 6, "array"), "the array of descriptors"),
        (_tick(x + 4, y + 4 * _LEGEND_STEP), "runtime regions of the firmware"),
    )
    for number, (mark, words) in enumerate(marks):
        yield mark
        yield Text(x + 22, y + number * _LEGEND_STEP + 4, words, "small")


def _tick(x: float, y: float) -> Path:
    return Path(points((x - 4, y - 5), (x + 4, y - 5), (x, y + 4)) + "Z", "tick")


def _dot_again(state: State, at: Places) -> Iterator[Shape]:
    """The array's dot once more, over the arrow."""
    yield from (shape for shape in blocks(state, at) if isinstance(shape, Circle))
