"""Independent oracles.  Here: real OVMF firmware in QEMU, asked by `efimm judge`, judges the model's verdicts.

What makes the comparison honest: the firmware first tells its own memory map, the simulated kernel boots on exactly
that map, and the page tables it then has at the moment of the call are put, byte for byte and at their own physical
addresses, under the same firmware.  Nothing is added to them: the program that calls the firmware (witness/) runs where
the kernel would, through the kernel's own mapping of its text.
"""

from .cases import NamedCase, ask_all, named_case, named_cases
from .guest import TIMEOUT, Guest
from .host import FirmwareImage, JudgeError, NotInstalledError, firmware_arch, require
from .judgement import Judgement
from .qemu import VENDORS
from .recorded import answers, recall, record
from .session import Case, ask
from .text import judgement, overview, side

__all__ = [
    "TIMEOUT",
    "VENDORS",
    "Case",
    "FirmwareImage",
    "Guest",
    "JudgeError",
    "Judgement",
    "NamedCase",
    "NotInstalledError",
    "answers",
    "ask",
    "ask_all",
    "firmware_arch",
    "judgement",
    "named_case",
    "named_cases",
    "overview",
    "recall",
    "record",
    "require",
    "side",
]
