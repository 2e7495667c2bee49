"""A kernel's file: is it one that UEFI firmware can start on a PC, and which release is it?

Offsets: Documentation/arch/x86/boot.rst (the set-up header of a bzImage), and Microsoft's PE format.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..host import JudgeError

_SETUP_SECTS, _SYSSIZE, _MAGIC, _KERNEL_VERSION = 0x1F1, 0x1F4, 0x202, 0x20E
_SECTOR, _PARAGRAPH, _HEADER_END = 512, 16, 0x268
_PE_OFFSET, _ARM64_MAGIC = 0x3C, 0x38
_MACHINES = {0x8664: "x86-64", 0x14C: "32-bit x86", 0xAA64: "arm64"}
_LARGEST = 1 << 30
_LONGEST_VERSION = 256

PLACES = ("/boot/vmlinuz*", "/usr/lib/modules/*/vmlinuz", "/lib/modules/*/vmlinuz")


@dataclass(frozen=True, slots=True)
class KernelFile:
    """A bzImage with an EFI stub; `release` is what it says of itself, such as "6.1.0-56-cloud-amd64"."""

    path: Path
    release: str

    @property
    def version(self) -> tuple[int, int]:
        """The two first numbers of the release; (0, 0) where it has none."""
        found = re.match(r"(\d{1,4})\.(\d{1,4})", self.release)
        return (int(found[1]), int(found[2])) if found else (0, 0)


def kernel_file(path: str | Path) -> KernelFile:
    """The kernel in the file `path`; JudgeError says in one line why it is none that could be started."""
    path = Path(path)
    try:
        told = path.stat()
        data = b""
        if stat.S_ISREG(told.st_mode) and told.st_size <= _LARGEST:  # a device may have no end, and a pipe none yet
            with path.open("rb") as file:
                data = file.read(told.st_size)  # and no more: to read on may mean to wait, in /proc
    except OSError as error:
        raise JudgeError(f"{path}: {error.strerror}") from error
    if complaint := _complaint(data):
        raise JudgeError(f"{path}: {complaint}")
    return KernelFile(path, _release(data))


def installed_kernels() -> list[Path]:
    """The kernels in the usual places of this computer, each file once."""
    return sorted({found.resolve(): found for found in _in_usual_places()}.values())


def _in_usual_places() -> Iterator[Path]:
    for place in reversed(PLACES):  # the first one wins where two lead to the same file
        yield from Path("/").glob(place.removeprefix("/"))


def _complaint(data: bytes) -> str:
    """Why this is no kernel that can be started here; "" for one that is."""
    machine = _pe_machine(data)
    if data[_ARM64_MAGIC : _ARM64_MAGIC + 4] == b"ARM\x64" or machine == "arm64":
        return "a kernel for arm64; expected one for x86-64"
    if data[:4] == b"\x7fELF":
        return "an ELF file; expected the bzImage (arch/x86/boot/bzImage in a kernel's tree), not vmlinux"
    if len(data) < _HEADER_END or data[_MAGIC : _MAGIC + 4] != b"HdrS":
        return "expected a Linux kernel for a PC (a bzImage, with HdrS at 0x202)"
    wanted = ((data[_SETUP_SECTS] or 4) + 1) * _SECTOR + _PARAGRAPH * int.from_bytes(
        data[_SYSSIZE : _SYSSIZE + 4], "little"
    )
    if len(data) < wanted:
        return f"the file is cut off: {len(data):,} bytes of {wanted:,}"
    if not machine:
        return "a kernel without an EFI stub (CONFIG_EFI_STUB), which UEFI firmware cannot start"
    return "" if machine == "x86-64" else f"a kernel for {machine}; expected one for x86-64"


def _pe_machine(data: bytes) -> str:
    """What a PE image is for; "" for a file that is none."""
    place = int.from_bytes(data[_PE_OFFSET : _PE_OFFSET + 4], "little")
    if data[:2] != b"MZ" or data[place : place + 4] != b"PE\0\0":
        return ""
    number = int.from_bytes(data[place + 4 : place + 6], "little")
    return _MACHINES.get(number, f"machine {number:#x}")


def _release(data: bytes) -> str:
    place = int.from_bytes(data[_KERNEL_VERSION : _KERNEL_VERSION + 2], "little") + 0x200
    words = data[place : place + _LONGEST_VERSION].partition(b"\0")[0].decode("ascii", "replace").split()
    return words[0] if words and words[0].isprintable() else "of unknown version"
