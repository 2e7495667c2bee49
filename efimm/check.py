"""Would one's own machine have met the bug?  Every kernel of the suite, booted on the memory map of a log.

There is no rule here: each verdict is that of `efimm.run`.  The array of descriptors is put where the model's allocator
puts it and then, since a NUMA machine may put it on any node, into other parts of the RAM, 512 GiB each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, BinaryIO

from .kernels import KERNELS
from .linux import Kernel
from .machines import Machine, MachineError, data_files, machine
from .run import Outcome, run
from .uefi.contradictions import Contradiction, contradictions
from .uefi.formats import Reading, read
from .x86.memory import PAGE_SIZE

PART = 512 << 30  # as much as one top-level entry covers
MOST_PARTS = 16
MOST_RANGES = 512  # the logs we have seen list at most 44; time grows with the square
MOST_RANGES_TO_MOVE_IN = 128

_NO_EFI_CALL = {
    "BIOS": "The machine was started by a legacy BIOS: Linux makes no EFI call there.",
    "Xen": "The machine runs Xen: Xen calls the firmware, and Linux makes no EFI call there.",
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
    machine: Machine
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
        return _NO_EFI_CALL.get(self.reading.map.booted_by, "")

    @cached_property
    def contradictions(self) -> tuple[Contradiction, ...]:
        """Where the firmware's two lists differ."""
        return contradictions(self.reading.map)

    @property
    def above(self) -> int:
        """How much RAM lies above the first 512 GiB, in bytes."""
        return sum(end - max(start, PART) for start, end in self.reading.map.ram if end > PART)

    def summary(self) -> dict[str, Any]:
        """The check as plain data, the object that `efimm check --json` prints; all addresses are integers."""
        found = self.reading.map
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
            "ram": [list(piece) for piece in self.machine.map.ram],
            "ram_bytes": self.machine.map.ram_bytes,
            "highest_ram": self.machine.highest_ram,
            "above_512_gib": self.above,
            "notes": list(self.machine.map.notes),
            "contradictions": [[each.start, each.end, each.e820, each.efi] for each in self.contradictions],
            "no_efi_call": self.no_efi_call,
            "hit": self.hit,
            "kernels": {each.kernel: each.summary() for each in self.kernels},
        }


def check(source: str | os.PathLike[str] | BinaryIO, *, own: Kernel | None = None, **options: Any) -> Check:
    """Read `source` as `read_map` does (or the name of a machine in data/), and run every kernel on it, `own` last.

    `options` are those of `efimm.machine` without `ram` and `map`; with `buffer` the array lies there and nowhere else.
    Raises MapError for a source that cannot be read, MachineError for a map that no machine can be made of.
    """
    known = data_files().get(str(source)) if isinstance(source, str | os.PathLike) else None
    reading = read(known or source)
    made = machine(map=reading.map, **options)
    if len(made.map.ram) > MOST_RANGES:
        raise MachineError(f"{len(made.map.ram)} ranges of RAM; expected one machine's, {MOST_RANGES} at most")
    return Check(reading, made, tuple(_check(made, kernel) for kernel in (*KERNELS.values(), *((own,) if own else ()))))


def _check(made: Machine, kernel: Kernel) -> KernelCheck:
    if not kernel.has_build_for(made.arch):
        return KernelCheck(kernel.name, None, f"the suite has no {made.arch} build of it")
    try:
        outcome = run(made, kernel)
    except MachineError as error:
        return KernelCheck(kernel.name, None, str(error))
    elsewhere = {}
    if made.buffer is None and outcome.linux.memmap_count and len(made.map.ram) <= MOST_RANGES_TO_MOVE_IN:
        elsewhere = dict(_elsewhere(made, kernel))
    return KernelCheck(kernel.name, outcome, elsewhere=elsewhere)


def _elsewhere(made: Machine, kernel: Kernel) -> Iterator[tuple[int, str]]:
    """The verdict with the array in each part of the RAM where it can lie."""
    for part, (start, end) in largest_pieces(made.map.ram).items():
        # Half, a quarter and an eighth of the way up: below what the kernel has taken from the top.
        for share in (2, 4, 8):
            place = (start + (end - start) // share) // PAGE_SIZE * PAGE_SIZE
            try:
                yield part, run(replace(made, buffer=place), kernel).verdict
            except MachineError:
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
