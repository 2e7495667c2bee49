"""A kernel's call of SetVirtualAddressMap, met in an unmodified kernel: stopped at, looked at, and let go on.

Nothing is known of the kernel: the firmware says itself where its tables are, they say where the service is, and the
processor's registers say the rest.  Sources: UEFI 2.10, 18.4.2 (EFI_SYSTEM_TABLE_POINTER) and chapter 4; Intel SDM,
volume 3A, 6.14 (64-bit interrupt gates).
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ...uefi.image import NEVER_CONVERTED, RUNTIME_SERVICES_SIGNATURE, SERVICES, SYSTEM_TABLE_SIGNATURE, X64
from ...x86.cpu import Registers
from ...x86.memory import PAGE_SIZE
from ...x86.modes import ADDRESS_MASK
from ..host import JudgeError, qemu_version
from ..qemu import ram_ranges
from ..tables import Moment, reachable
from .changes import Change
from .gdb import GuestEnded
from .guest import LinuxGuest, Running, started
from .told import Answer, Call, Fault, Told

TIMEOUT = 300.0

_LOOK_SECONDS = 0.2
_BOUNDARY = 4 << 20  # EFI_SYSTEM_TABLE_POINTER lies at such an address, near the top of the RAM below 4 GiB
_BOOT_SERVICES_SIGNATURE = 0x5652_4553_544F_4F42
_BOOT_SERVICES = X64.runtime_services + X64.word
_EXIT_BOOT_SERVICES = 0xE8  # offset of the pointer in EFI_BOOT_SERVICES
# What a kernel prints only after the place of the call: it has looked for a root file system, and starts init.
_TOO_LATE = ("Freeing unused kernel", "Unable to mount root fs", "Cannot open root device")
_PANIC = "Kernel panic"

# Exceptions at which a call may end: invalid opcode, double fault, general protection, page fault.
_VECTORS = (6, 8, 13, 14)
_WITH_ERROR_CODE = (8, 13, 14)
_GATE = struct.Struct("<HHBBHIxxxx")  # offset 15..0, selector, stack, type, offset 31..16, offset 63..32
_LONGEST_ARRAY = 1 << 20
_MOST_STEPS = 5000

Progress = Callable[[str], None]


class NotReachedError(JudgeError):
    """The kernel did not come as far as the call; the message says how far it came."""


def ask_kernel(
    guest: LinuxGuest,
    changes: Sequence[Change] = (),
    *,
    timeout: float = TIMEOUT,
    progress: Progress = lambda _: None,
) -> Told:
    """Boot `guest`, stop it at the call, carry out `changes`, and see what the firmware answers.

    Raises NotReachedError where the kernel does not come so far in `timeout` seconds, and JudgeError.
    """
    began, run_by = time.monotonic(), f"{qemu_version()}, {guest.firmware.code}"
    with started(guest) as running:
        patience = _Patience(running, began + timeout, progress)
        try:
            before = _run_to_the_call(running, _firmware_tables(running, patience), patience)
            if before is None:
                return Told(guest, running.console, patience.where, time.monotonic() - began, run_by)
            done = tuple(change.on_guest(running, before) for change in changes)
            call = replace(before, moment=_call(running).moment) if done else before
            answer = _through_the_call(running, call, patience)
        except GuestEnded as ended:
            raise NotReachedError(running.complaint or patience.words(f"the guest ended: {ended}")) from ended
        seconds = time.monotonic() - began
        return Told(guest, running.console, patience.where, seconds, run_by, "", done, before, call, answer)


@dataclass(frozen=True, slots=True)
class _FirmwareTables:
    """Physical addresses of the firmware's tables of services."""

    runtime: int
    boot: int


