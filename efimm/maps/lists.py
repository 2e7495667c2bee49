"""The lists of memory that one boot has printed, kept apart by who wrote them.

One log may hold several: the firmware's e820 list and the user's, an EFI list printed twice, Xen's list and the one
that Xen gave to its first guest.  `E820_SOURCES` and `EFI_SOURCES` say which of them is believed when there are more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..uefi.memmap import E820Entry, EfiMemoryDescriptor, EfiMemoryType
from .cmdline import efi_options
from .errors import MapError
from .oops import Oops

Entry = E820Entry | EfiMemoryDescriptor

MOST_ENTRIES = 1 << 13  # Linux knows at most 3200 entries of e820 (E820_MAX_ENTRIES, 1024 nodes)
MOST_PRINTINGS = 1 << 8  # of a list in one boot

BIOS, USER, MODIFIED, HOST, GUEST, OLD_EFI = "BIOS-e820", "user", "modified", "Xen's own e820", "Xen", "BIOS-EFI"
SMAP, CHUNKS, IOMEM, SYSFS = "SMAP", "FreeBSD's chunks", "/proc/iomem", "/sys/firmware/memmap"
KERNEL_EFI, HOST_EFI, FREEBSD_EFI, SHELL, RUNTIME_MAP = (
    "efi: mem",
    "Xen's EFI",
    "FreeBSD's EFI",
    "memmap",
    "runtime-map",
)
GRUB, GRUB_E820, OPENBSD = "lsefimmap", "lsmmap", "machine memory"
X86_ONLY = {BIOS, USER, MODIFIED, OPENBSD, HOST, GUEST, OLD_EFI, SMAP, SYSFS}  # lists that only x86 has

# What each is called, and what has to be said of a map made from it; the first one that is there is believed.
E820_SOURCES = {
    BIOS: ("e820 list", ""),
    HOST: ("e820 list of Xen", "this is Xen's list"),
    SMAP: ("e820 list of FreeBSD (SMAP)", ""),
    SYSFS: ("list in /sys/firmware/memmap", ""),
    GRUB_E820: ("lsmmap of GRUB", ""),
    OPENBSD: ("machine memory of OpenBSD's boot loader", ""),
    OLD_EFI: (
        "e820 list made from the EFI map (BIOS-EFI)",
        "the e820 list was made by the kernel, without what its boot loader and the firmware took",
    ),
    GUEST: (
        "e820 list of a guest of Xen",
        "this is a guest's list, made by Xen",
    ),
    IOMEM: ("/proc/iomem", "/proc/iomem tells what the kernel has made of the firmware's list"),
    CHUNKS: ("memory chunks of FreeBSD", "FreeBSD's chunks are what it uses; what lies between them is not told"),
}
EFI_SOURCES = {
    KERNEL_EFI: "EFI list",
    HOST_EFI: "EFI list of Xen",
    FREEBSD_EFI: "EFI list of FreeBSD",
    SHELL: "memmap of the UEFI shell",
    GRUB: "lsefimmap of GRUB",
    RUNTIME_MAP: "runtime-map (only runtime regions)",
}
NOT_THE_FIRMWARES = {GUEST, IOMEM, CHUNKS}  # what says otherwise than the EFI list does not contradict the firmware
_WORDS = (
    {USER: "user-defined e820 list", MODIFIED: "e820 list without what the MTRRs leave out"}
    | {key: words for key, (words, _) in E820_SOURCES.items()}
    | EFI_SOURCES
)


@dataclass(frozen=True, slots=True)
class FoundList:
    """One list: who wrote it, in words, how many entries, the lines where it stands (0 for files of sysfs).

    `used` is False where another list was believed; a list that was printed again counts as a list of its own.
    """

    words: str
    entries: int
    first_line: int
    last_line: int
    used: bool


@dataclass
class Printed:
    """A list as it was printed once; `damage` says, with the line's number, why it cannot be believed."""

    entries: list[E820Entry | EfiMemoryDescriptor] = field(default_factory=list)
    first_line: int = 0
    last_line: int = 0
    damage: str = ""
    twin: bool = False  # what another printing of the same boot has, too

    def agrees(self, other: Printed) -> bool:
        """Whether one may be the other, printed again or quoted in part; a damaged list tells nothing."""
        few, many = sorted((set(self.entries), set(other.entries)), key=len)
        return few <= many or bool(self.damage or other.damage)


