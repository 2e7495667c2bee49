"""What a success leans on, found by running it again: without the slot of its pointer, and with other firmware."""

from __future__ import annotations

from dataclasses import dataclass, replace
from textwrap import wrap

from .linux import KernelError, Linux
from .machines import MachineError
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
    machine, kernel = found.linux.machine, found.linux.kernel
    slot = found.slot if found.linux.memmap_count else None
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
