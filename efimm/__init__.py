"""efimm: watch a Linux/UEFI page-table bug happen, understand it, and try fixes on it."""

from typing import TYPE_CHECKING

from .facade import promise

if TYPE_CHECKING:
    from . import locks
    from .kernels import KERNELS
    from .linux import Kernel, Linux, efi_enter_virtual_mode
    from .machines import Machine, MachineError, machine
    from .run import Outcome, boot, run
    from .text import text
    from .trials import gauntlet, support_table
    from .uefi import EfiStatus, MemoryMap, read_map
    from .x86 import PageFault

__version__ = "0.2.0"

__all__ = [
    "KERNELS",
    "EfiStatus",
    "Kernel",
    "Linux",
    "Machine",
    "MachineError",
    "MemoryMap",
    "Outcome",
    "PageFault",
    "boot",
    "efi_enter_virtual_mode",
    "gauntlet",
    "locks",
    "machine",
    "read_map",
    "run",
    "support_table",
    "text",
]

promise(
    __name__,
    {
        "kernels": ("KERNELS",),
        "linux": ("Kernel", "Linux", "efi_enter_virtual_mode"),
        "locks": ("locks",),
        "machines": ("Machine", "MachineError", "machine"),
        "run": ("Outcome", "boot", "run"),
        "text": ("text",),
        "trials": ("gauntlet", "support_table"),
        "uefi": ("EfiStatus", "MemoryMap", "read_map"),
        "x86": ("PageFault",),
    },
)
