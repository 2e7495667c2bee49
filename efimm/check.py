"""Would one's own machine have met the bug?  Every kernel of the suite, booted on the memory map of a log.

There is no rule here: each verdict is that of `efimm.run`.  The array of descriptors is put where the model's allocator
puts it and then, since a NUMA machine may put it on any node, into other parts of the RAM, 512 GiB each.  The answer is
told as text of at most 72 columns.
"""

from __future__ import annotations

import io
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from textwrap import wrap
from typing import Any, BinaryIO

from .diagnosis import Diagnosis, diagnose
from .kernels import KERNELS
from .linux import Kernel, KernelError, Linux, map_regions
from .linux.state import copy_of
from .machines import Machine, MachineError, data_files, machine
from .maps.boots import NoMapError
from .maps.cmdline import efi_options
from .maps.contradictions import Contradiction, contradictions
from .maps.errors import printable
from .maps.formats import Reading, read
from .maps.lists import FoundList
from .run import Outcome, boot, enter
from .text import COLUMNS, gib, notes, table, verdict_line
from .uefi.memmap import MemoryMap
from .x86.fields import size
from .x86.memory import PAGE_SIZE

PART = 512 << 30  # as much as one top-level entry covers
MOST_PARTS = 16
MOST_RANGES = 512  # the logs we have seen list at most 44; time grows with the square
MOST_RANGES_TO_MOVE_IN = 128

_NO_EFI_CALL = {
    "BIOS": "The machine was started by a legacy BIOS: Linux makes no EFI call there.",
    "Xen": "The machine runs Xen: Xen calls the firmware, and Linux makes no EFI call there.",
    "kexec": "The kernel was started by kexec: the first kernel's call decides, and this one makes none.",
}


@dataclass(frozen=True)
class KernelCheck:
    """One kernel on the machine: its outcome, or None and the `trouble` that kept it from starting.

    `elsewhere` holds, by the number of a part of 512 GiB, the verdict with the array in that part's largest piece of
    RAM; parts where the kernel or the firmware keeps something at all places that were tried are left out.
    """

    kernel: str
    outcome: Outcome | None
    trouble: str = ""
    elsewhere: Mapping[int, str] | None = None

    @property
    def fails_in(self) -> list[int]:
        """The parts in which the array must not lie."""
        return [part for part, verdict in (self.elsewhere or {}).items() if verdict != "success"]

    @property
    def hit(self) -> bool:
        """True where the call, or the first one after it, goes wrong."""
        return self.outcome is not None and self.outcome.verdict != "success"

    def summary(self) -> dict[str, Any]:
        """Plain data: that of `efimm run --json`, and more; only `trouble` for a kernel that did not start."""
        if self.outcome is None:
            return {"trouble": self.trouble}
        return self.outcome.summary() | {"reason": self.outcome.reason, "elsewhere": dict(self.elsewhere or {})}


@dataclass(frozen=True)
class Check:
    """What was read, the machine made of it, and what became of each kernel on it.

    Where Linux on this machine makes no EFI call at all, the outcomes are those of the same memory under UEFI.
    """

    reading: Reading
    machine: Machine | None
    kernels: tuple[KernelCheck, ...]

    @property
    def booted_by(self) -> str:
        """What started the machine; the EFI list of a data file tells, too."""
        return self.reading.map.booted_by or ("UEFI" if self.reading.map.descriptors else "")

    @property
    def hit(self) -> list[str]:
        """The kernels that would have failed on this machine."""
        return [] if self.no_efi_call else [each.kernel for each in self.kernels if each.hit]

    @property
    def no_efi_call(self) -> str:
        """Why Linux makes no EFI call on this machine; "" where it does, or where the log does not tell."""
        forbidden = [words for words in efi_options(self.reading.command_line).values() if "no EFI call" in words]
        if self.reading.no_runtime:
            forbidden.append(f"The kernel makes no EFI call in this boot, and says so ({self.reading.no_runtime})")
        return _NO_EFI_CALL.get(self.reading.map.booted_by, f"{forbidden[0]}." if forbidden else "")

    @cached_property
    def faults(self) -> tuple[Diagnosis, ...]:
        """What each page fault in the log says."""
        boot = (self.reading.map if self.machine else None, self.reading.command_line)
        return tuple(diagnose(one, *(boot if one.of_the_map else ())) for one in self.reading.oopses)

    @cached_property
    def contradictions(self) -> tuple[Contradiction, ...]:
        """Where the firmware's two lists differ."""
        return contradictions(self.reading.map) if self.reading.both_the_firmwares else ()

    @property
    def above(self) -> int:
        """How much RAM lies above the first 512 GiB, in bytes."""
        ram = self.reading.map.ram
        return sum(end - max(start, PART) for start, end in ram if end > PART)

    def summary(self) -> dict[str, Any]:
        """The check as plain data, the object that `efimm check --json` prints; all addresses are integers.

        Of a log without a map there are the faults only.
        """
        found, faults = self.reading.map, [each.summary() for each in self.faults]
        if self.machine is None:
            return {"name": found.name, "faults": faults, "notes": list(found.notes)}
        return {
            "name": found.name,
            "title": found.title,
            "kernel": found.kernel,
            "booted_by": self.booted_by,
            "lists": [
                {"list": each.words, "entries": each.entries, "lines": [each.first_line, each.last_line]}
                | {"used": each.used}
                for each in self.reading.lists
            ],
            "ram": [list(piece) for piece in found.ram],
            "ram_bytes": found.ram_bytes,
            "highest_ram": found.highest_ram,
            "above_512_gib": self.above,
            "notes": list(self.machine.map.notes),
            "contradictions": [[each.start, each.end, each.e820, each.efi] for each in self.contradictions],
            "no_efi_call": self.no_efi_call,
            "hit": self.hit,
            "faults": faults,
            "command_line": self.reading.command_line,
            "kernels": {each.kernel: each.summary() for each in self.kernels},
        }