def may_be_same(one: str, other: str) -> bool:
    """Whether two names, of a machine or a kernel, may be the same: a mailer, or a kernel, may have cut one of them."""
    short, long = sorted((one, other), key=len)
    return long.startswith(short)


def is_whole(efi: Iterable[EfiMemoryDescriptor]) -> bool:
    """Whether an EFI list has RAM: what is kept of one after a kexec, or in sysfs, has the services' regions alone."""
    return any(each.type == EfiMemoryType.EfiConventionalMemory for each in efi)


@dataclass
class Lists:
    """What one boot, or one listing, has told so far.  `section` is the heading that the line being read stands under.

    `kernel`, `title`, `booted_by`, `memattr` and `memattr_table` are as in MemoryMap, as far as they were told;
    `own_title` says that the title is the boot's own, `no_runtime` is the kernel's word that it makes no EFI call.
    `booting` counts which of the lines were seen that every boot prints, the first ones before and the others after the
    firmware is looked at; whether some were cut out; whether the kernel's EFI stub was heard before them.  `arch` is
    the architecture that something named, with that line: the machine itself (`own_arch`), or prose that names one and
    no other.  `rsdp` is where the first table of ACPI lies.
    """

    line: int = 0
    section: str = ""
    kernel: str = ""
    title: str = ""
    own_title: bool = False
    stamped: bool = False  # whether something stood before its first line
    no_runtime: str = ""
    booted_by: str = ""
    command_line: str = ""
    command_line_at: int = 0
    arch: str = ""
    own_arch: bool = False
    named: set[str] = field(default_factory=set)
    arch_line: int = 0
    rsdp: int = 0
    last_pfns: list[int] = field(default_factory=list)
    booting: set[str] = field(default_factory=set)
    memattr: list[EfiMemoryDescriptor] = field(default_factory=list)
    memattr_table: int = 0
    printed: dict[str, list[Printed]] = field(default_factory=dict)
    damaged: int = 0
    faults: list[Oops] = field(default_factory=list)

    @property
    def tells_of_a_boot(self) -> bool:
        """Whether the first line of a kernel begins another boot: what its EFI stub says stands before that line."""
        told = self.kernel or self.printed or self.arch or self.title or self.command_line or self.rsdp
        by_others = self.booted_by and "stub" not in self.booting
        return bool(told or by_others or self.no_runtime or self.last_pfns)

    def name_architecture(self, name: str, own: bool) -> None:
        """Take note of an architecture that the line names; what prose says counts where it names one alone."""
        if not name:
            return
        self.named.add(name)
        if own or self.named == {name}:
            self.arch_line = self.line if own or not self.arch else self.arch_line
            self.arch, self.own_arch = name, own
        else:
            self.arch = ""

    def read(self, source: str, parse: Callable[[Any], Entry], what: Any, *, anew: bool = False) -> None:
        """Put what `parse` makes of `what` at the end of the list of `source`; a MapError makes that list damaged."""
        try:
            self.add(source, parse(what), anew=anew)
        except MapError as error:
            self.damage(source, str(error), anew=anew)

    def add(self, source: str, entry: Entry, *, anew: bool = False) -> None:
        """Put `entry` at the end of the list of `source`, or at the beginning of a new one."""
        if self.count(source) >= MOST_ENTRIES:
            raise MapError(f"more than {MOST_ENTRIES} entries; expected the list of one boot")
        self._list(source, anew).entries.append(entry)

    def damage(self, source: str, why: str, *, anew: bool = False) -> None:
        """Take the list of `source` for damaged from this line on; MapError where there is no end of damage."""
        self.damaged += 1
        if self.damaged > MOST_ENTRIES:
            raise MapError(f"more than {MOST_ENTRIES} damaged entries by here; expected the log of one boot")
        one = self._list(source, anew)
        one.damage = one.damage or f"{self.line}: {why}"

    def _list(self, source: str, anew: bool) -> Printed:
        printed = self.printed.setdefault(source, [])
        if anew or not printed:
            if len(printed) >= MOST_PRINTINGS:
                raise MapError(f"a list printed more than {MOST_PRINTINGS} times; expected the log of one boot")
            printed.append(Printed(first_line=self.line))
        printed[-1].last_line = self.line
        return printed[-1]

    def count(self, source: str) -> int:
        """How many entries the list of `source` has so far, the last one where it was printed again."""
        return len(self.printed[source][-1].entries) if source in self.printed else 0

    def last(self, source: str) -> E820Entry | None:
        """The last e820 entry of `source` so far."""
        entries = self.printed[source][-1].entries if source in self.printed else []
        return entries[-1] if entries and isinstance(entries[-1], E820Entry) else None

    @property
    def lines(self) -> tuple[int, int]:
        """The first and the last line of the lists."""
        every = [one for printed in self.printed.values() for one in printed]
        return min(one.first_line for one in every), max(one.last_line for one in every)

    def agrees(self, other: Lists) -> bool:
        """Whether no list of the two contradicts the same list of the other, nor its machine or its options."""
        if self.own_title and other.own_title and not may_be_same(self.title, other.title):
            return False
        told = self.command_line, other.command_line
        if all(told) and efi_options(told[0]).keys() != efi_options(told[1]).keys():
            return False
        both = self.printed.keys() & other.printed.keys()
        return all(self.printed[key][0].agrees(other.printed[key][0]) for key in both)

    def good(self, source: str) -> list[Printed]:
        """The undamaged printings of `source`, the longest of those that are alike first."""
        return [one for one in self.printed.get(source, ()) if one.entries and not one.damage]

    def damages(self) -> list[str]:
        """What is wrong with each damaged list, in the order of lines."""
        found = [one.damage for printed in self.printed.values() for one in printed if one.damage]
        return sorted(found, key=lambda words: int(words.partition(":")[0]))

    @property
    def e820_source(self) -> str:
        """The e820 list that is believed; FreeBSD's chunks only where its EFI list is not there, or in part."""
        source = self.believed(E820_SOURCES)
        efi = self.efi(self.believed(EFI_SOURCES))
        return "" if source == CHUNKS and efi and is_whole(efi[0]) else source

    @property
    def changed(self) -> str:
        """The list that the kernel works with instead of the firmware's, "" for none: what MTRRs trim comes last."""
        return self.believed({MODIFIED: "", USER: ""})

    def believed(self, sources: dict[str, Any]) -> str:
        """The first of `sources` that has an undamaged list; "" where none has."""
        return next((key for key in sources if self.good(key)), "")

    def found(self) -> tuple[FoundList, ...]:
        """Every list, in the order of their first lines."""
        used = [self.good(key)[:1] for key in (self.changed, self.e820_source, self.believed(EFI_SOURCES))]
        lists = [
            FoundList(
                f"{_WORDS[key]}{', printed again' if number else ''}{', damaged' if one.damage else ''}",
                len(one.entries),
                one.first_line,
                one.last_line,
                any(one is each for first in used for each in first),
            )
            for key, printed in self.printed.items()
            for number, one in enumerate(printed)
        ]
        return tuple(sorted(lists, key=lambda one: one.first_line))

    def e820(self, source: str) -> tuple[E820Entry, ...]:
        """The entries of a list of e820's kind; none where there is no undamaged one."""
        return tuple(each for one in self.good(source)[:1] for each in one.entries if isinstance(each, E820Entry))

    def efi(self, source: str) -> tuple[tuple[EfiMemoryDescriptor, ...], ...]:
        """Each printing of an EFI list."""
        lists = [one.entries for one in self.good(source) if not one.twin]
        return tuple(tuple(each for each in one if isinstance(each, EfiMemoryDescriptor)) for one in lists)
