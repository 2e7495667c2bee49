"""The answer of `efimm check` as text of at most 72 columns."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from textwrap import wrap

from ..check import Check, KernelCheck
from ..maps.errors import printable
from ..maps.lists import FoundList
from .text import COLUMNS, gib, notes, size, table
from .words import verdict_line

_MOST_RANGES = 24
_MOST_CONTRADICTIONS = 6


def checked(found: Check, log: str) -> str:
    """What was read, where RAM lies, what became of each kernel, why, and the command that shows it again.

    `log` is the name under which the reader's shell knows the log.
    """
    parts = [_what_was_read(found), *_contradictions(found), _ram(found)]
    if found.no_efi_call:
        parts += [wrap(f"{found.no_efi_call} No kernel could fail in one.", COLUMNS)]
        parts += [["The same memory on a machine started by UEFI:"]]
    parts += [_kernels(found.kernels), _why(found.kernels), _again(found.kernels, log)]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _what_was_read(found: Check) -> list[str]:
    told = found.reading.map
    rows = [("read", "; ".join(map(_list_words, found.reading.lists)) or "a data file")]
    rows += [("machine", printable(told.title or told.name))]
    rows += [("printed by", f"Linux {printable(told.kernel)}")] if told.kernel else []
    rows += [("started by", found.booted_by or "not told")]
    return table(rows) + notes(found.machine.map)


def _list_words(each: FoundList) -> str:
    lines = f" in lines {each.first_line} to {each.last_line}" if each.last_line else ""
    return f"{each.words}, {each.entries} entries{lines}{'' if each.used else ' (not used)'}"


def _contradictions(found: Check) -> list[list[str]]:
    if not found.contradictions:
        return []
    lines = [f"The firmware's two lists contradict each other {len(found.contradictions)} times:"]
    for each in found.contradictions[:_MOST_CONTRADICTIONS]:
        lines += wrap(str(each), COLUMNS, initial_indent="  ", subsequent_indent="    ")
    left = len(found.contradictions) - _MOST_CONTRADICTIONS
    return [[*lines, f"  and {left} more"] if left > 0 else lines]


def _ram(found: Check) -> list[str]:
    """The ranges of RAM, the small ones only counted where there are many."""
    ram = found.machine.map.ram
    shown = sorted(sorted(ram, key=lambda piece: piece[0] - piece[1])[:_MOST_RANGES])
    highest, total = found.machine.highest_ram, found.machine.map.ram_bytes
    above = gib(found.above) if found.above else "none"
    words = f"RAM: {gib(total)}, up to {highest:#x} ({gib(highest)}); {above} of it above 512 GiB"
    lines = wrap(words, COLUMNS)
    lines += [f"  {start:#014x} to {end:#014x}  {_amount(end - start):>12}" for start, end in shown]
    rest = len(ram) - len(shown)
    return [*lines, f"  and {rest} smaller ranges"] if rest else lines


def _amount(count: int) -> str:
    if count >= 1 << 30:
        return gib(count)
    return size(count) if count % 1024 == 0 else f"{count} bytes"


def _kernels(kernels: Sequence[KernelCheck]) -> list[str]:
    """One line a kernel."""
    lines = [f"{'kernel':<11} {'array at':<15} {'verdict':<13} with the array in another part"]
    for each in kernels:
        if each.outcome is None:
            lines += wrap(f"{each.kernel:<11} {each.trouble}", COLUMNS, subsequent_indent=" " * 12)
            continue
        place = f"{each.outcome.buffer_pa:#x}" if each.outcome.linux.memmap_count else "no array"
        lines.append(f"{each.kernel:<11} {place:<15} {each.outcome.verdict:<13} {_elsewhere(each)}".rstrip())
    return lines


def _elsewhere(each: KernelCheck) -> str:
    """What the array's place decides; parts of 512 GiB are numbered from 0, as top-level entries are."""
    if not each.elsewhere:
        return ""
    if not each.fails_in:
        return "success"
    return f"fails in {_runs(each.fails_in)} of {_runs(each.elsewhere)}"


def _runs(numbers: Iterable[int]) -> str:
    """0, 2-4: numbers as runs; of very many only the first and the last."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [f"{first}-{last}" if first < last else f"{first}" for first, last in runs]
    return ", ".join(words if len(words) < 4 else [words[0], "...", words[-1]])


def _why(kernels: Sequence[KernelCheck]) -> list[str]:
    """For each way in which a kernel failed, who and why; or that none did."""
    reasons: dict[str, list[str]] = {}
    for each in kernels:
        if each.outcome is not None and each.hit:
            reasons.setdefault(verdict_line(each.outcome), []).append(each.kernel)
    lines = [line for why, names in reasons.items() for line in wrap(f"{', '.join(names)}: {why}", COLUMNS)]
    elsewhere = [each.kernel for each in kernels if each.fails_in and not each.hit]
    if elsewhere:
        lines += wrap(f"{', '.join(elsewhere)}: only if the array lies in another part of the RAM.", COLUMNS)
    started = any(each.outcome is not None for each in kernels)
    return lines or ["No kernel fails here." if started else "No kernel could be started here, so there is no verdict."]


def _again(kernels: Sequence[KernelCheck], log: str) -> list[str]:
    """The command that shows one verdict with its walk."""
    name = next((each.kernel for each in kernels if each.hit), kernels[0].kernel)
    return ["Once more, with the walk:", *folded(["efimm", "run", "--kernel", name, "--explain", "--map", log])]


def folded(words: Sequence[str]) -> list[str]:
    """A command for a shell, in lines of at most 72 columns; FILE stands for a name that cannot be typed or broken."""
    lines, width = [" "], COLUMNS - 1
    for word in words:
        quoted = shlex.quote(word)
        if not word.isprintable() or (quoted != word and len(quoted) > width - 4):
            quoted = "FILE"
        if len(lines[-1]) + 1 + len(quoted) > width - 1 and lines[-1].strip():
            lines[-1] += " "
            lines.append("   ")
        lines[-1] += f" {quoted}"
        while len(lines[-1]) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return [f"{line}\\" if number < len(lines) - 1 else line for number, line in enumerate(lines)]
