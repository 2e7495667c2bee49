"""What a success leans on, found by running it again: without the slot of its pointer, and with other firmware."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from math import inf
from textwrap import wrap
from typing import Any

from . import workers
from .kernels import KERNELS
from .linux import Kernel, KernelError, Linux
from .machines import Machine, MachineError
from .run import Outcome, boot, enter, run
from .text import COLUMNS
from .uefi.firmwares import FIRMWARES, find_firmware
from .x86 import Cpu, PageTable


@dataclass(frozen=True)
class Reliance:
    """`slot` is the pointer's top-level slot, if the call fails without it; `fails_with` names kinds of firmware."""

    kernel: str
    slot: int | None
    fails_with: tuple[str, ...]

    def __str__(self) -> str:
        """One sentence, in lines of 72 columns."""
        slot = "relies on no slot for its pointer" if self.slot is None else f"relies on pgd[{self.slot}]"
        others = "works with every other firmware here, too"
        if self.fails_with:
            others = f"fails with --firmware {', '.join(self.fails_with)}"
        said = f"{self.kernel} {slot}; {others}"
        return "\n".join(wrap(said, COLUMNS, subsequent_indent="  ", break_on_hyphens=False))


def reliance(found: Outcome) -> Reliance:
    """What the success `found` leans on: its kernel is run on its machine ten times more (a third of a second).

    Firmware with which the machine cannot be, or the kernel not go on, is left out.
    """
    return _reliance(found.linux.machine, found.linux.kernel, _slot(found))


def reliances(successes: Sequence[Outcome]) -> Iterator[tuple[int, Reliance]]:
    """The place and the `reliance` of each, as they come, on as many processors as this process may use."""
    left = dict(enumerate(successes))
    for place, found in _in_processes(successes):
        del left[place]
        yield place, found
    for place, each in left.items():
        yield place, reliance(each)


def _in_processes(successes: Sequence[Outcome]) -> Iterator[tuple[int, Reliance]]:
    """Those that other processes find, as they come: of the suite's own kernels, which they know by name."""
    jobs: dict[int, bytes] = {}
    for place, each in enumerate(successes):
        kernel = each.linux.kernel
        if KERNELS.get(kernel.name) is kernel:
            jobs[place] = pickle.dumps(partial(_plain, each.linux.machine, kernel.name, _slot(each)))
    if len(jobs) < 2 or not workers.available() or workers.processors() < 2:
        return
    places = list(jobs)
    # No time limit: these kernels are ours, and end.
    for number, answer in workers.answers(list(jobs.values()), needs=__name__, timeout=inf, memory=None):
        if not answer.trouble:
            kernel, slot, fails = answer.value
            yield places[number], Reliance(kernel, slot, tuple(fails))


def _plain(machine: Machine, name: str, slot: int | None) -> tuple[Any, ...]:
    """`_reliance` as JSON can tell it."""
    return astuple(_reliance(machine, KERNELS[name], slot))


def _slot(found: Outcome) -> int | None:
    return found.slot if found.linux.memmap_count else None


def _reliance(machine: Machine, kernel: Kernel, slot: int | None) -> Reliance:
    if slot is not None and enter(_without(boot(machine, kernel), slot)).verdict == "success":
        slot = None
    fails, own = [], find_firmware(machine.firmware)
    for name in (name for name, kind in FIRMWARES.items() if kind is not own):
        try:
            fails += [name] if run(replace(machine, firmware=name), kernel).verdict != "success" else []
        except (MachineError, KernelError):
            continue
    return Reliance(kernel.name, slot, tuple(fails))


def _without(linux: Linux, slot: int) -> Linux:
    """`linux`, whose table in CR3 lacks `slot` while the firmware runs; the kernel gets it back after the call."""
    kept: list[tuple[PageTable, int]] = []

    def take(cpu: Cpu) -> None:
        table = PageTable(linux.memory, cpu.walk(0).root, "CR3", linux.trace, cpu.mode)
        kept.append((table, table[slot]))
        table[slot] = 0
        cpu.flush_tlb_all()

    def give_back(cpu: Cpu) -> None:
        table, entry = kept.pop()
        table[slot] = entry
        cpu.flush_tlb_all()

    linux.firmware.watchers.append(take)
    linux.firmware.leavers.append(give_back)
    return linux
