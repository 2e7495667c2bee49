"""A judgement as text of at most 72 columns: the model's prediction beside the firmware's answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from ..run import Outcome
from ..text import table
from ..uefi import EfiMemoryType, EfiStatus
from .cases import NamedCase
from .judgement import Judgement, Mismatch, Side
from .testimony import FAULTED, NOT_TRIED, SEEN_TAG

MOST_MISMATCHES = 5
_LABELS = {
    "verdict": "verdict",
    "status": "status",
    "cr2": "CR2",
    "error_code": "error code",
    "slot": "slot of CR2",
    "second_call": "second call",
    "pointers_moved": "pointers moved",
    "moved_by": "  by",
    "get_time": "GetTime",
}


def judgement(found: Judgement) -> str:
    """Everything that was compared, line by line, and whether both sides agree."""
    outcome = found.question.handover.outcome
    kernel, machine = outcome.linux.kernel, found.question.handover.machine
    lines = table(
        [
            ("machine", machine.map.title),
            ("run by", found.run_by),
            *([("recorded", f"{found.recorded}, by us; this computer was not asked")] if found.recorded else []),
            ("RAM ends at", f"{machine.highest_ram:#x}"),
            ("kernel", f"{kernel.name}: {kernel.title}"),
            *_call(outcome, found.question.handover.switches),
        ]
    )
    lines += ["", row("", "the model says", "the firmware says")]
    for field in fields(Side):
        mine, its = getattr(found.model, field.name), getattr(found.firmware, field.name)
        if (mine, its) not in ((None, None), ((), ())):
            lines.append(row(_LABELS[field.name], _shown(field.name, mine), _shown(field.name, its), mine != its))
    if found.rip is not None:
        lines.append(row("RIP", "", f"{found.rip:#x} in"))
        lines.append(row("", "", _place(found, found.rip)))
    lines.append(row("probes", str(found.to_probe), f"{found.probed} tried, {len(found.mismatches)} differ"))
    lines += [line for each in found.mismatches[:MOST_MISMATCHES] for line in mismatch(each)]
    lines += ["", verdict(found)]
    return "\n".join(lines)


def side(told: Side) -> str:
    """One side alone, one line for each thing that it has an answer to."""
    told_of = [(each.name, getattr(told, each.name)) for each in fields(Side)]
    return "\n".join(f"{_LABELS[name]:<16}{_shown(name, value)}" for name, value in told_of if value not in (None, ()))


def verdict(found: Judgement) -> str:
    """One sentence: whether model and firmware agree, and if not, on what they differ."""
    if found.agree:
        return "The model and the firmware agree."
    return f"THEY DO NOT AGREE on: {_on(found)}"


def _on(found: Judgement) -> str:
    return ", ".join(_LABELS.get(name, name).strip() for name in found.differences)


def mismatch(wrong: Mismatch) -> list[str]:
    """A probe that differs, in two lines."""
    want, got = wrong.predicted, wrong.found
    where = "nothing" if want.pa is None else f"{want.pa:#x}"
    it = f"{want.va + got.offset & (1 << 64) - 1:#x}" if got.seen == SEEN_TAG else "something else"
    it = "nothing" if got.read & FAULTED else it
    mine = "/".join(_access(code) for code in (want.read, want.write, want.fetch))
    its = "/".join(_access(code) for code in (got.read, got.write, got.fetch))
    return [f"  at {want.va:#x}: want {where}, got {it}", f"    read/write/fetch: want {mine}, got {its}"]


def overview(found: Iterable[tuple[NamedCase, Judgement]]) -> Iterable[str]:
    """One line a case, and a last one that counts; line by line, as they come."""
    yield f"{'':<34}{'model':<13}{'firmware':<13}{'probes':>6}"
    agreed, number = 0, 0
    for case, judged in found:
        mark = "" if judged.agree else "  !"
        if case.broken:
            yield f"{case.name:<34}broken on purpose: {'NOT CAUGHT' if judged.agree else 'caught by ' + _on(judged)}"
            continue
        verdicts = f"{judged.model.verdict:<13}{judged.firmware.verdict:<13}"
        yield f"{case.name:<34}{verdicts}{judged.probed:>6}{mark}"
        if not judged.agree:
            yield f"    {verdict(judged)}"
        agreed, number = agreed + judged.agree, number + 1
    yield f"They agree in {agreed} of {number}: verdict, CR2, error code, slot, probes and all."


def _call(outcome: Outcome, switches: bool) -> list[tuple[str, str]]:
    if not switches:
        return [("call", "SetVirtualAddressMap is not called")]
    array = f"{outcome.linux.memmap_count} descriptors at {outcome.buffer_pa:#x}"
    return [("array", array), ("pointer", f"{outcome.pointer:#x}")]


def _place(found: Judgement, pa: int) -> str:
    """What the firmware's memory map calls the memory at `pa`."""
    region = found.question.firmware.region(pa)
    return "no memory" if region is None else EfiMemoryType(region.type).name


def row(label: str, mine: str, its: str, differ: bool = False) -> str:
    """A line of the comparison; an arrow at its end where the sides differ."""
    return f"{label:<16}{mine:<26}{its:<26}{'  <--' if differ else ''}".rstrip()


def _shown(name: str, value: object) -> str:
    if value is None:
        return "-"
    if name in ("status", "second_call", "get_time") and isinstance(value, int):
        return EfiStatus(value).name if value in set(EfiStatus) else f"{value:#x}"
    if isinstance(value, tuple):
        return ", ".join(f"{each:#x}" for each in value)
    return f"{value:#x}" if name in ("cr2", "error_code") else str(value)


def _access(code: int) -> str:
    if code == NOT_TRIED:
        return "-"
    return f"#{code >> 8 & 0xFF}({code & 0xFF:#x})" if code & FAULTED else "fine"
