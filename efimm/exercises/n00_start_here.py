"""Notebook 00: where the memory ends, where the array lies, and which address the firmware could not read."""

from __future__ import annotations

from random import Random

from ..machines import machine
from ..run import run
from .answers import Question
from .catalog import asks


@asks("00.1")
def end_of_ram(random: Random) -> Question:
    """The end of the RAM of a machine with a hole below 4 GiB."""
    ram = random.randint(70, 900) * 8
    text = (
        f"A machine of the slider's kind has {ram} GiB of RAM. At how many GiB does its RAM end? "
        "(The picture under the slider says it for its own sizes; `efimm.machine` knows it for all.)"
    )
    hints = {
        ram: "So much there is. But RAM makes room for the devices below 4 GiB: what is there moves up.",
        ram + 4: "The hole ends at 4 GiB, but it does not begin at 0: how large is it?",
        ram - 2: "The RAM behind the hole moves up, not down.",
    }
    return Question(text, machine(f"{ram}G").highest_ram >> 30, hints, given={"ram": ram})


@asks("00.2")
def block_of_an_address(random: Random) -> Question:
    """The block of 512 GiB in which an address lies, which is the slot that the firmware needs for it."""
    address = random.randrange(1 << 39, 1 << 45, 1 << 12)
    blocks = address >> 39
    text = (
        f"The array lies at `{address:#x}`. Memory is cut into blocks of 512 GiB, counted from 0. "
        "In which block does the array lie?"
    )
    hints = {
        blocks + 1: "You counted from 1. The first block is number 0.",
        address >> 30: "That is the number of GiB. How many times 512 GiB is it?",
        address >> 40: "That counts blocks of 1 TiB.",
    }
    return Question(text, blocks, hints, "Slot and block have the same number.", {"address": address})


@asks("00.3")
def unreadable_address(random: Random) -> Question:
    """The address in CR2 after 3.5's call on a machine beyond 512 GiB."""
    ram = random.randint(520, 4000)
    outcome = run(machine(f"{ram}G"), "3.5")
    assert outcome.fault
    text = (
        f"On a machine with {ram} GiB, kernel 3.5 puts its array at `{outcome.pointer:#x}` and calls the firmware. "
        "Which address could the firmware not read? (Run it, as in the last cell above.)"
    )
    hints = {
        outcome.pointer: "There the array begins, and that is the pointer it was given. "
        "What it read first lies a little further on: the line to look for says CR2.",
        1 << 39: "That is the line of 512 GiB. The array lies beyond it: what did the firmware read there?",
    }
    why = "Why so many bytes behind the pointer? Notebook 04 tells."
    return Question(text, outcome.fault.cr2, hints, why, {"ram": ram})
