"""Tables broken on purpose: a judge is worth something when it also says no."""

from __future__ import annotations

from collections.abc import Callable

from ..units import GIB
from ..x86 import walk
from .handover import Handover
from .tables import Tables, memory_of

Breaker = Callable[[Handover], Tables]

# Direct map of physical 0x9040000000, far from what the firmware touches in the call.
WRONG_GIB = 0xFFFF_8890_4000_0000


def entry_changed(handover: Handover, va: int, depth: int, change: Callable[[int], int]) -> Tables:
    """The kernel's tables during the call with one entry, that of `va` at a level, replaced by `change(entry)`."""
    call = handover.call
    step = walk(memory_of(call.tables), call.cr3, va, call.mode).steps[depth]
    page, size = bytearray(call.tables[step.table]), call.mode.entry_bytes
    page[size * step.index : size * (step.index + 1)] = change(step.entry).to_bytes(size, "little")
    return {**call.tables, step.table: bytes(page)}


def one_gib_wrong(handover: Handover) -> Tables:
    """One page of 1 GiB leads to its neighbour's memory; nothing in the call itself depends on it."""
    return entry_changed(handover, WRONG_GIB, 1, lambda entry: entry - GIB)
