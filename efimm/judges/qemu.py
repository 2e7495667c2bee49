"""QEMU as every judge starts it: a processor wide enough for the RAM, firmware in its place, and an end in any case."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from ..x86.memory import GIB
from .host import QEMU, FirmwareImage

VENDORS = {"intel": "GenuineIntel", "amd": "AuthenticAMD"}
LEAST_PHYS_BITS = 40

# What lies above the RAM's own size: the part that devices displace below 4 GiB (q35 leaves 2 GiB there), and above the
# RAM a window of 32 GiB for PCI devices.
_DISPLACED, _PCI_WINDOW = 2 * GIB, 32 * GIB
# On an AMD processor QEMU keeps the last 12 GiB below 1 TiB free of RAM (HyperTransport) by starting again at 1 TiB.
_AMD_HOLE, _AMD_ABOVE = (1 << 40) - 12 * GIB, 1 << 40
_BELOW_4G, _Q35_MOST_LOW = 2 * GIB, 0xB000_0000

# What QEMU inherits of the process that becomes it (include/uapi/linux/prctl.h).  Transparent huge pages would turn
# each 4 KiB that a probe touches into 2 MiB of this computer's memory; and QEMU is to end with us, however we end.
# And the limit on the memory of a process that executes a reader's file is not meant for a guest's RAM.
_PR_SET_PDEATHSIG, _PR_SET_THP_DISABLE = 1, 41
_LAUNCHER = (
    "import ctypes, os, resource, sys\n"
    "most = resource.getrlimit(resource.RLIMIT_AS)[1]\n"
    "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
    "prctl = ctypes.CDLL(None).prctl\n"
    f"prctl({_PR_SET_THP_DISABLE}, 1, 0, 0, 0)\n"
    f"prctl({_PR_SET_PDEATHSIG}, {int(signal.SIGKILL)}, 0, 0, 0)\n"
    "if os.getppid() == int(sys.argv[1]):\n"
    "    os.execvp(sys.argv[2], sys.argv[2:])"
)


def launched(options: Sequence[str]) -> list[str]:
    """The command that starts QEMU with these options, as a process that ends together with this one."""
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), QEMU, *options]


def phys_bits(ram: int, vendor: str) -> int:
    """How many physical address bits the processor gets: enough for the RAM, and no more.

    A firmware may map all that could be addressed, and then each further bit doubles its work.
    """
    top = ram + _DISPLACED + _PCI_WINDOW
    if _above_the_amd_hole(ram, vendor):
        top = _AMD_ABOVE + ram + _PCI_WINDOW
    return max((top - 1).bit_length(), LEAST_PHYS_BITS)


def ram_ranges(ram: int, vendor: str) -> list[tuple[int, int]]:
    """Where the guest's RAM is in its physical memory, as [start, end): below 4 GiB, and the rest above (q35)."""
    low = _BELOW_4G if ram >= _Q35_MOST_LOW else ram
    start = _AMD_ABOVE if _above_the_amd_hole(ram, vendor) else 4 * GIB
    return [(0, low), (start, start + ram - low)] if ram > low else [(0, low)]


def firmware_options(firmware: FirmwareImage) -> list[str]:
    """The options that put `firmware` in its place; what it writes into its variable store is forgotten."""
    if firmware.variables is None:
        return ["-bios", str(firmware.code)]
    code = f"if=pflash,format=raw,unit=0,readonly=on,file={firmware.code}"
    return ["-drive", code, "-drive", f"if=pflash,format=raw,unit=1,snapshot=on,file={firmware.variables}"]


def _above_the_amd_hole(ram: int, vendor: str) -> bool:
    return vendor == "amd" and ram + _DISPLACED + _PCI_WINDOW > _AMD_HOLE
