"""What the simulated kernel gives to the firmware: taken in the doorway, at the moment of each call.

The model's firmware has its watchers told.  Whatever a kernel's code does before the call, and whichever tables it
switches to, is then seen as the firmware sees it: in CR3 and in the arguments.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from ..linux import Kernel, Linux
from ..machines import Machine
from ..run import Outcome, boot, enter
from ..uefi import EfiStatus, Firmware
from ..uefi.image import SERVICES
from ..x86 import Cpu, GeneralProtection, PageFault
from ..x86.cpu import CR0_PG
from ..x86.memory import PAGE_MASK
from .host import JudgeError
from .tables import Moment, reachable

SWITCH = "SetVirtualAddressMap"
NO_SWITCH = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class KernelPlace:
    """Where a kernel's text begins: its virtual address and its physical one."""

    va: int
    pa: int


@dataclass
class Handover:
    """A simulated boot as far as the firmware is concerned, and the model's own prediction of the rest.

    `after` is the processor when GetTime was called, or where the kernel did not get so far, when it had switched; None
    where it could not switch.
    `second_call` is the model's status of a second SetVirtualAddressMap, None where that one faulted; `moved` are the
    distances by which the model's runtime pointers moved.
    """

    machine: Machine
    outcome: Outcome
    kernel_place: KernelPlace
    call: Moment
    after: Moment | None
    array_pa: int
    array: bytes
    second_call: EfiStatus | None
    moved: tuple[int, ...]

    @property
    def switches(self) -> bool:
        """False for a kernel that leaves the firmware where it is; `call` is then its first other call."""
        return self.call.arguments != NO_SWITCH

    @property
    def probed(self) -> Moment | None:
        """The first moment at which tables are in force: the call, or without paging the time after it."""
        return self.call if self.call.paging else self.after


class _Watch:
    """Notes the first call of each service of a firmware; SetVirtualAddressMap is called a second time."""

    def __init__(self, firmware: Firmware) -> None:
        self.firmware, self.moments = firmware, dict[str, Moment]()
        self.second_call: EfiStatus | None = None
        firmware.watchers.append(self._entering)
        firmware.leavers.append(self._leaving)

    def _entering(self, cpu: Cpu) -> None:
        address, arguments = self.firmware.calling
        name = self.firmware.service_at(cpu, address)
        if name not in self.moments:
            self.moments[name] = _moment(cpu, arguments)

    def _leaving(self, cpu: Cpu) -> None:
        address, arguments = self.firmware.calling
        if self.firmware.service_at(cpu, address) != SWITCH:
            return
        self.firmware.leavers.remove(self._leaving)  # the call below is the second, and no third follows
        registers, running = (cpu.rip, cpu.rsp, cpu.cr2), self.firmware.running
        with suppress(PageFault, GeneralProtection):
            self.second_call = self.firmware.call(cpu, address, *arguments)
        (cpu.rip, cpu.rsp, cpu.cr2), self.firmware.running = registers, running


def hand_over(machine: Machine, kernel: Kernel | str) -> Handover:
    """Boot `kernel` on `machine`, let it call the model's firmware, and keep what it handed over."""
    linux = boot(machine, kernel)
    watch = _Watch(linux.firmware)
    before, place = _services(linux), _running_at(linux.cpu)
    outcome = enter(linux)
    call = watch.moments.get(SWITCH) or _without_switch(watch, linux)
    went_on = outcome.status == EfiStatus.EFI_SUCCESS or SWITCH not in watch.moments
    array_pa, size = outcome.buffer_pa, call.arguments[0]
    return Handover(
        machine=machine,
        outcome=outcome,
        kernel_place=place,
        call=call,
        after=watch.moments.get("GetTime", _moment(linux.cpu)) if went_on else None,
        array_pa=array_pa,
        array=linux.memory.read(array_pa, size),
        second_call=watch.second_call,
        moved=_distances(before, _services(linux)),
    )


def _without_switch(watch: _Watch, linux: Linux) -> Moment:
    """The moment of the first call that the kernel does make, with no arguments for the one that it does not."""
    if not watch.moments:
        raise JudgeError(f"kernel {linux.kernel.name!r} never calls the firmware: there is nothing to ask")
    return replace(next(iter(watch.moments.values())), arguments=NO_SWITCH)


def _running_at(cpu: Cpu) -> KernelPlace:
    """The beginning of the page that the processor executes, which in a booted kernel is the kernel's text."""
    va = cpu.rip & PAGE_MASK
    pa = cpu.walk(va).pa
    if pa is None:
        raise JudgeError(f"the kernel's own {va:#x} is not mapped: nothing could call the firmware")
    return KernelPlace(va, pa)


def _moment(cpu: Cpu, arguments: tuple[int, ...] = ()) -> Moment:
    mode = cpu.registers._replace(cr0=cpu.cr0 | CR0_PG).mode
    return Moment(cpu.registers, cpu.cr3, mode, reachable(cpu.memory, cpu.cr3, mode, cpu.maxphyaddr), arguments)


def _distances(before: list[int], after: list[int]) -> tuple[int, ...]:
    """How far each pointer that moved did, as a number of 64 bits."""
    return tuple(now - then & (1 << 64) - 1 for then, now in zip(before, after, strict=True) if now != then)


def _services(linux: Linux) -> list[int]:
    """The function pointers in the model's runtime services table, as they are in memory."""
    table, layout = linux.firmware.layout.runtime_table, linux.firmware.tables
    places = (table + layout.service(name) for name in SERVICES)
    return [int.from_bytes(linux.memory.read(place, layout.word), "little") for place in places]
