"""The few words of the main picture that are read from the back of a room, or where two pictures share a screen.

They take the place of all other words, in letters nearly twice as large: which slot, which block, who asks, and the
moment.  The text twin keeps the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...linux.layout import PGDIR_SHIFT
from ...text import slot_numbers
from ..drawing.kit import MARGIN
from ..drawing.shapes import Text
from .places import BODY_TOP, FAR, LABEL_END, LADDER, PANEL, WIDTH, Places, lane_places
from .state import SlotRow, State

_DOWN = 7  # from the middle of a row to the baseline of its letters
_LETTER = 11.5
_VERBS = {"read": "reads", "write": "writes", "fetch": "fetches", "will read": "will read"}


def far(state: State, at: Places) -> Iterator[Text]:
    """The words, each as a line of large letters."""
    yield Text(MARGIN, 26, "Memory", "far")
    yield Text(LADDER, 26, "Page table", "far")
    yield Text(PANEL, 26, "Who asks", "far")
    yield from _blocks(state, at)
    yield from _slots(state, at)
    yield from _asking(state)
    yield from _moment(state, at)


def _blocks(state: State, at: Places) -> Iterator[Text]:
    """The block of the array, that of the byte asked for, and the first one, as far as there is room."""
    wanted = [state.array[0]] if state.array else []
    wanted += [state.ask.pa] if state.ask and state.ask.pa is not None else []
    taken: list[float] = []
    for pa in (*wanted, 0):
        row, span = at.block(pa)
        if _free(span.middle, taken):
            number = pa >> PGDIR_SHIFT if row.first <= pa >> PGDIR_SHIFT <= row.last else row.first
            yield Text(
                LABEL_END, span.middle + _DOWN, f"block {number}" if number < 100 else f"bl. {number}", "far end"
            )


def _slots(state: State, at: Places) -> Iterator[Text]:
    """The slot asked for, or missing, first; then the others, as far as there is room."""

    def order(row: SlotRow) -> tuple[bool, bool, int]:
        asked = state.ask is not None and state.ask.slot is not None and row.first <= state.ask.slot <= row.last
        return not (row.gap or asked), row.role not in ("identity", "direct map"), row.first

    taken: list[float] = []
    for row in sorted((row for row, _ in at.slots if row.slots or row.gap), key=order):
        middle = at.slot(row.first)[1].middle
        if _free(middle, taken):
            what = "empty!" if row.gap else row.role
            looks = "far faulttext" if row.gap else "far"
            yield Text(LADDER + 16, middle + _DOWN, f"{slot_numbers(row.first, row.last)} {what}", looks)


def _free(middle: float, taken: list[float]) -> bool:
    """Whether a line fits there; if so it is taken."""
    if any(abs(middle - other) < FAR for other in taken):
        return False
    taken.append(middle)
    return True


def _asking(state: State) -> Iterator[Text]:
    ask = state.ask
    if ask is None:
        yield Text(PANEL + 14, BODY_TOP + 22, "nobody", "far")
        return
    slot = "no slot" if ask.slot is None else f"by slot {ask.slot}"
    for number, words in enumerate((ask.who, _VERBS[ask.kind], slot)):
        yield Text(PANEL + 14, BODY_TOP + 22 + number * FAR, words, "far")


def _moment(state: State, at: Places) -> Iterator[Text]:
    """The moment that is shown, above its bead or below it."""
    bead, (x, y) = state.moments[state.now], lane_places(state, at)[state.now]
    half = len(bead.label) * _LETTER / 2
    middle = min(max(x, MARGIN + half), WIDTH - MARGIN - half)
    yield Text(middle, y - 18 if bead.actor == "kernel" else y + 32, bead.label, "far middle")
