"""The words that picture, twin and widget share: the verdict, places in memory, what a slot is."""

from __future__ import annotations

from collections.abc import Iterable

from ..linux.layout import pgd_index
from ..run import Outcome
from ..trace import Fault


def verdict_line(outcome: Outcome) -> str:
    """What became of the call, in one sentence that names the slot."""
    linux, fault = outcome.linux, outcome.fault
    slot = pgd_index(outcome.pointer)
    if outcome.verdict == "success":
        return f"Success: the firmware read the array through slot {slot}, and it works at its new addresses."
    if fault is not None:
        entry = fault.walk.steps[-1]
        where = f"slot {fault.index}" if fault.level == "pgd" else f"{fault.level}[{fault.index}]"
        state = "is empty" if not entry.entry else f"({entry.entry:#x}) does not allow it"
        return f"Page fault: the {outcome.who}'s {fault.kind} of {fault.cr2:#x} needs {where}, which {state}."
    if outcome.status is None:
        return f"Wrong address: {linux.trace.console[-1]}."
    if outcome.verdict == "refused":
        return f"Refused: the firmware answered {outcome.status.name}."
    after = "a page fault" if any(isinstance(event, Fault) for event in linux.trace.events) else "no sense"
    return f"Wrong memory: the firmware answered {outcome.status.name}, but the next call, GetTime, gave {after}."


def ram_words(count: int) -> str:
    """An amount of RAM in a block: "all RAM", "2 GiB of RAM", "no RAM"."""
    if not count:
        return "no RAM"
    return "all RAM" if count == 1 << 39 else f"{_rounded(count)} of RAM"


def _rounded(count: int) -> str:
    return f"{count / (1 << 30):.4g} GiB"


def some_slots(numbers: Iterable[int]) -> str:
    """Slots as at most two runs, "0, 272–274"; further ones are only hinted at."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return ", ".join(slot_numbers(*run) for run in runs[:2]) + (", ..." if len(runs) > 2 else "")


def slot_numbers(first: int, last: int) -> str:
    """One slot or a run of them: "1", "3–271"."""
    return f"{first}" if first == last else f"{first}–{last}"
