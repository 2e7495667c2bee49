"""What a log tells besides lists: kernel, machine, command line, who started it, and what architecture it is of."""

from __future__ import annotations

import re

from .boots import Boots
from .errors import printable
from .lists import Lists, may_be_same
from .signs import ARCHITECTURE_MARKS, SYSTEMS, UEFI_MARKS, architecture, uefi

MARKS = (
    *("Linux version ", "DMI: ", "Hardware name: ", "last_pfn = ", "ommand line: ", "BOOT_IMAGE=", "RSDP"),
    *("Xen PVH", "EFI runtime services will be", "No EFI runtime due", "machdep.bootmethod", "grep "),
    *("BSD", "SunOS", "Darwin", "Microsoft", "DragonFly", "root on", "illumos"),
    *UEFI_MARKS,
    *ARCHITECTURE_MARKS,
)

MOST_LAST_PFNS = 16
SHORT = 60  # characters; a line that says what was left out has fewer

_VERSION = re.compile(r"Linux version ([0-9][\w.+~-]{0,79})(?= \(|\s{0,9}$)")  # and who built it; in prose it is none
_MACHINE = re.compile(r"(?:DMI|Hardware name): (?!Memory slots)(?P<name>\S.{0,199})")
# The kernel's own line, or what /proc/cmdline shows.
_COMMAND_LINE = re.compile(
    r"(?:^\W{0,40}|[]>|:\d]\s{0,8})(?:[Kk]ernel c|C)ommand line: (?P<words>.{1,4096})"
    r"|^[\s>|]{0,20}(?P<shown>BOOT_IMAGE=\S{1,200} .{1,4096})"
)
_LAST_PFN = re.compile(r"last_pfn = 0x([0-9a-f]{1,13})\b")
_BOOTMETHOD = re.compile(r"machdep\.bootmethod[:=] *(UEFI|BIOS)\b")  # FreeBSD, amd64
# drivers/firmware/efi/efi.c (v5.10: noruntime, or a kernel for real time), arch/x86/platform/efi/efi.c (v3.10)
_NO_RUNTIME = re.compile(r"EFI runtime services will be disabled|No EFI runtime due to 32/64-bit mismatch with kernel")
_CUT = re.compile(
    r"^[\W_]{0,40}(?:(?:[a-z0-9]{1,12} ){0,3}(?:lines?|messages|rest|parts?|output|log) (?:was |were )?)?"
    r"(?:\.{3}|\u2026|8<|snip|cut|skip|omit|trim|truncat|remov|delet|elid|left out)[^:=]{0,40}$"
    r"|^[\s>|\[(]{0,20}(?:[.*]\s?){2,40}[\s)\]]{0,20}$",
    re.IGNORECASE,
)
_RSDP = re.compile(r"ACPI: RSDP (?:\([^)]{0,60}\) @ )?(?:0x)?([0-9a-fA-F]{5,16})\b")


def read(line: str, boots: Boots) -> bool:
    """Of each boot the first version, name and command line count; a new version begins another boot."""
    if "version" in line and (found := _VERSION.search(line)):
        stamped = not line.lstrip(" >|").startswith("Linux version")
        if boots.lists.stamped and not stamped and boots.lists.kernel == found[1]:
            return False  # `cat /proc/version`, between lines of a boot
        if boots.lists.tells_of_a_boot:
            boots.begin()
        boots.lists.stamped = stamped
        boots.lists.kernel = found[1]
        boots.lists.booting.add("before")
    lists = boots.lists
    own = "DMI: " in line
    named = own or ("Hardware name: " in line and not _of_another_kernel(boots))
    if named and (not lists.title or own > lists.own_title) and (found := _MACHINE.search(line)):
        name = re.split(r'\\n|", "', found["name"])[0].rstrip(' \t",}')  # without what a quoted string has behind it
        lists.title, lists.own_title = printable(name), own
    shown = not lists.command_line and ("ommand line: " in line or "BOOT_IMAGE=" in line)
    if shown and (found := _COMMAND_LINE.search(line)):
        lists.command_line, lists.command_line_at = printable(found["words"] or found["shown"]), lists.line
    _read_starter(line, lists)
    if not lists.own_arch:
        lists.name_architecture(*architecture(line))
    read_system(line, boots)
    return False


def read_system(line: str, boots: Boots) -> None:
    """Which other system, or state of a log, a line is a sign of."""
    for system, words in SYSTEMS.items():
        if system not in boots.systems and words.search(line):
            boots.systems[system] = boots.lists.line


def _of_another_kernel(boots: Boots) -> bool:
    """Whether the fault that is being read is of another kernel than the boot, and so is the machine that it names."""
    fault = boots.oopses[-1] if boots.oopses and not boots.oopses[-1].ended else None
    return bool(fault and fault.kernel and boots.lists.kernel and not may_be_same(fault.kernel, boots.lists.kernel))


def leaves_out(line: str) -> bool:
    """Whether a line says that others are left out: `[...]`, `<snip>` and the like; no kernel prints one as short."""
    return len(line) < SHORT and bool(_CUT.search(line))


def _read_starter(line: str, lists: Lists) -> None:
    """What tells UEFI from a BIOS.

    setup_arch looks at the firmware (efi_init, which prints "EFI v...") between the first line of the boot and the
    lines "DMI: " and "last_pfn = ", in every kernel since 2.6.32 that we looked at.
    """
    if not lists.booted_by and uefi(line):
        lists.booted_by = "UEFI"
        if "EFI stub: " in line:
            lists.booting.add("stub")
    if "bootmethod" in line and not lists.booted_by and (found := _BOOTMETHOD.search(line)):
        lists.booted_by = found[1]
    if "Xen PVH" in line:  # pv_info.name, arch/x86/xen/enlighten_pvh.c
        lists.booted_by = "Xen"
    if "EFI runtime" in line and (found := _NO_RUNTIME.search(line)):
        lists.no_runtime = found[0]
    if "grep " in line:
        lists.booting.add("cut")
    if "DMI: " in line or "last_pfn = " in line:
        lists.booting.add("after")
    if "last_pfn = " in line and (found := _LAST_PFN.search(line)) and len(lists.last_pfns) < MOST_LAST_PFNS:
        lists.last_pfns.append(int(found[1], 16))
    if "RSDP" in line and not lists.rsdp and (found := _RSDP.search(line)):
        lists.rsdp = int(found[1], 16)
