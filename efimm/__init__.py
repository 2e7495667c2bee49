"""efimm: watch a Linux/UEFI page-table bug happen, understand it, and try fixes on it."""

from .kernels import KERNELS
from .linux import Kernel, Linux, efi_enter_virtual_mode
from .machines import Machine, MachineError, machine
from .run import Outcome, boot, run
from .show.text import text
from .uefi import EfiStatus, MemoryMap, read_map
from .x86 import PageFault

__version__ = "0.1.0"

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
    "machine",
    "read_map",
    "run",
    "text",
]
