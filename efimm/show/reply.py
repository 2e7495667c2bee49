"""One outcome explained as the answer to a mail would explain it: the address, the walk, and what stands in the way."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap

from ..run import Outcome
from ..x86 import LONG4, Entry, PageTable, Step, Walk
from ..x86.modes import ADDRESS_MASK
from .text import COLUMNS, console, verdict, walk

_KERNEL_HALF = 256


def reply(found: Outcome, at_call: Walk | None) -> str:
    """The outcome and why: the walk that faulted, else that of the array when the firmware was entered (`at_call`).

    None for a kernel that passes no array, and where the call is made without paging.  All numbers are read from the
    machine's memory as the call has left it; after a fault that is as the firmware met it, since nothing is undone.
    """
    parts = [verdict(found)]
    if found.fault is not None:
        parts += [_asked(found), _steps(found.fault.walk)]
        if found.who == "firmware":
            parts += [_lower_half(found, found.fault.walk), _direct_map(found, found.fault.cr2)]
        parts += [console(found)]
    elif at_call is not None:
        parts += [_given(at_call), _steps(at_call)]
    elif found.linux.memmap_count:
        parts += [wrap("The firmware was called without paging, so an address is what it says, and no walk is made.")]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _asked(found: Outcome) -> list[str]:
    """What the firmware (or the kernel) wanted, and where the processor begins to look."""
    assert found.fault is not None  # the caller has looked
    offset = found.fault.cr2 - found.pointer
    size = found.linux.memmap_count * found.linux.machine.descriptor_size
    place = f", {offset:#x} into the array it was given," if 0 <= offset < size else ""
    words = f"The {found.who}'s {found.fault.kind} at {found.fault.cr2:#x}{place} failed."
    if found.who == "kernel":
        return wrap(f"{words} The processor walked from CR3 = {found.fault.walk.root:#x}:", COLUMNS)
    return wrap(f"{words} {_taken_for_virtual(found.fault.walk)}", COLUMNS)


def _given(at_call: Walk) -> list[str]:
    words = f"When the firmware was entered, it was given {at_call.va:#x}."
    return wrap(f"{words} {_taken_for_virtual(at_call)}", COLUMNS)


def _taken_for_virtual(found: Walk) -> str:
    root = f"walks from CR3 = {found.root:#x}"
    return f"Paging is on, so the processor takes this number for a virtual address, and {root}:"


def _steps(found: Walk) -> list[str]:
    """One step of a walk after the other, with the bits of the address that choose the entry."""
    lines = [line for step in found.steps for line in _step(step)]
    if found.pa is not None:
        return [*lines, f"  which is the physical address {found.pa:#x}"]
    end = f"  {found.problem}: the walk ends here" if found.problem else "  the rights of these entries do not allow it"
    return [*lines, end]


def _step(step: Step) -> list[str]:
    level, entry = step.level, Entry(step.entry)
    bits = f"bits {level.shift + level.bits - 1}-{level.shift} = {step.index}"
    return [
        f"  {bits:<19} {level.name}[{step.index}] at {step.pa:#x}",
        f"{'':<22}= {step.entry:#x}  {entry.flags}".rstrip(),
    ]


def _lower_half(found: Outcome, failed: Walk) -> list[str]:
    """What the lower half of the table held, where low addresses are looked up, and which slots it shares."""
    if failed.mode is not LONG4:
        return []
    entries = PageTable(found.linux.memory, failed.root, "CR3", found.trace).slots()
    low = {slot: entry for slot, entry in entries.items() if slot < _KERNEL_HALF}
    if not low:
        return ["The lower half of this table is empty."]
    shared = [
        f"pgd[{slot}] leads to the same table as pgd[{other}]"
        for slot, entry in low.items()
        for other, kernel in entries.items()
        if other >= _KERNEL_HALF and (entry ^ kernel) & ADDRESS_MASK == 0
    ]
    which = f"The lower half of this table has {_many(low)}."
    return wrap(f"{which} {'; '.join(shared[:1])}{'.' if shared else ''}".strip(), COLUMNS)


def _many(slots: Iterable[int]) -> str:
    """One entry, or how many and which ones first and last."""
    numbers = sorted(slots)
    if len(numbers) == 1:
        return f"one entry, pgd[{numbers[0]}]"
    return f"{len(numbers)} entries, from pgd[{numbers[0]}] to pgd[{numbers[-1]}]"


def _direct_map(found: Outcome, pa: int) -> list[str]:
    """Where the kernel itself has the memory that the firmware asked for, if the number was a physical address."""
    own = found.linux.cpu.walk(found.linux.phys_to_virt(pa))
    if own.pa != pa:
        return []
    words = f"The memory is there: the kernel's own address for {pa:#x} is {own.va:#x}, in the same tables."
    return [*wrap(words, COLUMNS), *walk(own).splitlines()]
