"""What the thread says about the pointer, the identity map and the specification."""

from __future__ import annotations

from ..linux import Linux
from ..machines import machine
from ..run import at_call, boot, run
from ..trace import Access
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
    ).leaning_on(found["below"])


def documentation_is_wrong(kernels: Kernels) -> Finding:
    """Firmware of three kinds, given the va: only where it works could the documentation be wrong."""
    machines = {
        "edk2": machine("1T"),
        "firmware checks-pointer (inferred: none is known)": machine("1T", firmware="checks-pointer"),
        "32-bit edk2": machine("4G", arch="i386"),
    }
    found = {name: run(made, kernels["va-patch"]) for name, made in machines.items()}
    text = "; ".join(f"{name}: {outcome.verdict} {outcome.reason}".rstrip() for name, outcome in found.items())
    against = [name for name, outcome in found.items() if outcome.verdict != "success"]
    finding = holds(not against, f"{text}. This rests on {' and '.join(against) or 'all three'}")
    return finding.leaning_on(found["edk2"])


def virtual_mode_during_the_call(kernels: Kernels) -> Finding:
    """Two things called virtual: paging, and the mode in which the firmware runs at the addresses it was given."""
    found = {arch: run(machine("4G", arch=arch), kernels["3.5"]).linux for arch in ("x86_64", "i386")}
    where = {f"as paging, on {arch}": bool(linux.call_mode.levels) for arch, linux in found.items()}
    linux = found["x86_64"]
    code = _fetched_at(linux)
    virtual = where["as UEFI's virtual mode"] = code != linux.firmware.service("SetVirtualAddressMap")
    modes = "; ".join(f"{arch}: {linux.call_mode.name}" for arch, linux in found.items())
    return holds_where(where, f"{modes}. The firmware's code ran at {code:#x}, {'not ' * virtual}its physical address")


def _fetched_at(linux: Linux) -> int:
    """The first address that was executed in the call of the firmware."""
    return next(event.va for event in linux.trace.events if isinstance(event, Access) and event.kind == "fetch")


def a_bug_to_be_fixed(kernels: Kernels) -> Finding:
    """Memory of the UEFI map that is not mapped to itself at the call, and what the firmware makes of that.

    UEFI 2.10, 2.3.4: it is "all memory defined by the UEFI memory map" that must be, not all physical memory.
    """
    outcome = run(machine("1T"), kernels["3.5"])
    missing = not_mapped_to_itself(boot(machine("1T"), kernels["3.5"]))
    text = f"{missing >> 30} GiB of the UEFI memory map not mapped 1:1; {outcome.verdict} {outcome.reason}"
    return holds(missing > 0 and outcome.verdict != "success", text.rstrip())


def not_mapped_to_itself(linux: Linux) -> int:
    """How many bytes of the machine's UEFI memory map are not mapped to themselves when the firmware is entered."""
    ranges = at_call(linux, lambda cpu: mapped_ranges(cpu.memory, cpu.cr3))
    same = [(part.va, part.end) for part in ranges if part.va == part.pa]
    regions = linux.map.descriptors
    mapped = sum(max(0, min(md.end, end) - max(md.physical_start, va)) for md in regions for va, end in same)
    return sum(md.size for md in regions) - mapped
