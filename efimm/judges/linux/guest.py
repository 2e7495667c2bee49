"""A guest that starts a real kernel, with its memory, its console and its debug port in our hands.

Memory and console are files without a name, and the debug port is one end of a pair of sockets: nothing listens
anywhere, and nothing is left behind, however this process ends.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ...x86.memory import GIB, PAGE_SIZE
from ..host import FirmwareImage, JudgeError
from ..qemu import VENDORS, firmware_options, launched, phys_bits, ram_ranges
from .gdb import Gdb
from .image import KernelFile

LINE = 512 * GIB  # where top-level slot 1 begins
WINDOW = 4 * GIB  # the RAM that is left to Linux above 4 GiB, where it is to use this side of the line only
LEAST_RAM = 256 << 20
MOST_PROCESSORS = 64

# What Linux is told in any case: to talk to the console that we read, to print its memory map, to end on a panic, and
# not to test its timer, since that fails in an emulator on a busy computer.
_ALWAYS = "console=ttyS0,115200 earlyprintk=serial,ttyS0,115200 ignore_loglevel efi=debug panic=-1 no_timer_check"


@dataclass(frozen=True, slots=True)
class LinuxGuest:
    """A virtual machine for a kernel.

    `ram` is in bytes; `array` is "above" or "below": on which side of 512 GiB Linux has its memory (the rest is
    reserved by `memmap=`), or "" for all of it.  `append` goes behind the command line that it gets anyway.  `vendor`
    is the processor's; an "intel" one has the Meltdown bug, and Linux isolates page tables on it.
    """

    kernel: KernelFile
    firmware: FirmwareImage
    ram: int
    array: str = ""
    append: str = ""
    initrd: Path | None = None
    processors: int = 1
    vendor: str = "amd"
    five_levels: bool = False

    def __post_init__(self) -> None:
        if self.ram < LEAST_RAM or self.phys_bits > 46:
            raise JudgeError(f"RAM of {self.ram / GIB:g} GiB: a guest can have from 256M to somewhat below 64T")
        if not 1 <= self.processors <= MOST_PROCESSORS:
            raise JudgeError(f"{self.processors} processors: expected 1 to {MOST_PROCESSORS}")
        if self.array == "above" and self.left_to_linux[-1][0] < LINE:
            raise JudgeError(f"RAM of {self.ram / GIB:g} GiB: none of it lies above 512 GiB; expected 511G or more")
        if self.initrd is not None and not self.initrd.is_file():
            raise JudgeError(f"{self.initrd}: there is no such file")

    @property
    def phys_bits(self) -> int:
        """How many physical address bits the processor has."""
        return phys_bits(self.ram, self.vendor)

    @property
    def left_to_linux(self) -> list[tuple[int, int]]:
        """The RAM that no `memmap=` takes away, as [start, end)."""
        ranges = ram_ranges(self.ram, self.vendor)
        if not self.array or len(ranges) == 1:
            return ranges
        low, (start, end) = ranges
        if self.array == "above":
            first = max(start, LINE)
            return [low, (first, min(end, first + WINDOW))] if end > first else ranges
        last = min(end, LINE)
        return [low, (max(start, last - WINDOW), last)] if last > start else [low]

    @property
    def command_line(self) -> str:
        """The kernel's command line."""
        taken = []
        for start, end in ram_ranges(self.ram, self.vendor)[1:]:
            kept = [(a, b) for a, b in self.left_to_linux if start <= a < end] or [(end, end)]
            taken += [(start, kept[0][0]), (kept[0][1], end)]
        reserved = [f"memmap={end - start >> 20}M${start >> 20}M" for start, end in taken if end > start]
        return " ".join([_ALWAYS, *reserved, *([self.append] if self.append else [])])

    def options(self, memory: int, console: int, port: int) -> list[str]:
        """QEMU's options; the three are file descriptors that it gets."""
        backend = f"memory-backend-file,id=ram,size={self.ram},mem-path=/dev/fd/{memory},share=on,reserve=off"
        wide = f"phys-bits={self.phys_bits},la57={'on' if self.five_levels else 'off'}"
        options = ["-nodefaults", "-no-reboot", "-display", "none", "-S", "-m", f"{self.ram >> 20}M"]
        options += ["-machine", "q35,accel=tcg,memory-backend=ram,smbios-entry-point-type=64", "-object", backend]
        options += ["-cpu", f"max,vendor={VENDORS[self.vendor]},{wide}", "-smp", str(self.processors)]
        options += ["-kernel", str(self.kernel.path), "-append", self.command_line]
        options += ["-initrd", str(self.initrd)] if self.initrd else []
        options += ["-serial", f"file:/dev/fd/{console}", "-chardev", f"socket,id=gdb,fd={port}", "-gdb", "chardev:gdb"]
        return options + firmware_options(self.firmware)