def check(
    source: str | os.PathLike[str] | BinaryIO, *, own: Kernel | None = None, boot: int | None = None, **options: Any
) -> Check:
    """Read `source` as `read_map` does (or the name of a machine in data/), and run every kernel on it, `own` last.

    A log with a page fault and no map has no machine; what is said of it is in `faults`.  `boot` is the number of one
    of several boots; `options` are those of `efimm.machine` without `ram` and `map`; with `buffer` the array lies there
    and nowhere else.
    Raises MapError for a source that cannot be read, MachineError for a map that no machine can be made of.
    """
    known = data_files().get(str(source)) if isinstance(source, str | os.PathLike) else None
    try:
        reading = read(known or source, boot)
    except NoMapError as error:
        if not error.oopses:
            raise
        notes = (f"a damaged list is not used: line {error.damage}",) if error.damage else ()
        nothing = Reading(MemoryMap("no map", notes=notes), (), error.command_line, error.oopses)
        return Check(nothing, None, ())
    made = machine(map=reading.map, **options)
    if len(made.map.ram) > MOST_RANGES:
        raise MachineError(f"{len(made.map.ram)} ranges of RAM; expected one machine's, {MOST_RANGES} at most")
    return Check(reading, made, tuple(_check(made, kernel) for kernel in (*KERNELS.values(), *((own,) if own else ()))))


def _check(made: Machine, kernel: Kernel) -> KernelCheck:
    if not kernel.has_build_for(made.arch):
        return KernelCheck(kernel.name, None, f"the suite has no {made.arch} build of it")
    try:
        booted = boot(made, kernel)
        outcome = enter(copy_of(booted))
    except (MachineError, KernelError) as error:
        return KernelCheck(kernel.name, None, str(error))
    elsewhere = {}
    if made.buffer is None and outcome.linux.memmap_count and len(made.map.ram) <= MOST_RANGES_TO_MOVE_IN:
        elsewhere = dict(_elsewhere(booted, outcome))
    return KernelCheck(kernel.name, outcome, elsewhere=elsewhere)


