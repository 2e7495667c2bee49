"""Notebook 05: the pointer of Robin's patch, what it needs, what it does not repair, and what it makes worse."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache
from itertools import product
from random import Random
from typing import NamedTuple

from ..kernels import KERNELS
from ..linux import Linux
from ..linux.layout import PGDIR_SIZE
from ..machines import machine
from ..run import at_call, boot, run
from ..uefi.firmwares import FIRMWARES
from .answers import Question
from .catalog import asks, wants
from .small_tables import lifted


@asks("05.1")
def pointer_of_the_patch(random: Random) -> Question:
    """The address that the firmware gets with the patch."""
    start = random.randrange(PGDIR_SIZE, 7 << 40, 1 << 12)
    outcome = run(machine("8T", buffer=start), "va-patch")
    text = f"The array lies at physical `{start:#x}`. Which address does the firmware get with Robin's patch?"
    hints = {
        start: "That is the physical address, which the unpatched kernel passes.",
        start + 0xFFFF_8000_0000_0000: "The direct map begins at slot 272, not at 256.",
        start % PGDIR_SIZE | 0xFFFF_8800_0000_0000: "The offset within the slot is right. But the array is further up.",
    }
    return Question(text, outcome.pointer, hints, given={"buffer": start})


@asks("05.2")
def slot_of_the_patch(random: Random) -> Question:
    """The slot that the patched pointer needs."""
    start = random.randrange(0x1000_0000, 31 << 40, 1 << 12)
    outcome = run(machine("32T", buffer=start), "va-patch")
    assert outcome.slot is not None
    text = f"The array lies at physical `{start:#x}`. Which top-level slot does the patched kernel's pointer need?"
    hints = {
        start >> 39: "That is the slot of the physical address.",
        outcome.slot + 1: "Slot 272 is the direct map's first one: it maps the first 512 GiB.",
        272: "Slot 272 maps the first 512 GiB. Does the array lie there?",
    }
    return Question(text, outcome.slot, hints, given={"buffer": start})


@asks("05.3")
def fetch_beyond_the_line(random: Random) -> Question:
    """CR2 of the patched call, on firmware whose own code lies beyond 512 GiB."""
    plain = machine("2T").map
    distance = random.randrange(PGDIR_SIZE >> 30, 1 << 10) << 30
    outcome = run(machine(map=lifted(plain, distance)), "va-patch")
    assert outcome.fault
    entry = outcome.fault.cr2
    text = (
        f"The firmware's entry for SetVirtualAddressMap lies at `{entry - distance:#x}` on the generated machine. "
        f"Now all its code and data are lifted by `{distance:#x}`. "
        "The patched kernel calls it. Which address is in CR2?"
    )
    hints = {
        entry - distance: "That was the place before. Now it lies further up.",
        outcome.pointer: "The array is not the trouble: the patch repaired that. What does the processor need first?",
        outcome.pointer
        + 32: "The array is not the trouble: the patch repaired that. What does the processor need first?",
        0: "There is a fault: slot 0 is the only one that leads to physical addresses.",
    }
    why = "The processor could not even fetch the first instruction."
    return Question(text, entry, hints, why, {"distance": distance, "entry": entry - distance})


@asks("05.4")
def extra_slots(random: Random) -> Question:
    """The number of slots that a call with 3.5's own identity map lacks."""
    linux = boot(machine(f"{random.randrange(600, 30000)}G"), "va-patch")
    end = linux.machine.highest_ram
    blocks = range(0, end, PGDIR_SIZE)
    lacking = at_call(linux, lambda cpu: sum(cpu.walk(block).pa != block for block in blocks))
    text = (
        f"RAM ends at {end >> 30} GiB. The patched kernel fills slot 0 for the call, as 3.5 does. How many more slots "
        "would have to be filled for the identity map that the UEFI specification asks for?"
    )
    hints = {
        len(blocks): "So many in all. One of them is filled.",
        end >> 39: "Count the last block, too, even when only a part of it is RAM. Then leave out slot 0.",
        0: "The call works, but the specification asks for all memory in the map.",
    }
    return Question(text, lacking, hints, given={"highest_ram": end})


@wants(
    "05.5",
    "Write `call_on_trampoline(linux)`, a context manager as in the notebook: the call is made on the trampoline's "
    "table, and Robin's patch works on it, wherever the array is.",
    why="A table that follows the kernel's is what hpa asked for: notebook 07 does it where it belongs.",
    rounds=8,
)
def call_on_trampoline(random: Random, submitted: Callable[[Linux], AbstractContextManager[None]]) -> str:
    """Try `submitted` with the patched kernel, on machines with the array in random places."""
    tried = replace(KERNELS["va-patch"], name="on the trampoline", efi_call_phys=submitted)
    ram, start = random.randrange(2, 30) << 40, random.randrange(0x1000_0000, 2 << 40, 1 << 12)
    outcome = run(machine(ram, buffer=start), tried)
    if outcome.linux.call_cr3 != outcome.linux.trampoline_pgd.pa:
        return "CR3 did not hold trampoline_pgd when the firmware was called."
    if outcome.verdict == "success":
        return ""
    return f"with {ram >> 40} TiB and the array at {start:#x}: {outcome.verdict}, {outcome.reason}."


_SIZES, _PLACES, _MACHINES = (64, 256, 384, 600, 768, 1536), (None, 1 << 30), 7  # None: where the allocator likes
_KINDS = ("edk2", "own-table", "checks-pointer", "physical-clock", "virtual-only")


class _Tried(NamedTuple):
    """A machine (RAM in GiB, where the array lies, its firmware), and what each call comes to, "success" or why not."""

    ram: int
    start: int
    firmware: str
    without: str
    patched: str

    @property
    def worse(self) -> bool:
        return self.without == "success" != self.patched

    @property
    def told(self) -> str:
        """What is said to who takes it for the worse one."""
        if self.without == self.patched == "success":
            return "There both calls succeed: the patch changes nothing."
        if self.patched == "success":
            return f"There the patch helps: without it {self.without}."
        return f"There it fails without the patch, too: {self.without}."


@lru_cache(maxsize=64)
def _tried(ram: int, place: int | None, firmware: str) -> _Tried:
    one = machine(f"{ram}G", buffer=place, firmware=firmware)
    both = [run(one, kernel) for kernel in ("3.5", "va-patch")]
    without, patched = (", ".join(filter(None, (outcome.verdict, outcome.reason))) for outcome in both)
    return _Tried(ram, both[0].buffer_pa, firmware, without, patched)


@asks("05.6")
def made_worse(random: Random) -> Question:
    """The one of seven machines on which the patch turns a success into a failure."""
    pool = [_tried(*drawn) for drawn in product(_SIZES, _PLACES, _KINDS)]
    worse = random.choice([one for one in pool if one.worse])
    row = [worse, *random.sample([one for one in pool if not one.worse], _MACHINES - 1)]
    random.shuffle(row)
    text = "On which of these machines does a call fail with Robin's patch that succeeds without it?"
    for number, one in enumerate(row, 1):
        kind = f"{one.firmware} ({FIRMWARES[one.firmware].title})"
        text += f"\n{number}: {one.ram} GiB of RAM, the array at `{one.start:#x}`, firmware {kind}"
    hints = {number: one.told for number, one in enumerate(row, 1) if not one.worse}
    why = f"Without the patch the call succeeds, with it: {worse.patched}."
    given = {"machines": [(one.ram, one.start, one.firmware) for one in row]}
    return Question(text, row.index(worse) + 1, {**hints, 0: "There is one; count from 1."}, why, given)
