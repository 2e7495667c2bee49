"""The kernel: its address space, its tables, and the way it calls the firmware."""

from ..machines import Machine
from ..uefi import EfiMemoryDescriptor, EfiStatus
from . import efi
from . import setup as x86_64
from .efi import virt_efi_get_time
from .i386 import efi as efi_32
from .i386 import setup as i386
from .state import Kernel, Kernel32, KernelError, KnownBug, Linux, Linux32

__all__ = [
    "Kernel",
    "Kernel32",
    "KernelError",
    "KnownBug",
    "Linux",
    "Linux32",
    "boot",
    "efi_enter_virtual_mode",
    "map_regions",
    "virt_efi_get_time",
]


def boot(machine: Machine, kernel: Kernel) -> Linux:
    """`kernel` started on `machine`, ready for efi_enter_virtual_mode; the machine's `arch` says which build of it.

    Raises ValueError for a map without runtime regions, MemoryError where the kernel finds no room.
    """
    return i386.boot(machine, kernel) if machine.arch in i386.LAYOUTS else x86_64.boot(machine, kernel)


def efi_enter_virtual_mode(linux: Linux) -> EfiStatus | None:
    """Switch the firmware to virtual addresses; the status of SetVirtualAddressMap, None where it is not called.

    Raises PageFault where the processor would.
    """
    return efi_32.efi_enter_virtual_mode(linux) if isinstance(linux, Linux32) else efi.efi_enter_virtual_mode(linux)


def map_regions(linux: Linux) -> tuple[EfiMemoryDescriptor, ...]:
    """The regions, mapped ahead: efi_enter_virtual_mode then begins where the array is given its place.

    Only for a kernel whose efi_enter_virtual_mode does nothing before that, as those of the suite with an array.
    """
    return efi_32.map_regions(linux) if isinstance(linux, Linux32) else efi.map_regions(linux)
