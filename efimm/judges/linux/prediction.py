"""What the model says of the same machine: the map that the real kernel printed, and the array where it put it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from ...kernels import KERNELS
from ...linux import Kernel
from ...linux.layout import PMD_SIZE, START_KERNEL_MAP
from ...machines import Machine, machine
from ...maps.formats import read_map
from ...run import find_kernel
from ...x86 import LONG5, mapped_ranges
from ..handover import Handover, hand_over
from ..tables import Moment, reachable
from .changes import Change, direct_map
from .told import PAGE_FAULT, Answer, Call, Fault, Told

_ISOLATED = "page tables isolation: enabled"
_TEXT_END = START_KERNEL_MAP + (1 << 30)  # KERNEL_IMAGE_SIZE with KASLR (arch/x86/include/asm/page_64_types.h, v6.1)


def nearest_kernel(version: tuple[int, int]) -> Kernel:
    """The newest release among the model's kernels that is not newer than `version`, else the oldest."""
    releases = {found: kernel for name, kernel in KERNELS.items() if (found := _release(name))}
    not_newer = [release for release in releases if release <= version]
    return releases[max(not_newer, default=min(releases))]


def predict(told: Told, kernel: Kernel | str | None = None, changes: Sequence[Change] = ()) -> tuple[Call, Answer]:
    """The call of `kernel` (else of the nearest one there is) with the same `changes`, and how the model says it ends.

    Raises MapError where the console has no memory map that can be read, and MachineError.
    """
    before = told.before
    assert before is not None  # a kernel that makes no call has nothing to be compared with
    record = nearest_kernel(told.guest.kernel.version) if kernel is None else find_kernel(kernel)
    record = _where_the_real_one_lies(record, before.moment)
    for change in changes:
        record = change.in_model(record)
    handover = hand_over(_machine(told, before, record), record)
    return Call(handover.call, handover.array_pa, handover.array), _answer(handover)


def _machine(told: Told, call: Call, kernel: Kernel) -> Machine:
    """The guest, for the model."""
    offset = direct_map(call.moment)
    arch = "x86_64-la57" if call.moment.mode is LONG5 else "x86_64"
    moved = None if offset == kernel.layout_on(arch).page_offset else offset
    memory_map = read_map(told.console)
    isolated = _ISOLATED in told.console
    made = machine(map=memory_map, buffer=call.array_pa, arch=arch, kaslr=moved, kpti=isolated)
    return replace(made, maxphyaddr=told.guest.phys_bits, descriptor_size=call.moment.arguments[1])


def _where_the_real_one_lies(kernel: Kernel, moment: Moment) -> Kernel:
    """`kernel` with its image, and the tables in it, where the real one's mapping of its own text leads."""
    found = mapped_ranges(moment.memory, moment.cr3, moment.mode)
    text = [each for each in found if START_KERNEL_MAP <= each.va < _TEXT_END]
    if not text:
        return kernel
    start, old = text[0].pa & -PMD_SIZE, kernel.image
    addresses = {name: pa for name, pa in asdict(old).items() if isinstance(pa, int) and not isinstance(pa, bool)}
    tables: dict[str, Any] = {name: pa + start - old.text for name, pa in addresses.items()}
    end = max(each.pa + each.size for each in text)
    image = replace(old, **tables | {"text": start, "end": max(end, tables["end"])})
    distance = text[0].pa - (text[0].va - START_KERNEL_MAP)
    la57 = kernel.layout_la57 and replace(kernel.layout_la57, phys_base=distance)
    return replace(kernel, image=image, layout=replace(kernel.layout, phys_base=distance), layout_la57=la57)


def _answer(handover: Handover) -> Answer:
    """The outcome of the model in the words for a real call."""
    outcome = handover.outcome
    if raised := outcome.fault:
        return Answer(
            fault=Fault(PAGE_FAULT, raised.error_code, raised.cr2, outcome.linux.cpu.rip), moved=handover.moved
        )
    status = None if outcome.status is None else int(outcome.status)
    cpu, root = outcome.linux.cpu, outcome.linux.swapper_pg_dir.pa
    own = Moment(cpu.registers, root, cpu.mode, reachable(outcome.linux.memory, root, cpu.mode, cpu.maxphyaddr))
    return Answer(status, None, handover.moved, own)


def _release(name: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"(\d+)\.(\d+)", name)
    return (int(found[1]), int(found[2])) if found else None
