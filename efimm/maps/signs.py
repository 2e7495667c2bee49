"""Signs in a log: of UEFI, of an architecture, of another system, and what would help where no list was found.

Each sign is a word or a few that only one thing prints; where a line may come from elsewhere, too, it is no sign.
"EFI Variables Facility" is none: 3.5 prints it on a BIOS machine before it looks (efivars_init,
drivers/firmware/efivars.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

UEFI_MARKS = (
    *("EFI v", "efi: ", "esrt: R", "efivars op", "EFI VGA", "efifb: ", "ecure boot", "efi as pers", "efi_pstore"),
    *("VT(efifb)", "EFI runtime", "rtc-efi", "efi_call_", "efi_crash", "caused by firmware"),
    *("EFI Secure", "UEFI:db", "EFI stub: ", "sys/firmware/efi", "File(\\EFI", "BootCurrent: ", "ACPI 2.0=0x"),
    *("UEFI: ", "-V UEFI"),
)
_UEFI = re.compile(
    r"(?<!\w)EFI v[0-9]+(?:\.[0-9]+)+ by\b"
    r"|\befi: +(?:[\w .]{2,16}=0x[0-9a-f]|EFI_MEMMAP|mem[0-9]|seeding|Froze|memattr)"
    r"|\befi: (?:Remove|Not removing) mem[0-9]|\besrt: Reserving|Registered efivars operations|EFI VGA frame buffer"
    r"|efifb: (?:probing|framebuffer at)|[Ss]ecure boot (?:enabled|disabled)|Registered efi as persistent store"
    r"|VT\(efifb\)|Registered efi_pstore|EFI runtime services|rtc-efi|efi_call_|efi_crash_gracefully"
    r"|Page fault caused by firmware|locked down from EFI Secure Boot|\bUEFI:db\b|EFI stub: \w"
    r"|efivarfs on /sys/firmware/efi|File\(\\EFI|BootCurrent: [0-9A-F]{4}|ACPI 2\.0=0x[0-9a-f]{4}"
    r"|\bUEFI: [\w .,()-]{2,60} v: |Hyper-V UEFI Release"
)

_ARCHITECTURES = {
    "arm64": (
        r"Booting Linux on physical CPU|aarch64|Getting EFI parameters from FDT|arm64:|\bGICv[23]|CPU +[0-9]+: ARM "
        r"|GENERIC[\w-]{0,20} arm64|Mem abort info|\bESR = 0x"
    ),
    "ARM": r"Booting Linux on physical CPU 0x[0-9a-f]{1,4}$|\barmv[5-8]|CPU: ARM",
    "ia64": r"SALsystab=|\bia64\b|\bSAL_[A-Z]|Itanium",
    "POWER": r"\bpSeries\b|\bPOWER[5-9]|\bPOWER1[0-9]|ppc64|powerpc|PowerNV|\bNIP: ",
    "s390": r"\bs390x?\b|\bz/VM\b|\bPSW : ",
    "RISC-V": r"riscv|RISC-V|\bepc ?: [0-9a-f]{8}|\bSBI (?:specification|implementation)",
    "LoongArch": r"loongarch|Loongson-64bit",
    "MIPS": r"\bmips(?:64)?(?:el)?\b",
    "SPARC": r"\bsparc64\b|PROMLIB:",
}
# What says x86: the kernel's own words, and devices of the PC in /proc/iomem.
_X86 = (
    r"x86_64|\bi[3-6]86\b|\bx86/|000a0000-000bffff|: Local APIC|: IOAPIC|: RAM buffer|: ACPI Non-volatile|GenuineIntel"
    r"|Xeon|EPYC|Opteron|AuthenticAMD|smpboot:|KVM-clock|Video ROM|: HPET|\be820\b"
)
ARCHITECTURE = re.compile(
    "|".join([f"(?P<x86>{_X86})", *(f"(?P<a{n}>{words})" for n, words in enumerate(_ARCHITECTURES.values()))])
)
_NAMES = list(_ARCHITECTURES)
# A mere name may stand in any sentence; it is the machine's own word in what the machine has printed.
_MERE_NAME = re.compile(
    r"x86_64|i[3-6]86|Xeon|EPYC|Opteron|aarch64|arm64:|armv[5-8]|ia64|Itanium|pSeries|POWER[0-9]+|ppc64|powerpc|PowerNV"
    r"|s390x?|z/VM|riscv|RISC-V|loongarch|mips\w{0,4}|sparc64"
)
_OWN_WORDS = re.compile(
    r"^[^\w\[]{0,9}(?:<[0-9]{1,3}>)?\[ *[0-9]{1,9}\.[0-9]{1,9}\]|Linux version|\bLinux \S{1,80} [0-9].{0,200}#[0-9]"
    r"|[Aa]rchitecture *:|\bkernel: "
)
_ADDRESS = re.compile(r"[\w.+-]{1,80}@")

ARCHITECTURE_MARKS = (
    *("physical CPU", "aarch64", "from FDT", "GICv", "armv", "ARM", "SALsystab", "ia64", "SAL_", "Itanium"),
    *("pSeries", "POWER", "ppc64", "powerpc", "PowerNV", "NIP: ", "s390", "z/VM", "PSW : ", "riscv", "RISC-V", "SBI "),
    *("loongarch", "Loongson", "mips", "sparc", "PROMLIB", "x86", "i386", "i486", "i586", "i686", "a0000-000b"),
    *(
        " APIC",
        "IOAPIC",
        "RAM buffer",
        "ACPI Non-v",
        "GenuineIntel",
        "AuthenticAMD",
        "smpboot",
        "KVM-clock",
        "Video ROM",
    ),
    *("HPET", "e820", "Xeon", "EPYC", "Opteron", "arm64", "abort info", "ESR = 0x", "epc"),
)

_NO_LIST = "no memory map; expected lines such as 'BIOS-e820: [mem ...' or 'efi: mem00: ...'"
_SYSTEMS = {
    "FreeBSD": (r"FreeBSD [0-9]|The FreeBSD Project", "`boot -v`, `sysctl machdep.smap` or `sysctl machdep.efi_map`"),
    "OpenBSD": (r"OpenBSD [0-9]+\.[0-9]|root on sd[0-9]a \(", "`machine memory` at its boot> prompt"),
    "NetBSD": (r"NetBSD [0-9]+\.|The NetBSD Foundation", "a Linux started from a stick, and its `dmesg`"),
    "DragonFly BSD": (r"DragonFly [0-9v]", "`boot -v`"),
    "illumos": (r"SunOS Release|illumos", "a Linux started from a stick, and its `dmesg`"),
    "macOS": (r"Darwin Kernel Version", "the UEFI shell's `memmap`"),
    "Windows": (r"Microsoft Windows \[|Windows IP", "the UEFI shell's `memmap`"),
    "Linux": (r"Linux version [0-9]", ""),
    "late": (r"^\W*(?:<\d+>)?\[ *[0-9]+\.[0-9]{6}\]", ""),
}
SYSTEMS = {name: re.compile(words) for name, (words, _) in _SYSTEMS.items()}


def marked(line: str, marks: Iterable[str]) -> bool:
    """Whether `line` has one of `marks` in it, without which an expression finds nothing in it."""
    for mark in marks:  # noqa: SIM110 - nearly every line comes here, and a generator takes three times as long
        if mark in line:
            return True
    return False


def uefi(line: str) -> bool:
    """Whether `line` is one that only a machine started by UEFI prints."""
    return marked(line, UEFI_MARKS) and bool(_UEFI.search(line))


def architecture(line: str) -> tuple[str, bool]:
    """The architecture that `line` names: "x86", another, or ""; and whether the machine says so, and not prose.

    Prose that names several says nothing, and an address in it has the name of what its list is about.
    """
    found = marked(line, ARCHITECTURE_MARKS) and ARCHITECTURE.search(line)
    if not found:
        return "", False
    if not _MERE_NAME.fullmatch(found[0]) or _OWN_WORDS.search(line):
        return _named(found), True
    names = {_named(each) for each in ARCHITECTURE.finditer(_ADDRESS.sub(" ", line))}
    return names.pop() if len(names) == 1 else "", False


def _named(found: re.Match[str]) -> str:
    group = found.lastgroup or "x86"
    return "x86" if group == "x86" else _NAMES[int(group[1:])]


def help_for(systems: dict[str, int]) -> str:
    """Why a text has no list, from the `systems` that were seen in it, and what would have one."""
    for name, (_, way) in _SYSTEMS.items():
        if way and name in systems:
            return f"{_NO_LIST}: line {systems[name]} is {name}'s, whose log has none; {way} would show it"
    if "Linux" not in systems and "late" in systems:
        return f"{_NO_LIST}: this log begins after the first lines of the boot; `journalctl -k -b` may have them"
    return _NO_LIST
