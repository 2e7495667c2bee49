"""The picture's text twin: the same state in at most 72 columns, for a terminal, a mail, or a screen reader."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from ...linux.layout import PGDIR_SHIFT
from ...run import Outcome
from ...text import COLUMNS, gib, ram_words, slot_numbers
from .moments import Moment
from .state import BlockRow, SlotRow, State, block_rows, slot_rows, state_of


def twin(outcome: Outcome, moment: Moment | str | None = None) -> str:
    """`outcome` right after `moment` as text; None for the decisive moment."""
    return describe(state_of(outcome, moment))


def describe(state: State) -> str:
    """The state as lines: verdict, blocks, slots from the highest down, who asks, moments."""
    return "\n".join(line for part in _parts(state) for line in part)


def _parts(state: State) -> Iterator[list[str]]:
    bead = state.moments[state.now]
    yield _wrapped(f"kernel {state.kernel} on {state.machine}")
    yield _wrapped(state.verdict_words)
    yield _wrapped(f"moment: {bead.label} {bead.note}".rstrip())
    yield ["", f"physical memory, RAM up to {state.highest_ram:#x} ({gib(state.highest_ram)})"]
    yield [line for row in reversed(block_rows(state)) for line in _row(_block(state, row))]
    yield ["", f"top-level table {state.table}, CR3 = {state.table_pa:#x}"]
    yield [line for row in reversed(slot_rows(state)) if row.slots or row.gap for line in _row(_slot(row))]
    yield ["", *_asking(state)]
    yield _wrapped("moments: " + ", ".join(_moment(state, number) for number in range(len(state.moments))))


def _block(state: State, row: BlockRow) -> str:
    block = state.blocks[row.first]
    marks = [ram_words(block.ram_bytes) + (" each" if row.last > row.first else "")]
    if block.runtime:
        marks.append(f"{len(block.runtime)} runtime regions" if len(block.runtime) > 1 else "1 runtime region")
    if state.array and row.first <= state.array[0] >> PGDIR_SHIFT <= row.last:
        marks.append(f"array at {state.array[0]:#x}")
    return f"  block {slot_numbers(row.first, row.last):<9} {', '.join(marks)}"


def _slot(row: SlotRow) -> str:
    if row.gap:
        return f"  slot  {slot_numbers(row.first, row.last):<9} GAP: empty, but needed"
    first, last = row.slots[0], row.slots[-1]
    new = " (just written)" if any(slot.fresh for slot in row.slots) else ""
    blocks = slot_numbers(first.low >> PGDIR_SHIFT, max(last.high - 1, last.low) >> PGDIR_SHIFT)
    return f"  slot  {slot_numbers(row.first, row.last):<9} {row.what} -> block {blocks}{new}"


def _asking(state: State) -> Iterator[str]:
    ask = state.ask
    if ask is None:
        yield "arrow: none, nobody asks at this moment"
        return
    slot = f" -> slot {ask.slot}" if ask.slot is not None else ""
    yield f"arrow: {ask.who}, {ask.kind} {ask.va:#x}{slot}"
    if ask.pa is not None:
        yield f"       -> physical {ask.pa:#x}, block {ask.pa >> PGDIR_SHIFT}"
    else:
        walked = " ".join(f"{level.upper()} {entry:x}" for level, _, entry in ask.steps)
        yield f"       -> nowhere: {ask.problem}{', ' + walked if walked else ''}"
    for line in state.console[:1] if ask.pa is None or state.console else ():
        yield from _wrapped(f"console: {line}")


def _moment(state: State, number: int) -> str:
    moment = state.moments[number]
    words = f"{moment.label} {moment.note}".strip()
    return f"[{words}]" if number == state.now else words


def _row(line: str) -> list[str]:
    """A row of two columns; what does not fit goes below the second."""
    return wrap(line, COLUMNS, subsequent_indent=" " * 18, break_on_hyphens=False)


def _wrapped(line: str) -> list[str]:
    return wrap(line, COLUMNS, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
