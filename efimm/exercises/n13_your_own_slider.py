"""Notebook 13: the size at which a verdict changes, what is mapped to itself, and a search for the smallest machine."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..machines import machine
from ..run import at_call, boot, run
from ..x86.memory import GIB
from .answers import Question
from .catalog import asks, wants

_MOST = 2048  # GiB of the largest machine of the search


@asks("13.1")
def first_size_that_fails(random: Random) -> Question:
    """The smallest RAM with which 3.5 fails, for an array so many GiB below the end of the RAM."""
    below = random.randrange(100, 480)  # nearer to the end the kernel keeps its tables and its struct pages

    def fails(ram: int) -> bool:
        start = machine(ram * GIB).highest_ram - below * GIB
        return run(machine(ram * GIB, buffer=start), "3.5").verdict != "success"

    first = _smallest(fails, below + 4, _MOST)
    text = (
        f"The array lies `{below}` GiB below the end of the RAM (which has a hole of 2 GiB below 4 GiB, and so ends "
        "2 GiB higher). What is the smallest RAM, in whole GiB, with which 3.5 fails?"
    )
    hints = {
        512 + below: "That would be right if RAM had no hole.",
        510: "So it would be with the array at the very end.",
        512 - below: "The array lies below the end: the RAM has to reach further than 512 GiB.",
        514 + below: "The hole moves the RAM up, and the array with it: less RAM is enough.",
    }
    return Question(text, first, hints, "There the array begins exactly at 512 GiB.", {"below": below})


@asks("13.2")
def not_mapped_to_itself(random: Random) -> Question:
    """How many whole GiB of RAM 3.5 does not identity-map while the firmware runs."""
    ram = random.randrange(600, 8000)
    linux = boot(machine(ram * GIB), "3.5")
    places = [pa for start, end in linux.memblock.memory for pa in range(-(-start // GIB) * GIB, end, GIB)]
    lacking = at_call(linux, lambda cpu: sum(cpu.walk(pa).pa != pa for pa in places))
    text = (
        f"A machine with `{ram}` GiB, kernel 3.5. Take the address at which each GiB of its RAM begins (there is none "
        "at 2 and 3 GiB). How many of these addresses are not mapped to themselves while the firmware runs?"
    )
    hints = {
        ram: "Some are: slot 0 is filled.",
        ram - 512: "Two of the first 512 GiB are no RAM, so that more of it lies above.",
        510: "So many are mapped to themselves.",
        512: "So many GiB has a slot. How many are not mapped?",
    }
    return Question(text, lacking, hints, given={"ram": ram})


@wants(
    "13.3",
    "Write `smallest_ram(kernel, firmware, least)`: the smallest RAM in whole GiB, from `least` to 2048, with which "
    "the call fails; None where it fails with none. (The array is where the allocator puts it. If a size fails, all "
    "larger ones do.)",
    why="Halving takes 11 runs where trying one size after the other takes thousands.",
    rounds=6,
)
def smallest_ram(random: Random, submitted: Callable[[str, str, int], int | None]) -> str:
    """Try `submitted` with kernels and kinds of firmware of which some fail everywhere, some nowhere."""
    kernel, least = random.choice(("3.5", "va-patch", "hpa-sync")), random.choice((random.randrange(2, 500), 700))
    firmware = random.choice(("edk2", "own-table", "checks-pointer"))

    def fails(ram: int) -> bool:
        return run(machine(ram * GIB, firmware=firmware), kernel).verdict != "success"

    answer = submitted(kernel, firmware, least)
    asked = f"({kernel!r}, {firmware!r}, {least}) gives {answer}"
    if answer is None:
        return f"{asked}, and with {_MOST} GiB the call fails." if fails(_MOST) else ""
    if not (isinstance(answer, int) and least <= answer <= _MOST):
        return f"{asked}: expected a number from {least} to {_MOST}, or None."
    if not fails(answer):
        return f"{asked}, and there the call succeeds."
    return f"{asked}, and with 1 GiB less it fails, too." if answer > least and fails(answer - 1) else ""


def _smallest(fails: Callable[[int], bool], good: int, bad: int) -> int:
    """The smallest number that fails, where `good` does not and `bad` does."""
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (good, middle) if fails(middle) else (middle, bad)
    return bad
