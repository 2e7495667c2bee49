"""What the simulated kernel gives to the firmware: taken in the doorway, at the moment of each call.

A `WatchedFirmware` stands in for the model's firmware and behaves as it does.  Whatever a kernel's code does before the
call, and whichever tables it switches to, is then seen as the firmware sees it: in CR3 and in the arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..linux import Kernel, Linux
from ..machines import Machine
from ..run import Outcome, boot, enter
from ..uefi import EfiStatus, Firmware
from ..uefi.tables import SERVICES
from ..x86 import Cpu, GeneralProtection, PageFault, PagingMode
from ..x86.memory import PAGE_MASK
from ..x86.registers import CR0_PG, Registers
from .errors import JudgeError
from .tables import Tables, reachable

SWITCH = "SetVirtualAddressMap"
NO_SWITCH = (0, 0, 0, 0)


@dataclass(frozen=True)
class Moment:
    """The processor and the tables below its CR3, when a service was called with `arguments`.

    `mode` is the one that the tables are made for; a 32-bit kernel has turned paging off (`paging`).
    """

    registers: Registers
    cr3: int
    mode: PagingMode
    tables: Tables
    arguments: tuple[int, ...] = ()

    @property
    def paging(self) -> bool:
        """True when the tables are in force."""
        return bool(self.registers.cr0 & CR0_PG)


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


@dataclass
class _Watch:
    """What was seen in the doorway so far."""

    moments: dict[str, Moment] = field(default_factory=dict)
    second_call: EfiStatus | None = None


class WatchedFirmware(Firmware):
    """The model's firmware after somebody has noted who called it; SetVirtualAddressMap is called a second time."""

    def __init__(self, watched: Firmware, watch: _Watch) -> None:
        # Not Firmware.__init__: the firmware is laid out in memory already, and this is the same one.
        vars(self).update(vars(watched))
        self._watch = watch
        self._name_of = {pa: name for name, pa in self.layout.services.items()}

    def call(self, cpu: Cpu, address: int, *arguments: int) -> EfiStatus:
        """As Firmware.call, with its result and its exceptions; the first call of each service is noted."""
        pa = cpu.walk(address).pa
        name = self._name_of.get(pa, "") if pa is not None else ""
        first = name not in self._watch.moments
        if first:
            self._watch.moments[name] = _moment(cpu, arguments)
        if name != SWITCH or not first:
            return super().call(cpu, address, *arguments)
        try:
            return super().call(cpu, address, *arguments)
        finally:
            self._watch.second_call = self._call_again(cpu, address, arguments)

    def _call_again(self, cpu: Cpu, address: int, arguments: tuple[int, ...]) -> EfiStatus | None:
        registers, running = (cpu.rip, cpu.rsp, cpu.cr2), self.running
        try:
            return super().call(cpu, address, *arguments)
        except (PageFault, GeneralProtection):
            return None
        finally:
            (cpu.rip, cpu.rsp, cpu.cr2), self.running = registers, running


def hand_over(machine: Machine, kernel: Kernel | str) -> Handover:
    """Boot `kernel` on `machine`, let it call the model's firmware, and keep what it handed over."""
    linux = boot(machine, kernel)
    watch = _Watch()
    linux.firmware = WatchedFirmware(linux.firmware, watch)
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
