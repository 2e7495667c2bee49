"""A real, unmodified kernel as the judge: booted in QEMU, stopped at its call of SetVirtualAddressMap, and asked."""

from .call import TIMEOUT, NotReachedError, ask_kernel
from .changes import Change, CopySlot, OtherPointer, ZeroSlot
from .facts import Facts
from .guest import LinuxGuest, usual_side
from .image import KernelFile, installed_kernels, kernel_file
from .judgement import KernelJudgement, judge_kernel
from .kept import recall, save
from .text import kernel_judgement

__all__ = [
    "TIMEOUT",
    "Change",
    "CopySlot",
    "Facts",
    "KernelFile",
    "KernelJudgement",
    "LinuxGuest",
    "NotReachedError",
    "OtherPointer",
    "ZeroSlot",
    "ask_kernel",
    "installed_kernels",
    "judge_kernel",
    "kernel_file",
    "kernel_judgement",
    "recall",
    "save",
    "usual_side",
]
