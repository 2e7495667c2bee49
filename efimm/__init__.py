"""efimm: watch a Linux/UEFI page-table bug happen, understand it, and try fixes on it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .kernels import KERNELS
from .linux import Kernel, Linux, efi_enter_virtual_mode
from .machines import Machine, MachineError, machine
from .run import Outcome, boot, run
from .text import text
from .uefi import EfiStatus, MemoryMap, read_map
from .x86 import PageFault

if TYPE_CHECKING:
    from . import locks
    from .trials import gauntlet, support_table

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
    "gauntlet",
    "locks",
    "machine",
    "read_map",
    "run",
    "support_table",
    "text",
]


def __getattr__(name: str) -> Any:
    """What few need is imported when it is first asked for: the gauntlet needs more than the standard library."""
    if name in ("gauntlet", "support_table"):
        return getattr(import_module(".trials", __name__), name)
    if name == "locks":
        return import_module(".locks", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
