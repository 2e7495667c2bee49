"""Where things stand in the picture: columns that never move, and the heights of rows.

    | 512-GiB blocks | lower tables |  bands  | slots of the top-level table | who asks |
    | the story so far: a lane for the kernel, a lane for the firmware                 |

The kernel's slots hang from the top, the identity slots stand at the bottom beside their blocks, and the empty slots
between them take what is left: so the picture keeps its size while RAM and slots come and go.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..linux.layout import PGDIR_SIZE
from .rows import BlockRow, SlotRow, block_rows, slot_rows
from .state import State

WIDTH = 960
BODY_TOP = 60
MARGIN = 16
LABEL_END = 116
BAR, BAR_END = 124, 300
NODE, NODE_END = 306, 318
LADDER, LADDER_END = 420, 704
GUTTER = 728
PANEL, PANEL_END = 752, 948
ROW, THIN_ROW, LINE_GAP = 26, 18, 16
LEGEND_HEIGHT = 176
BODY_HEIGHT = 432
LANES_HEIGHT = 138


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
    heights = [ROW if row.slots or row.gap or row.first < count else THIN_ROW for row in slots]
    wanted = max(BODY_HEIGHT, sum(heights) + LINE_GAP, len(blocks) * ROW + LINE_GAP + LEGEND_HEIGHT)
    spare = wanted - sum(heights) - LINE_GAP
    stretch = next(k for k, row in enumerate(slots) if row.first >= count and row.empty)
    heights[stretch] += spare
    bottom = float(BODY_TOP + wanted)
    return Places(
        blocks=tuple(zip(blocks, _stack(bottom, [ROW] * len(blocks)), strict=True)),
        slots=tuple(zip(slots, _stack(bottom, heights), strict=True)),
        line=bottom - ROW - LINE_GAP / 2,
        bottom=bottom,
    )


def _stack(bottom: float, heights: list[int]) -> list[Span]:
    """Spans on top of one another, with room for the 512-GiB line above the first."""
    spans: list[Span] = []
    for height in heights:
        spans.append(Span(bottom - height, bottom))
        bottom -= height + (LINE_GAP if len(spans) == 1 else 0)
    return spans