def _elsewhere(booted: Linux, first: Outcome) -> Iterator[tuple[int, str]]:
    """The verdict with the array in each part of the RAM where it can lie; in its own part it is that of `first`.

    The kernel is booted once.  No kernel of the suite asks before the switch where its array will lie; one of a
    reader's own that did would be told that no place is chosen.
    """
    pieces = largest_pieces(booted.map.ram)
    if len(pieces) > 1 and KERNELS.get(booted.kernel.name) is booted.kernel:
        map_regions(booted)  # once, too: what a reader's own kernel does around that nobody knows
    for part, (start, end) in pieces.items():
        if part == first.buffer_pa // PART:
            yield part, first.verdict
            continue
        # Half, a quarter and an eighth of the way up: below what the kernel has taken from the top.
        for share in (2, 4, 8):
            place = (start + (end - start) // share) // PAGE_SIZE * PAGE_SIZE
            try:
                yield part, enter(replace(copy_of(booted), machine=replace(booted.machine, buffer=place))).verdict
            except (MachineError, KernelError):
                continue
            break


def largest_pieces(ram: tuple[tuple[int, int], ...]) -> dict[int, tuple[int, int]]:
    """The largest piece of RAM in each part of 512 GiB that has some, by the part's number.

    Of very many parts some are left out; the first and the last never.
    """
    largest: dict[int, tuple[int, int]] = {}
    for start, end in ram:
        for part in range(start // PART, -(-end // PART)):
            low, high = max(start, part * PART), min(end, (part + 1) * PART)
            before = largest.get(part, (0, 0))
            if high - low > before[1] - before[0]:
                largest[part] = low, high
    parts = sorted(largest)
    last = len(parts) - 1
    chosen = {parts[last * step // (MOST_PARTS - 1)] for step in range(MOST_PARTS)} if last >= MOST_PARTS else parts
    return {part: largest[part] for part in sorted(chosen)}


_MOST_RANGES = 24
_MOST_CONTRADICTIONS = 6


def answer(log: bytes, name: str, boot: int | None = None) -> str:
    """What `efimm check` prints for the bytes of a log; where it refuses them, the line that it refuses them with.

    `name` is what the log is called in the command that shows the failure again; `boot` as for `check`.
    """
    try:
        return checked(check(io.BytesIO(log), boot=boot), name)
    except (ValueError, MemoryError) as error:
        return f"efimm: {printable(' '.join(str(error).split()))}"


def checked(found: Check, log: str) -> str:
    """What was read, where RAM lies, what became of each kernel, why, and the command that shows it again.

    `log` is the name under which the reader's shell knows the log.
    """
    faults = [words for each in found.faults for words in (_fault(each), _fault_shown(each))]
    if found.machine is None:
        without = notes(found.reading.map) or ["No memory map is in it."]
        return "\n\n".join("\n".join(part) for part in [*faults, without] if part)
    parts = [
        _what_was_read(found, found.machine),
        *_contradictions(found),
        _ram(found.reading.map, found.above),
        *faults,
    ]
    if found.no_efi_call:
        none_fails = "" if found.booted_by == "kexec" else " No kernel could fail in one."
        parts += [wrap(found.no_efi_call + none_fails, COLUMNS)]
        parts += [[f"The same memory {_WITH_A_CALL.get(found.booted_by, 'on a machine started by UEFI')}:"]]
    if not found.booted_by and not found.no_efi_call:
        parts += [["If it was started by UEFI:"]]
    parts += [_kernels(found.kernels), _why(found.kernels), _again(found.kernels, log)]
    return "\n\n".join("\n".join(part) for part in parts if part)


_WITH_A_CALL = {"UEFI": "without that option", "kexec": "in the first kernel's place"}


def _fault(found: Diagnosis) -> list[str]:
    """What a fault of the log says, each sentence with the lines that it follows from."""
    lines = [f"Line {found.oops.line}: {found.cause}"]
    for each in found.findings:
        numbers = _runs(each.lines)
        words = f"{each.says} ({'lines' if len(each.lines) > 1 else 'line'} {numbers})"
        lines += wrap(words, COLUMNS, initial_indent="  ", subsequent_indent="    ")
    return [line if line.isprintable() else printable(line) for line in lines]


def _fault_shown(found: Diagnosis) -> list[str]:
    """Where the notebooks explain a fault, and the command that shows it in the model."""
    told = wrap(f"Explained in {found.section}", COLUMNS) if found.section else []
    return [*told, "In the model:", *folded(shlex.split(found.command))] if found.command else told


def _what_was_read(found: Check, made: Machine) -> list[str]:
    told = found.reading.map
    rows = [("read", "; ".join(map(_list_words, found.reading.lists)) or "a data file")]
    rows += [("machine", printable(told.title or told.name))]
    rows += [("printed by", f"Linux {printable(told.kernel)}")] if told.kernel else []
    rows += [("started by", found.booted_by or "not told")]
    return table(rows) + notes(made.map)


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


def _ram(told: MemoryMap, most: int) -> list[str]:
    """The ranges of RAM, the small ones only counted where there are many; `most` bytes lie above 512 GiB."""
    ram = told.ram
    shown = sorted(sorted(ram, key=lambda piece: piece[0] - piece[1])[:_MOST_RANGES])
    highest, total = told.highest_ram, told.ram_bytes
    above = gib(most) if most else "none"
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
        lines.append(f"{each.kernel:<11} {place:<15} {each.outcome.verdict:<13} {_elsewhere_words(each)}".rstrip())
    return lines


def _elsewhere_words(each: KernelCheck) -> str:
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
