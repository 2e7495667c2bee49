"""The kernel: its address space, its tables, and the way it calls the firmware."""

from .boot import boot
from .efi import efi_enter_virtual_mode, virt_efi_get_time
from .state import Kernel, KnownBug, Linux

__all__ = ["Kernel", "KnownBug", "Linux", "boot", "efi_enter_virtual_mode", "virt_efi_get_time"]
