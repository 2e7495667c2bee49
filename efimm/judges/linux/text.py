"""What a real kernel did, as text of at most 72 columns, beside what the model says that it does."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from ...text import COLUMNS, table
from ...text import walk as walk_text
from ...uefi import EfiMemoryType, EfiStatus
from ...x86.memory import GIB
from ..text import row
from .facts import Facts, slots_in_words
from .guest import LinuxGuest
from .judgement import KernelJudgement
from .told import PAGE_FAULT, Answer, Call, Told

MOST_DIFFERENCES = 5
_LABELS = {
    "map_size": "map size",
    "descriptor_size": "descriptor size",
    "version": "version",
    "pointer": "pointer",
    "paging": "paging",
    "own_table": "table in CR3",
    "page": "page there",
    "array": "array mapped",
    "regions": "regions",
    "at_pa": "  at their PA",
    "at_va": "  at their VA",
    "addresses": "  addresses",
    "one_to_one": "lower half",
    "low_slots": "  its slots",
    "direct_slots": "direct map in",
    "verdict": "verdict",
    "status": "status",
    "cr2": "CR2",
    "error_code": "error code",
    "pointers_moved": "pointers moved",
    "moved_by": "  by",
}
_VECTORS = {6: "invalid opcode", 8: "double fault", 13: "general protection fault", PAGE_FAULT: "page fault"}


def kernel_judgement(found: KernelJudgement) -> str:
    """Everything: the guest, the call, the walk of the pointer, both sides, and whether they agree."""
    told = found.told
    rows = [("kernel", told.guest.kernel.release), ("run by", told.run_by), ("guest", guest_words(told.guest))]
    rows += [("recorded", f"{told.recorded}, by us; this computer was not asked")] if told.recorded else []
    if told.call is None or told.answer is None or found.real is None:
        return "\n".join([*table(rows), *no_call(told)])
    size, step, version, pointer = told.call.moment.arguments
    rows += [
        ("call", f"SetVirtualAddressMap({size:#x}, {step}, {version}, {pointer:#x})"),
        ("array", f"{len(told.call.descriptors)} descriptors at {told.call.array_pa:#x}"),
        ("CR3", f"{told.call.moment.cr3:#x}, slots {slots_in_words(_filled(found.real))}"),
        *(("WHAT IF", change) for change in told.changes),
    ]
    lines = [*table(rows), "", *walk_text(told.call.moment.walk(pointer)).splitlines()]
    lines += ["", *_sides(found), *_differences(found)]
    for words in (_fault(told.call, told.answer), _own(told.call, told.answer), verdict(found)):
        lines += ["", *wrap(words, COLUMNS)] if words else []
    return "\n".join(lines)


def guest_words(guest: LinuxGuest) -> str:
    """The machine in a line: its RAM, and what of it Linux may use."""
    ranges = ", ".join(f"{start / GIB:g}-{end / GIB:g}" for start, end in guest.left_to_linux)
    processors = f", {guest.processors} processors" if guest.processors > 1 else ""
    return f"{guest.ram / GIB:g} GiB ({guest.vendor}){processors}; Linux has GiB {ranges}"


def no_call(told: Told) -> list[str]:
    """What is said of a kernel that goes on without the call."""
    words = f"no call: {told.reached}. It may run with efi=noruntime, or be built so (a PREEMPT_RT kernel)."
    return ["", *wrap(words, COLUMNS)]


def verdict(found: KernelJudgement) -> str:
    """One sentence: whether the model and the kernel agree."""
    if found.model is None:
        return f"The model could not be asked: {found.why_not}"
    if found.agree:
        return f"The model ({found.kernel.name}) and the kernel agree."
    return f"THEY DO NOT AGREE on: {', '.join(_LABELS[name].strip() for name in found.differences)}"


def _sides(found: KernelJudgement) -> Iterator[str]:
    real, model = found.real, found.model
    assert real is not None
    yield row("", f"the model says ({found.kernel.name})" if model else "", "the kernel did")
    for name, label in _LABELS.items():
        its, mine = _shown(name, real), _shown(name, model) if model else ""
        if (its, mine) not in (("-", "-"), ("-", "")):
            yield row(label, mine, its, differ=name in found.differences)


def _shown(name: str, side: Facts) -> str:
    value = getattr(side, name)
    if name == "own_table":
        return "-" if value is None else "one of its own" if value else "the kernel's"
    if name in ("pointer", "cr2", "map_size", "error_code"):
        return "-" if value is None else f"{value:#x}"
    if name == "status":
        return "-" if value is None else EfiStatus(value).name if value in set(EfiStatus) else f"{value:#x}"
    if name in ("low_slots", "direct_slots"):
        return slots_in_words(value)
    if name in ("addresses", "one_to_one"):
        return f"{len(value)} {'pairs' if name == 'addresses' else 'ranges'}"
    if name == "moved_by":
        return ", ".join(f"{each:#x}" for each in value) or "-"
    return str(value) if name != "paging" else "on" if value else "off"


def _differences(found: KernelJudgement) -> Iterator[str]:
    """The first lines in which the two lists differ that are too long to be shown."""
    assert found.real is not None
    for name in ("addresses", "one_to_one"):
        if found.model is None or name not in found.differences:
            continue
        its, mine = getattr(found.real, name), getattr(found.model, name)
        for who, one, other in (("the kernel", its, set(mine)), ("the model", mine, set(its))):
            for each in [each for each in one if each not in other][:MOST_DIFFERENCES]:
                words = f"{each[0]:#x} at {each[1]:#x}" if name == "addresses" else f"{each}"
                yield f"  {who + ' only:':<18}{words}"


def _fault(call: Call, answer: Answer) -> str:
    """What the exception was, where there was one."""
    if answer.fault is None:
        return "" if answer.status is not None else "The processor was reset: no handler could be reached."
    fault = answer.fault
    what = _VECTORS.get(fault.vector, f"exception {fault.vector}")
    regions = [md for md in call.descriptors if md.physical_start <= fault.rip < md.end]
    place = EfiMemoryType(regions[0].type).name if regions else "no region of the array"
    return f"A {what} at RIP {fault.rip:#x} ({place}): error code {fault.error_code:#x}, CR2 {fault.cr2:#x}."


def _own(call: Call, answer: Answer) -> str:
    """The kernel's own table, for comparison."""
    own = answer.own
    if own is None or own.cr3 == call.moment.cr3:
        return ""
    found = own.walk(call.array_pa)
    where = "not mapped at its physical address" if found.pa is None else f"mapped to {found.pa:#x}"
    return f"The kernel's own table is at {own.cr3:#x}; in it the array is {where}."


def _filled(real: Facts) -> list[int]:
    return sorted({*real.low_slots, *real.direct_slots, *real.other_slots})
