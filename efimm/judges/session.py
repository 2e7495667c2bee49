"""From a machine's description to a judgement: learn the firmware's map, boot the model on it, ask the firmware."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..files import write_text
from ..linux import Kernel
from ..machines import MAXPHYADDR, machine
from ..run import find_kernel
from ..uefi.memmap import EfiMemoryDescriptor
from ..x86.memory import GIB
from .build import source_hash
from .guest import TIMEOUT, Guest, Power, boot
from .handover import Handover, hand_over
from .host import JudgeError, cache_folder, qemu_version
from .judgement import Judgement, judge
from .request import Question, addresses, predict
from .tables import Tables
from .testimony import FirmwareMap, map_of, read_testimony

LEAST_RAM = 512 << 20

Progress = Callable[[str], None]
# Tables broken on purpose, in place of the kernel's: a judge is worth something when it also says no.
Breaker = Callable[[Handover], Tables]


@dataclass(frozen=True)
class Case:
    """A question for the firmware: a kernel on a guest, with the machine options of `efimm run`."""

    kernel: Kernel | str
    guest: Guest
    buffer: int | str | None = None
    page_size: str = "1G"
    descriptor_size: int = 48
    arch: str = "x86_64"


def ask(
    case: Case,
    *,
    timeout: float = TIMEOUT,
    progress: Progress = lambda _: None,
    broken: Breaker | None = None,
    power: Power | None = None,
) -> Judgement:
    """Put `case` to the real firmware and compare.

    `broken` gives the tables to load in place of the kernel's, for those who want to see them caught; the predictions
    are not changed by it; `power` ends the guest from another thread.  Raises JudgeError, MachineError.
    """
    _check(case)
    progress("learning the firmware's memory map")
    found = learn(case.guest, timeout=timeout, power=power)
    for _ in range(2):
        started = time.monotonic()
        question = put(case, found, broken)
        progress("booting the firmware under the kernel's tables")
        heard = _teller(progress)
        said = read_testimony(boot(case.guest, question.pack(), timeout=timeout, heard=heard, power=power))
        if map_of(said) == found:
            run_by = f"{qemu_version()}, firmware file {case.guest.firmware.code}"
            return judge(case.guest, question, said, run_by, time.monotonic() - started)
        progress("the firmware's memory map has changed: once more")
        found = learn(case.guest, timeout=timeout, afresh=True, power=power)
    raise JudgeError("the firmware's memory map is another one at every boot: the model cannot boot on it")


def learn(guest: Guest, *, timeout: float, afresh: bool = False, power: Power | None = None) -> FirmwareMap:
    """The map of `guest`'s firmware: from the cache, or from a boot (always from one when `afresh`)."""
    kept = cache_folder() / f"map-{_key(guest)}.json"
    known = None if afresh else _load(kept)
    if known is not None:
        return known
    found = map_of(read_testimony(boot(guest, timeout=timeout, power=power)))
    write_text(kept, json.dumps(asdict(found)))
    return found


def _check(case: Case) -> None:
    """Refuse what cannot be asked before any firmware is booted for it; raises MachineError, JudgeError."""
    find_kernel(case.kernel)
    if case.arch == "x86_64-la57":
        raise JudgeError("--arch x86_64-la57: this firmware runs on four levels; a real kernel can be asked (--linux)")
    machine(buffer=case.buffer, page_size=case.page_size, descriptor_size=case.descriptor_size, arch=case.arch)
    ram = case.guest.ram
    if case.guest.phys_bits > MAXPHYADDR or ram < LEAST_RAM:
        raise JudgeError(f"RAM of {ram / GIB:g} GiB: a guest can have from 512M to somewhat below 64T")


def put(case: Case, found: FirmwareMap, broken: Breaker | None = None, *, probing: bool = True) -> Question:
    """The question that `case` is, for a firmware whose map is known; the model's prediction is made here."""
    made = machine(
        map=found.memory_map(case.guest),
        buffer=case.buffer,
        page_size=case.page_size,
        descriptor_size=case.descriptor_size,
        arch=case.arch,
    )
    made = replace(made, maxphyaddr=case.guest.phys_bits)
    handover = hand_over(made, case.kernel)
    probed = handover.probed if probing else None
    vas = addresses(probed.tables, probed.cr3, probed.mode) if probed else []
    predictions = predict(probed, made.maxphyaddr, vas) if probed else []
    return Question(handover, found, broken(handover) if broken else handover.call.tables, predictions)


def _teller(progress: Progress) -> Callable[[str], None]:
    """Turns the witness's lines into progress: the first line on each topic is worth a word."""
    words = {
        "image": "the firmware has started",
        "placed": "the kernel's tables are in place",
        "probes": "probing",
        "call": "SetVirtualAddressMap",
        "service": "calls after the switch",
    }

    def hear(line: str) -> None:
        word = words.pop(line.partition(" ")[0], None)
        if word:
            progress(word)

    return hear


def _load(path: Path) -> FirmwareMap | None:
    """What an earlier boot left there; None where there is nothing, or nothing that this version can read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        data["descriptors"] = tuple(EfiMemoryDescriptor(**each) for each in data["descriptors"])
        return FirmwareMap(**data)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _key(guest: Guest) -> str:
    """A name that changes with whatever the map may depend on."""
    files = [path for path in (guest.firmware.code, guest.firmware.variables) if path is not None]
    stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    what = (guest.hardware(), stamps, qemu_version(), source_hash(guest.arch))
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]
