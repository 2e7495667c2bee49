"""Notebook 04: the pointer, the slot that it needs, and the address in CR2."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..machines import machine
from ..run import Outcome, run
from ..x86 import LONG4
from .answers import Question
from .catalog import asks, wants

SLOT = LONG4.levels[0].span
_ATTRIBUTE = 32  # its offset in EFI_MEMORY_DESCRIPTOR
_READ_AT_MOST = 7  # as many descriptors as the array has


@asks("04.1")
def slot_of_the_pointer(random: Random) -> Question:
    """The slot that a pointer needs when the processor takes it for a virtual address."""
    outcome = _faulting(SLOT + random.randrange(1 << 12, 30 * SLOT, 1 << 12))
    pointer = outcome.pointer
    text = f"Kernel 3.5 passes the pointer `{pointer:#x}`. In which top-level slot does the processor look first?"
    hints = {
        pointer >> 30: "That is the number of GiB. How many times 512 GiB is it?",
        (pointer >> 39) + 272: "That is the direct map's slot for the same byte. The pointer is used as it is.",
        (pointer >> 39) + 1: "Slots are counted from 0.",
        0: "Slot 0 is the one that was filled. Is the pointer below 512 GiB?",
    }
    assert outcome.slot is not None
    return Question(text, outcome.slot, hints, given={"pointer": pointer})


@asks("04.2")
def first_address_not_read(random: Random) -> Question:
    """CR2 for an array beyond 512 GiB, or across that line."""
    size, outcome = _some_array(random)
    assert outcome.fault
    start = outcome.pointer
    text = (
        f"A machine with 2 TiB: its firmware has descriptors of {size} bytes, and the array of kernel 3.5 lies at "
        f"`{start:#x}`. The call faults. Which address is in CR2?"
    )
    hints = {
        start: "There the array begins. What does the firmware read first of a descriptor?",
        SLOT: "That is the line. But the firmware reads only some bytes of each descriptor.",
        start + _ATTRIBUTE: "There lies the first Attribute, below the line. It can be read: which one cannot?",
    }
    return Question(text, outcome.fault.cr2, hints, given={"pointer": start, "descriptor_size": size})


def _some_array(random: Random) -> tuple[int, Outcome]:
    """The size of a descriptor, and a run that faults: its array lies beyond 512 GiB, or across that line.

    The firmware stops reading when it has found the region that it looks for, so that some arrays across the line work.
    """
    while True:
        size = random.choice((40, 48, 56, 64))
        across = SLOT - random.randrange(8, _READ_AT_MOST * size, 8)
        start = random.choice((across, SLOT + random.randrange(0, SLOT, 1 << 12)))
        outcome = run(machine("2T", buffer=start, descriptor_size=size), "3.5")
        if outcome.fault:
            return size, outcome


@asks("04.3")
def array_of_an_oops(random: Random) -> Question:
    """Where the array lay, from the console of a crash at its first descriptor."""
    outcome = _faulting(SLOT * random.randrange(1, 40) + random.randrange(0, SLOT, 1 << 12))
    console = "\n".join(f"`{line}`" for line in outcome.trace.console if line.startswith(("BUG", "PGD")))
    text = f"A console says:\n{console}\nAt which address did the array begin?"
    assert outcome.fault
    hints = {
        outcome.fault.cr2: "That is the address that could not be read. It is not the array's first byte.",
        outcome.pointer & ~(SLOT - 1): "There the slot begins.",
        outcome.pointer + 2 * _ATTRIBUTE: "The other way: the array begins below the byte that was read.",
    }
    return Question(text, outcome.buffer_pa, hints, given={"cr2": outcome.fault.cr2})


@asks("04.4")
def smallest_ram(random: Random) -> Question:
    """The first RAM size of a row of machines on which the call fails, found by running them."""
    step = random.randrange(3, 40)
    first = random.randrange(400, 470)
    row = range(first, first + 12 * step, step)
    verdicts = {ram: run(machine(f"{ram}G"), "3.5").verdict for ram in row}
    fails = min((ram for ram, verdict in verdicts.items() if verdict != "success"), default=0)
    text = (
        f"A shop sells machines with {first} GiB, {first + step} GiB, {first + 2 * step} GiB and so on, {step} GiB "
        f"more each time, up to {row[-1]} GiB. Which is the smallest on which the call of kernel 3.5 fails? "
        "(Type 0 for none.)"
    )
    hints = {
        0: "Try the largest.",
        next((ram for ram in row if ram >= 512), 0): "That is the first with 512 GiB of RAM. Where does its RAM end?",
    }
    return Question(text, fails, hints, given={"first": first, "step": step, "last": row[-1]})


@wants(
    "04.5",
    "Write `faulting_descriptor(pointer, cr2, descriptor_size)`: the number of the descriptor, from 0, at whose "
    "Attribute the firmware faulted; None when `cr2` is no such address.",
    why="With this function you can tell from an oops how far the firmware came.",
    rounds=30,
)
def faulting_descriptor(random: Random, submitted: Callable[[int, int, int], int | None]) -> str:
    """Try `submitted` on runs in which the array crosses 512 GiB, and on addresses that have nothing to do with it."""
    size, outcome = _some_array(random)
    assert outcome.fault
    pointer, cr2 = outcome.pointer, outcome.fault.cr2
    expected: int | None = (cr2 - pointer) // size
    if random.random() < 0.3:
        cr2, expected = random.choice((pointer - size + _ATTRIBUTE, cr2 + 8, pointer)), None
    answer = submitted(pointer, cr2, size)
    if answer == expected and (answer is None) == (expected is None):
        return ""
    return f"faulting_descriptor({pointer:#x}, {cr2:#x}, {size}) gave {answer!r}, expected {expected!r}."


def _faulting(start: int) -> Outcome:
    """The run of 3.5 with its array at `start`, on a machine with 32 TiB."""
    outcome = run(machine("32T", buffer=start), "3.5")
    assert outcome.fault
    return outcome
