"""One boot of QEMU with the witness in it: the command line, the lines it prints, and an end in any case."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from .build import witness
from .host import FirmwareImage, JudgeError
from .qemu import VENDORS, firmware_options, launched, phys_bits

REQUEST_FILE = "opt/org.efimm/request"
TIMEOUT = 120.0

# For suspend to RAM a build with SMM keeps 16 MiB of RAM from 8 MiB on to itself, where a kernel belongs.
_NO_SUSPEND = ("-global", "ICH9-LPC.disable_s3=1")


@dataclass(frozen=True, slots=True)
class Guest:
    """A virtual machine: RAM in bytes, the processor's maker ("intel" or "amd"), "x86_64" or "i386", its firmware."""

    ram: int
    firmware: FirmwareImage
    vendor: str = "intel"
    arch: str = "x86_64"

    @property
    def phys_bits(self) -> int:
        """How many physical address bits the processor gets."""
        return phys_bits(self.ram, self.vendor)

    def command(self, request: Path | None) -> list[str]:
        """The command line.  What the firmware writes into its variable store is forgotten."""
        command = [*self.hardware(), "-kernel", str(witness(self.arch)), "-serial", "stdio"]
        if request is not None:
            command += ["-fw_cfg", f"name={REQUEST_FILE},file={request}"]
        return command + firmware_options(self.firmware)

    def hardware(self) -> list[str]:
        """The options that describe the virtual machine."""
        ram = f"memory-backend-ram,id=ram,size={self.ram},reserve=off"
        cpu = f"max,vendor={VENDORS[self.vendor]},phys-bits={self.phys_bits}"
        machine = "q35,accel=tcg,memory-backend=ram,smbios-entry-point-type=64"
        options = ["-nodefaults", "-no-reboot", "-display", "none", "-m", f"{self.ram >> 20}M", "-object", ram]
        options += ["-cpu", cpu, "-device", "isa-debug-exit,iobase=0xf4,iosize=4", *_NO_SUSPEND]
        if "secboot" in self.firmware.code.name:  # such a build keeps its variables behind SMM
            machine += ",smm=on"
            options += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        return [*options, "-machine", machine]


class Power:
    """The switch of all guests that are started with it: `off` ends them, and none comes up any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] | None = set()

    def on(self, command: Sequence[str], stderr: IO[bytes], files: Sequence[int]) -> subprocess.Popen[bytes]:
        """Start a guest with its serial line on a pipe; JudgeError when the power is off."""
        with self._lock:
            if self._running is None:
                raise JudgeError("the judge was told to stop")
            process = subprocess.Popen(
                launched(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                pass_fds=files,
                start_new_session=True,  # Ctrl-C is for us, and we end it
            )
            self._running.add(process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End one guest."""
        process.kill()
        process.wait()
        with self._lock:
            if self._running:
                self._running.discard(process)

    def off(self) -> None:
        """End all."""
        with self._lock:
            running, self._running = self._running or set(), None
        for process in running:
            process.kill()


def boot(
    guest: Guest,
    request: bytes | None = None,
    *,
    timeout: float = TIMEOUT,
    heard: Callable[[str], None] | None = None,
    power: Power | None = None,
) -> list[str]:
    """Boot `guest`, and the lines of its witness without their prefix; `heard` gets each one as it comes.

    `request` is what the witness is asked (request.py), None to be told the memory map.  Raises JudgeError when the
    guest takes more than `timeout` seconds, when QEMU refuses its options, or when the witness gives up.  Leaves no
    file and no process behind, however it ends: what QEMU reads and writes here has no name.
    """
    with TemporaryFile() as asked, TemporaryFile() as stderr:
        asked.write(request or b"")
        asked.flush()
        asked.seek(0)
        command = guest.command(None if request is None else Path(f"/dev/fd/{asked.fileno()}"))
        said = []
        with _started(power or Power(), command, stderr, asked.fileno(), timeout) as (lines, late):
            for line in lines:
                said.append(line)
                if heard is not None:
                    heard(line)
        stderr.seek(0)
        complaint = stderr.read().decode(errors="replace").strip().partition("\n")[0]
    _check(said, complaint, timeout if late.is_set() else None)
    return said


@contextmanager
def _started(
    power: Power, command: Sequence[str], stderr: IO[bytes], asked: int, timeout: float
) -> Iterator[tuple[Iterator[str], threading.Event]]:
    """The witness's lines of a started QEMU, and an event that tells whether it had to be stopped for the time."""
    late = threading.Event()
    process = power.on(command, stderr, [asked])

    def stop() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(timeout, stop)
    timer.daemon = True
    timer.start()
    try:
        assert process.stdout is not None
        with process.stdout as output:
            yield _witness_lines(output), late
    finally:
        timer.cancel()
        power.end(process)


def _witness_lines(output: Iterable[bytes]) -> Iterator[str]:
    """The lines that the witness wrote; the firmware's own console uses the same port."""
    for raw in output:
        before, prefix, line = raw.decode("ascii", errors="replace").rstrip().partition("witness: ")
        if prefix and not before:
            yield line


def _check(said: list[str], complaint: str, timed_out: float | None) -> None:
    last = said[-1] if said else "nothing"
    if timed_out is not None:
        raise JudgeError(f"the firmware gave no answer within {timed_out:g} seconds; the last it said: {last}")
    if said and last.startswith("gave-up"):
        raise JudgeError(f"the witness gave up: {last.removeprefix('gave-up ')}")
    if not said:
        raise JudgeError(f"QEMU ended before the firmware said anything: {complaint or 'no message'}")
