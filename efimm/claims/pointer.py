"""What the thread says about the pointer, the identity map and the specification."""

from __future__ import annotations

from ..linux import Linux
from ..machines import machine
from ..run import at_call, boot, run
from ..x86 import mapped_ranges
from .claim import Finding, Kernels, holds, holds_where

LINE = 512 << 30


def identity_bytes(linux: Linux) -> tuple[int, int]:
    """How many bytes below and above 512 GiB are mapped to themselves when the firmware is entered."""
    ranges = at_call(linux, lambda cpu: mapped_ranges(cpu.memory, cpu.cr3))
    same = [(part.va, part.end) for part in ranges if part.va == part.pa]
    below = sum(min(end, LINE) - va for va, end in same if va < LINE)
    return below, sum(end - max(va, LINE) for va, end in same if end > LINE)


def array_may_lie_above(kernels: Kernels) -> Finding:
    """Where 3.5's allocators put the array."""
    places = {ram: run(machine(ram), kernels["3.5"]).buffer_pa for ram in ("256G", "600G", "1T", "4T")}
    above = [ram for ram, place in places.items() if place >= LINE]
    return holds(bool(above), "; ".join(f"{ram}: {place:#x}" for ram, place in places.items()))


def only_the_first_512_gib(kernels: Kernels) -> Finding:
    """What is identity-mapped at the call, on a machine of 1 TiB."""
    below, above = identity_bytes(boot(machine("1T"), kernels["3.5"]))
    return holds(bool(below) and not above, f"{below >> 30} GiB below 512 GiB, {above >> 30} GiB above it")


def not_accessible(kernels: Kernels) -> Finding:
    """The call with the array on either side of the line."""
    found = {
        where: run(machine("1T", buffer=pa), kernels["3.5"]) for where, pa in (("below", LINE // 2), ("above", LINE))
    }
    return holds_where(
        {f"with the array {where} 512 GiB": outcome.verdict == "page-fault" for where, outcome in found.items()},
        "; ".join(f"{where}: {outcome.verdict} {outcome.reason}".rstrip() for where, outcome in found.items()),
    )


def documentation_is_wrong(kernels: Kernels) -> Finding:
    """A firmware that takes the specification at its word, and one that is called without paging, given the va."""
    machines = {
        "firmware that checks its pointer": machine("1T", firmware="checks-pointer"),
        "32-bit firmware": machine("4G", arch="i386"),
    }
    found = {name: run(made, kernels["va-patch"]) for name, made in machines.items()}
    text = "; ".join(f"{name}: {outcome.verdict} {outcome.reason}".rstrip() for name, outcome in found.items())
    return holds(all(outcome.verdict == "success" for outcome in found.values()), text)


def virtual_mode_during_the_call(kernels: Kernels) -> Finding:
    """Whether paging is on when the firmware is entered."""
    modes = {arch: run(machine("4G", arch=arch), kernels["3.5"]).linux.call_mode for arch in ("x86_64", "i386")}
    text = "; ".join(f"{arch}: {mode.name}" for arch, mode in modes.items())
    return holds_where({f"on {arch}": bool(mode.levels) for arch, mode in modes.items()}, text)


def a_bug_to_be_fixed(kernels: Kernels) -> Finding:
    """RAM that is not mapped to itself at the call, and what a firmware that needs it makes of that."""
    outcome = run(machine("1T"), kernels["3.5"])
    below, above = identity_bytes(boot(machine("1T"), kernels["3.5"]))
    missing = outcome.linux.machine.highest_ram - below - above
    return holds(missing > 0 and outcome.verdict != "success", f"{missing >> 30} GiB not mapped 1:1; {outcome.verdict}")
