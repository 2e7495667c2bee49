"""One boot of QEMU with the witness in it: the command line, the lines it prints, and an end in any case."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..units import GIB
from .build import witness
from .errors import JudgeError
from .host import QEMU, FirmwareImage

VENDORS = {"intel": "GenuineIntel", "amd": "AuthenticAMD"}
REQUEST_FILE = "opt/org.efimm/request"
TIMEOUT = 120.0
LEAST_PHYS_BITS = 40

# What lies above the RAM's own size: the part that devices displace below 4 GiB (q35 leaves 2 GiB there), and above the
# RAM a window of 32 GiB for PCI devices.
_DISPLACED, _PCI_WINDOW = 2 * GIB, 32 * GIB
# On an AMD processor QEMU keeps the last 12 GiB below 1 TiB free of RAM (HyperTransport) by starting again at 1 TiB.
_AMD_HOLE, _AMD_ABOVE = (1 << 40) - 12 * GIB, 1 << 40

# For suspend to RAM a build with SMM keeps 16 MiB of RAM from 8 MiB on to itself, where a kernel belongs.
_NO_SUSPEND = ("-global", "ICH9-LPC.disable_s3=1")

# Transparent huge pages would turn each 4 KiB that a probe touches into 2 MiB of this computer's memory.
_PR_SET_THP_DISABLE = 41
_WITHOUT_HUGE_PAGES = (
    "import ctypes, os, sys\n"
    f"ctypes.CDLL(None).prctl({_PR_SET_THP_DISABLE}, 1, 0, 0, 0)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


@dataclass(frozen=True, slots=True)
class Guest:
    """A virtual machine: RAM in bytes, the processor's maker ("intel" or "amd"), "x86_64" or "i386", its firmware."""

    ram: int
    firmware: FirmwareImage
    vendor: str = "intel"
    arch: str = "x86_64"

    @property
    def phys_bits(self) -> int:
        """How many physical address bits the processor gets: enough for the RAM, and no more.

        A firmware may map all that could be addressed, and then each further bit doubles its work.
        """
        top = self.ram + _DISPLACED + _PCI_WINDOW
        if self.vendor == "amd" and top > _AMD_HOLE:
            top = _AMD_ABOVE + self.ram + _PCI_WINDOW
        return max((top - 1).bit_length(), LEAST_PHYS_BITS)

    def command(self, folder: Path, request: Path | None) -> list[str]:
        """The command line.  `folder` is for the variable store, which the firmware writes to."""
        command = [QEMU, *self.hardware(), "-kernel", str(witness(self.arch)), "-serial", "stdio"]
        if request is not None:
            command += ["-fw_cfg", f"name={REQUEST_FILE},file={request}"]
        if self.firmware.variables is None:
            return [*command, "-bios", str(self.firmware.code)]
        store = folder / "variables.fd"
        store.write_bytes(self.firmware.variables.read_bytes())
        code = f"if=pflash,format=raw,unit=0,readonly=on,file={self.firmware.code}"
        return [*command, "-drive", code, "-drive", f"if=pflash,format=raw,unit=1,file={store}"]

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


def boot(
    guest: Guest, request: bytes | None = None, *, timeout: float = TIMEOUT, heard: Callable[[str], None] | None = None
) -> list[str]:
    """Boot `guest`, and the lines of its witness without their prefix; `heard` gets each one as it comes.

    `request` is what the witness is asked (request.py), None to be told the memory map.  Raises JudgeError when the
    guest takes more than `timeout` seconds, when QEMU refuses its options, or when the witness gives up.
    """
    with tempfile.TemporaryDirectory(prefix="efimm-judge-") as name:
        folder = Path(name)
        asked = None
        if request is not None:
            asked = folder / "request"
            asked.write_bytes(request)
        command = [sys.executable, "-I", "-S", "-c", _WITHOUT_HUGE_PAGES, *guest.command(folder, asked)]
        with (folder / "stderr").open("w+b") as stderr, _started(command, stderr.fileno(), timeout) as (lines, late):
            said = []
            for line in lines:
                said.append(line)
                if heard is not None:
                    heard(line)
            stderr.seek(0)
            complaint = stderr.read().decode(errors="replace").strip().partition("\n")[0]
    _check(said, complaint, timeout if late.is_set() else None)
    return said


@contextmanager
def _started(command: Sequence[str], stderr: int, timeout: float) -> Iterator[tuple[Iterator[str], threading.Event]]:
    """The witness's lines of a started QEMU, and an event that tells whether it had to be stopped for the time."""
    late = threading.Event()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr)

    def stop() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(timeout, stop)
    timer.start()
    try:
        assert process.stdout is not None
        yield (_witness_lines(process.stdout)), late
    finally:
        timer.cancel()
        process.kill()
        process.wait()


def _witness_lines(output: Iterator[bytes]) -> Iterator[str]:
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