def usual_side(ram: int) -> str:
    """Where Linux gets its memory if nobody says so: above 512 GiB where the guest has some there, else anywhere."""
    return "above" if ram >= LINE else ""


class Running:
    """A guest that QEMU has been started with: `gdb` stops it, `read` and `write` go to its physical memory."""

    def __init__(self, guest: LinuxGuest, gdb: Gdb, memory: int, console: int, complaints: int) -> None:
        self.guest, self.gdb = guest, gdb
        self._memory, self._console, self._complaints = memory, console, complaints
        self._ranges = ram_ranges(guest.ram, guest.vendor)

    @property
    def console(self) -> str:
        """All that the firmware and the kernel have printed so far."""
        return _text(self._console).replace("\r\n", "\n")

    @property
    def complaint(self) -> str:
        """What QEMU itself has to say, in its first line; "" for nothing."""
        return _text(self._complaints).strip().partition("\n")[0]

    def read(self, pa: int, size: int) -> bytes:
        """Physical memory; where there is no RAM, zeros."""
        data = b""
        while len(data) < size:
            at = pa + len(data)
            count = min(size - len(data), PAGE_SIZE - at % PAGE_SIZE)
            place = self._offset(at)
            data += bytes(count) if place is None else os.pread(self._memory, count, place).ljust(count, b"\0")
        return data

    def read_u64(self, pa: int) -> int:
        """A word of physical memory."""
        return int.from_bytes(self.read(pa, 8), "little")

    def write_u64(self, pa: int, value: int) -> None:
        """Change a word of RAM.  Only while the guest is stopped."""
        place = self._offset(pa)
        if place is None:
            raise JudgeError(f"{pa:#x}: there is no RAM at this address")
        os.pwrite(self._memory, value.to_bytes(8, "little"), place)

    def _offset(self, pa: int) -> int | None:
        """The offset in the memory's file, which has the ranges of RAM one behind the other."""
        before = 0
        for start, end in self._ranges:
            if start <= pa < end:
                return before + pa - start
            before += end - start
        return None


@contextmanager
def started(guest: LinuxGuest) -> Iterator[Running]:
    """QEMU with `guest`, stopped before its first instruction; it ends with the block.  JudgeError where it refuses."""
    ours, its = socket.socketpair()
    with ours, its, _nameless("ram", guest.ram) as memory, _nameless("console") as console:
        files = (memory.fileno(), console.fileno(), its.fileno())
        with _nameless("complaints") as complaints:
            process = subprocess.Popen(
                launched(guest.options(*files)),
                pass_fds=files,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                start_new_session=True,  # Ctrl-C is for us, and we end it
            )
            its.close()  # so that ours ends when QEMU does
            try:
                yield Running(guest, Gdb(ours), *files[:2], complaints.fileno())
            finally:
                process.kill()
                process.wait()


def _text(file: int) -> str:
    return os.pread(file, os.fstat(file).st_size, 0).decode("utf-8", "replace")


def _nameless(name: str, size: int = 0) -> IO[bytes]:
    """A file in memory without a name in any folder; JudgeError where the system has no such files: not Linux."""
    if not hasattr(os, "memfd_create"):
        raise JudgeError("a real kernel can be asked on Linux only, whose memfd_create its memory is seen through")
    file = os.fdopen(os.memfd_create(f"efimm-{name}"), "r+b", buffering=0)
    os.ftruncate(file.fileno(), size)
    return file
