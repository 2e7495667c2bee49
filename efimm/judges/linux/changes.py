"""What if?  One change each to the machine that stands still at the call."""

from __future__ import annotations

from collections import Counter

from ...machines import parse_address
from ...x86 import mapped_ranges
from ..host import JudgeError
from ..tables import Moment
from .call import Change
from .guest import Running
from .told import Call

_KERNEL_HALF = 1 << 63
_ENTRY = 8


def zero_slot(slot: int) -> Change:
    """Empty an entry of the top-level table in force: with slot 1 today's kernels meet the bug of 2012."""
    _check(slot)

    def change(running: Running, call: Call) -> str:
        place = call.moment.cr3 + _ENTRY * slot
        was = running.read_u64(place)
        running.write_u64(place, 0)
        return f"slot {slot} of the table in CR3 was zeroed; it held {was:#x}"

    return change


def copy_slot(source: int, target: int) -> Change:
    """Copy an entry of the top-level table in force over another one, as Linux 3.5 to 3.8 did before the call."""
    _check(source)
    _check(target)

    def change(running: Running, call: Call) -> str:
        entry = running.read_u64(call.moment.cr3 + _ENTRY * source)
        running.write_u64(call.moment.cr3 + _ENTRY * target, entry)
        return f"slot {source} of the table in CR3, {entry:#x}, was copied to slot {target}"

    return change


def other_pointer(what: str) -> Change:
    """Give the firmware another pointer: "pa", "va" (the array in the kernel's direct map), or an address."""
    address = None if what in ("pa", "va") else parse_address(what)

    def change(running: Running, call: Call) -> str:
        pointer = address
        if pointer is None:
            pointer = call.array_pa + (0 if what == "pa" else direct_map(call.moment))
        running.gdb.set_register("r9", pointer)
        return f"the pointer was {call.pointer:#x}, and the firmware gets {pointer:#x}"

    return change


def direct_map(moment: Moment) -> int:
    """Where the kernel's half has physical address 0: the distance at which it maps most memory.

    JudgeError for a table that maps nothing there.
    """
    distances: Counter[int] = Counter()
    for found in mapped_ranges(moment.memory, moment.cr3, moment.mode):
        if found.va >= _KERNEL_HALF:
            distances[found.va - found.pa] += found.size
    if not distances:
        raise JudgeError("the kernel's half of the table in CR3 is empty: it has no direct map")
    return distances.most_common(1)[0][0]


def _check(slot: int) -> None:
    if not 0 <= slot < 512:
        raise JudgeError(f"slot {slot}: expected 0 to 511")