@dataclass
class _Patience:
    """How long to wait, and the words for how far it came."""

    running: Running
    deadline: float
    progress: Progress
    where: str = field(default="QEMU has started", init=False)
    runtime: int = field(default=0, init=False)

    def reached(self, where: str) -> None:
        """Note a step, and tell it."""
        self.where = where
        self.progress(where)

    def words(self, why: str) -> str:
        """`why`, how far it came, and the last line on the console, or the panic there."""
        lines = [line for line in map(printable_line, self.running.console.splitlines()) if line]
        last = next((line for line in lines if _PANIC in line), lines[-1] if lines else "nothing")
        return f"{why}; how far it came: {self.where}; on the console: {last[:120]}"

    def check(self) -> None:
        """NotReachedError when the time is up."""
        if time.monotonic() > self.deadline:
            raise NotReachedError(self.words("the time is up"))


def printable_line(line: str) -> str:
    """A line of the console without escape sequences and what else no terminal should get."""
    plain = re.sub(r"\x1b\[[0-9;?=]*[A-Za-z]", "", line)
    return "".join(letter for letter in plain if letter.isprintable()).strip()


def _firmware_tables(running: Running, patience: _Patience) -> _FirmwareTables:
    """Let the firmware run until it has published its system table; the guest is stopped then."""
    top = ram_ranges(running.guest.ram, running.guest.vendor)[0][1]
    running.gdb.go()
    while True:
        if running.gdb.stopped(_LOOK_SECONDS):
            raise NotReachedError(patience.words("the guest stopped by itself"))
        for place in range(top & -_BOUNDARY, 0, -_BOUNDARY):
            if found := _system_table_at(running, place):
                running.gdb.stop()
                patience.reached("the firmware has published its system table")
                return found
        patience.check()


def _system_table_at(running: Running, place: int) -> _FirmwareTables | None:
    """The firmware's tables by an EFI_SYSTEM_TABLE_POINTER at `place`; None where there is none, or not all of it."""
    signature, system = struct.unpack("<QQ", running.read(place, 16))
    if signature != SYSTEM_TABLE_SIGNATURE or running.read_u64(system) != SYSTEM_TABLE_SIGNATURE:
        return None
    runtime, boot = (running.read_u64(system + offset) for offset in (X64.runtime_services, _BOOT_SERVICES))
    found = running.read_u64(runtime), running.read_u64(boot)
    return _FirmwareTables(runtime, boot) if found == (RUNTIME_SERVICES_SIGNATURE, _BOOT_SERVICES_SIGNATURE) else None


def _run_to_the_call(running: Running, tables: _FirmwareTables, patience: _Patience) -> Call | None:
    """Let the kernel come to the call, and stop there; None for a kernel that goes on without it.

    Which function the call leads to is read at ExitBootServices, which may be called more than once: earlier it can
    still be a placeholder.
    """
    gdb, patience.runtime = running.gdb, tables.runtime
    leave, service = running.read_u64(tables.boot + _EXIT_BOOT_SERVICES), 0
    gdb.break_at(leave)
    while _stops(running, patience, exited=service != 0):
        rip = gdb.registers()["rip"]
        if rip == service:
            gdb.unbreak(leave)
            gdb.unbreak(service)
            patience.reached("the kernel calls SetVirtualAddressMap")
            return _call(running)
        if rip != leave:
            raise NotReachedError(patience.words(f"the guest stopped at {rip:#x}"))
        patience.reached("the kernel has called ExitBootServices")
        if service:
            gdb.unbreak(service)
        service = running.read_u64(tables.runtime + X64.service("SetVirtualAddressMap"))
        gdb.step_over(leave)
        gdb.break_at(service)
    return None


def _stops(running: Running, patience: _Patience, *, exited: bool) -> bool:
    """Go on to the next breakpoint; False where a kernel that has left the boot services is past the call, or ended."""
    running.gdb.go()
    try:
        while not running.gdb.stopped(_LOOK_SECONDS):
            if exited and _too_late(running):
                patience.reached("the kernel went on to its init without the call")
                return False
            patience.check()
    except GuestEnded:
        if not exited or not _too_late(running):
            raise
        patience.reached("the kernel went on without the call, and ended")
        return False
    return True


def _too_late(running: Running) -> bool:
    return any(words in running.console for words in _TOO_LATE)


