"""Where every row of the main picture stands: columns that never move, and rows that share out one height."""

from __future__ import annotations

from dataclasses import dataclass

from ...linux.layout import PGDIR_SIZE
from .state import BlockRow, SlotRow, State, block_rows, slot_rows

WIDTH = 912
BODY_TOP = 52
LABEL_END = 108
BAR, BAR_END = 116, 292
NODE, NODE_END = 298, 310
LADDER, LADDER_END = 380, 664
GUTTER = 686
PANEL, PANEL_END = 704, 900
ROW, LOW_ROW, THIN_ROW, LOW_THIN_ROW, LINE_GAP = 26, 16, 18, 14, 12
BODY_HEIGHT = 332
LANES_HEIGHT = 122
LANES = {"kernel": 48, "firmware": 78}  # how far below the body
LANE_START, BEADS, BEADS_END = 88, 108, 860
LEGEND_HEIGHT = 66
# On a phone the body stands in these parts, one below the other: name, left edge, width.
PARTS = (("memory", 0, 312), ("slots of the top-level table", LADDER - 10, 300), ("who asks", GUTTER + 8, 306))
FAR = 24  # from one line of the letters for the back of a room to the next


@dataclass(frozen=True, slots=True)
class Span:
    """From `top` to `bottom`, downwards."""

    top: float
    bottom: float

    @property
    def middle(self) -> float:
        """Half-way."""
        return (self.top + self.bottom) / 2

    @property
    def height(self) -> float:
        """How high it is."""
        return self.bottom - self.top


@dataclass(frozen=True, slots=True)
class Places:
    """The rows of a picture, from the bottom up, each with its span; `bottom` is where both stacks stand."""

    blocks: tuple[tuple[BlockRow, Span], ...]
    slots: tuple[tuple[SlotRow, Span], ...]
    line: float
    bottom: float

    @property
    def height(self) -> int:
        """The height of the whole picture."""
        return int(self.bottom + LANES_HEIGHT)

    def block(self, pa: int) -> tuple[BlockRow, Span]:
        """The row of the block around physical address `pa`."""
        index = pa // PGDIR_SIZE
        return next((row, span) for row, span in self.blocks if row.first <= index <= row.last)

    def slot(self, index: int) -> tuple[SlotRow, Span]:
        """The row of slot `index`."""
        return next((row, span) for row, span in self.slots if row.first <= index <= row.last)


def bar_x(pa: int) -> float:
    """The x of physical address `pa` in its block's bar."""
    return BAR + pa % PGDIR_SIZE / PGDIR_SIZE * (BAR_END - BAR)


def places(state: State) -> Places:
    """Where every row of `state` stands."""
    blocks, slots = block_rows(state), slot_rows(state)
    count = len(state.blocks)
    # A slot beside a block is as high as the block: that is what makes an identity map a level band.
    tall = [bool(row.slots or row.gap or row.first < count) for row in slots]
    high, thin = _heights(sum(tall), len(slots) - sum(tall))
    heights = [high if one else thin for one in tall]
    wanted = max(BODY_HEIGHT, sum(heights) + LINE_GAP, len(blocks) * high + LINE_GAP)
    stretch = next(k for k, row in enumerate(slots) if row.first >= count and row.empty)
    heights[stretch] += wanted - sum(heights) - LINE_GAP
    bottom = float(BODY_TOP + wanted)
    return Places(
        blocks=tuple(zip(blocks, _stack(bottom, [high] * len(blocks)), strict=True)),
        slots=tuple(zip(slots, _stack(bottom, heights), strict=True)),
        line=bottom - high - LINE_GAP / 2,
        bottom=bottom,
    )


def _heights(tall: int, thin: int) -> tuple[int, int]:
    """How high a row is, and a thin one: as high as there is room for, and never too low for its letters."""
    room = BODY_HEIGHT - LINE_GAP
    high = min((room - thin * THIN_ROW) // tall, ROW)
    return (high, THIN_ROW) if high >= LOW_ROW else (max((room - thin * LOW_THIN_ROW) // tall, LOW_ROW), LOW_THIN_ROW)


def _stack(bottom: float, heights: list[int]) -> list[Span]:
    """Spans on top of one another, with room for the 512-GiB line above the first."""
    spans: list[Span] = []
    for height in heights:
        spans.append(Span(bottom - height, bottom))
        bottom -= height + (LINE_GAP if len(spans) == 1 else 0)
    return spans


def dot_x(pa: int) -> float:
    """The x of a dot at `pa`: inside the bar even at its very ends."""
    return min(max(bar_x(pa), BAR + 7), BAR_END - 7)


def lane_places(state: State, at: Places) -> list[tuple[float, float]]:
    """Where each bead stands, on the lane of who acts."""
    step = min((BEADS_END - BEADS) / max(len(state.moments) - 1, 1), 88)
    return [(BEADS + step * number, at.bottom + LANES[bead.actor]) for number, bead in enumerate(state.moments)]