def _call(running: Running) -> Call:
    """The stopped guest as it is at the call; the arguments are in RCX, RDX, R8, R9 (UEFI 2.10, 2.3.4.2)."""
    registers = running.gdb.registers()
    size, step, version, pointer = (registers[name] for name in ("rcx", "rdx", "r8", "r9"))
    moment = _moment(running, registers, (size, step, version & 0xFFFF_FFFF, pointer))
    array, found = b"", moment.walk(pointer).pa
    while len(array) < min(size, _LONGEST_ARRAY):
        at = pointer + len(array)
        page = moment.walk(at).pa
        array += running.read(at if page is None else page, min(size - len(array), PAGE_SIZE - at % PAGE_SIZE))
    return Call(moment, pointer if found is None else found, array)


def _moment(running: Running, registers: dict[str, int], arguments: tuple[int, ...] = ()) -> Moment:
    control = Registers(*(registers[name] for name in ("cr0", "cr4", "efer")))
    cr3 = registers["cr3"] & ADDRESS_MASK
    return Moment(control, cr3, control.mode, reachable(running, cr3, control.mode, running.guest.phys_bits), arguments)


def _through_the_call(running: Running, call: Call, patience: _Patience) -> Answer:
    """Let the call go on, and note how it ends: where it came from, or in an exception's handler."""
    gdb, services = running.gdb, _services(running, patience.runtime)
    gdb.set_register("cr3", gdb.registers()["cr3"])  # what was changed must not be hidden by a TLB
    status, fault, own = None, None, None
    try:
        back = running.read_u64(_physical(call.moment, gdb.registers()["rsp"]))
        gates = _gates(running, call)
        for address in (back, *gates):
            gdb.break_at(address)
        gdb.go()
        while not gdb.stopped(_LOOK_SECONDS):
            patience.check()
        registers = gdb.registers()
        if registers["rip"] == back:
            status = registers["rax"]
            gdb.unbreak(back)
            own = _own_table(running, registers["cr3"])
        else:
            fault = _fault(running, registers, gates[registers["rip"]])
        patience.reached("the call has ended")
    except GuestEnded:
        patience.reached("the processor was reset during the call")
    after = _services(running, patience.runtime)
    moved = tuple(now - then & (1 << 64) - 1 for then, now in zip(services, after, strict=True) if now != then)
    return Answer(status, fault, moved, own)


def _services(running: Running, runtime: int) -> list[int]:
    """The pointers in the runtime services table that the call converts."""
    return [running.read_u64(runtime + X64.service(name)) for name in SERVICES if name not in NEVER_CONVERTED]


def _gates(running: Running, call: Call) -> dict[int, int]:
    """The addresses of the kernel's handlers of exceptions, each with its vector."""
    found = re.search(r"IDT=\s*([0-9a-f]+)", running.gdb.monitor("info registers"))
    if not found:
        raise JudgeError("QEMU's monitor does not say where the interrupt table is")
    base, gates = int(found[1], 16), {}
    for vector in _VECTORS:
        gate = _GATE.unpack(running.read(_physical(call.moment, base + 16 * vector), 16))
        gates[gate[0] | gate[4] << 16 | gate[5] << 32] = vector
    return gates


def _fault(running: Running, registers: dict[str, int], vector: int) -> Fault:
    """The exception whose handler the processor has just entered; its stack has the rest."""
    moment, stack, has_code = _moment(running, registers), registers["rsp"], vector in _WITH_ERROR_CODE
    error_code = running.read_u64(_physical(moment, stack)) if has_code else 0
    return Fault(vector, error_code, registers["cr2"], running.read_u64(_physical(moment, stack + 8 * has_code)))


def _own_table(running: Running, cr3: int) -> Moment:
    """The moment when the kernel has loaded another table; where it never does, it has called with its own."""
    for _ in range(_MOST_STEPS):
        registers = running.gdb.registers()
        if registers["cr3"] != cr3:
            break
        running.gdb.step()
    return _moment(running, registers)


def _physical(moment: Moment, va: int) -> int:
    found = moment.walk(va).pa
    if found is None:
        raise JudgeError(f"the kernel's own {va:#x} is not mapped during the call")
    return found
