"""The boots in one text: where each begins, which are the same one printed again, and the map of the one that counts.

A mail may hold the logs of two machines, a serial console the same boot twice, a log the crash kernel's boot behind the
first.  Printings that do not contradict each other are one boot; of several boots the reader has to choose.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..uefi.memmap import EfiMemoryDescriptor, EfiMemoryType, MemoryMap
from .cmdline import with_command_line
from .errors import MapError
from .lists import (
    BIOS,
    E820_SOURCES,
    EFI_SOURCES,
    GUEST,
    HOST,
    KERNEL_EFI,
    MODIFIED,
    X86_ONLY,
    Lists,
    Printed,
    may_be_same,
)
from .oops import Oops, distinct
from .signs import help_for

MOST_BOOTS = 256
MOST_CLOSELY_READ = 1 << 23  # characters; a boot of Linux prints some 100 KB in all
ONE_MIB = 1 << 20
_KEXEC_OPTIONS = ("acpi_rsdp=", "kexec_jump_back_entry=", "elfcorehdr=")
UNTOLD_ARCH = "nothing here says which architecture: the answer is that of an x86 machine, if this is one"


class NoMapError(MapError):
    """A text without any list, or `damage` says what is wrong with the first of them.

    `oopses` are the faults that it tells of all the same, `command_line` is that of their boot.
    """

    oopses: tuple[Oops, ...] = ()
    command_line: str = ""
    damage: str = ""


@dataclass
class Boots:
    """What a text has told so far; `lists` is the boot that is being read.

    `systems` are other systems, and states of a log, that would explain why there is no list; `oopses` are the faults
    of all boots.
    """

    lists: Lists = field(default_factory=Lists)
    systems: dict[str, int] = field(default_factory=dict)
    oopses: list[Oops] = field(default_factory=list)
    _all: list[Lists] = field(default_factory=list)
    _with_lists: int = 0  # of those that have ended
    _closely_read: int = 0

    def __post_init__(self) -> None:
        self._all.append(self.lists)

    def read_closely(self, line: str) -> None:
        """Count the characters of a line that a reader looks at, as it may be an entry; MapError where they are many.

        Each costs a hundred times what one costs in a line that nobody looks at.
        """
        self._closely_read += len(line)
        if self._closely_read > MOST_CLOSELY_READ:
            limit = f"more than {MOST_CLOSELY_READ >> 20} MiB of what may be entries by here"
            raise MapError(f"{limit}; expected the log of one boot")

    def begin(self) -> None:
        """Another boot, or another listing, begins at this line."""
        self._with_lists += bool(self.lists.printed)
        if self._with_lists >= MOST_BOOTS:
            raise MapError(f"more than {MOST_BOOTS} boots; expected the log of one boot")
        if not self.lists.printed and len(self._all) > MOST_BOOTS:
            self._all.pop()  # that is the boot which says nothing; to look for it would compare it with all others
        cut = set() if self.lists.printed else self.lists.booting & {"cut"}  # by the command that stands before
        self.lists = Lists(line=self.lists.line, booting=cut)
        self._all.append(self.lists)

    def chosen(self, number: int | None = None) -> Lists:
        """Boot `number`, counted from 1, or the only one that there is; MapError where that is not so."""
        boots = self._merged()
        if not boots:
            if not distinct(self.oopses):
                self._refuse_others()
            raise self._without_map(help_for(self.systems))
        good = [each for each in boots if any(map(each.good, each.printed))]
        if number is not None:
            if not 1 <= number <= len(boots):
                raise MapError(f"boot {number}: expected one of {_told(boots)}")
            good = [boots[number - 1]] if boots[number - 1] in good else []
            boots = [boots[number - 1]]
        if not good:
            nothing = self._without_map(boots[0].damages()[0], boots[0] if number else None)
            nothing.damage = str(nothing)
            raise nothing
        if len(good) > 1:
            begins = f"{good[1].lines[0]}: a second boot begins here"
            raise MapError(f"{begins}; expected the log of one boot, or --boot N: {_told(boots)}")
        return self._with_arch(good[0])

    def faults_beside(self, chosen: Lists) -> list[Oops]:
        """All faults but those of the other boots that have a list; `of_the_map` are this boot's, or its machine's."""
        others = [one for boot in self._merged() if boot is not chosen for one in boot.faults]
        others = [one for one in others if one not in chosen.faults]
        for one in self.oopses:
            one.of_the_map = _of_the_boot(one, chosen)
            if one.of_the_map and chosen.command_line:
                one.note("command line", chosen.command_line_at)
        return [one for one in distinct(self.oopses) if one not in others]

    def _without_map(self, why: str, boot: Lists | None = None) -> NoMapError:
        """The error that says `why` there is no map, with all faults, or those of `boot`, and their command line."""
        found = NoMapError(why)
        told = boot or next((each for each in self._all if each.faults and each.command_line), Lists())
        for one in self.oopses:
            one.of_the_map = one in told.faults
            if one.of_the_map and told.command_line:
                one.note("command line", told.command_line_at)
        found.oopses = tuple(one for one in distinct(self.oopses) if boot is None or one in boot.faults)
        found.command_line = told.command_line
        return found

    def _merged(self) -> list[Lists]:
        """The boots that have lists, those that do not contradict each other made one."""
        boots: list[Lists] = []
        for each in self._all:
            if not each.printed:
                continue
            shared = [one for one in boots if one.printed.keys() & each.printed.keys()]
            alike = next((one for one in shared if one.agrees(each)), None)
            if alike is None and boots and boots[-1] not in shared:
                alike = boots[-1]
            if alike is None:
                boots.append(each)
            else:
                boots[boots.index(alike)] = _joined(alike, each)
        return boots

    def _with_arch(self, lists: Lists) -> Lists:
        """The boot, refused when it is another architecture's: only lists of x86 say so themselves."""
        if X86_ONLY & set(lists.printed):
            lists.arch = "x86"
        if not lists.arch:
            self._refuse_others()
        elif lists.arch != "x86":
            raise _not_of_x86(lists)
        return lists

    def _refuse_others(self) -> None:
        """MapError where something in the text is another architecture's."""
        for each in self._all:
            if each.arch not in ("", "x86"):
                raise _not_of_x86(each)


def _not_of_x86(lists: Lists) -> MapError:
    where = f"line {lists.arch_line} is of {lists.arch}"
    return MapError(f"{lists.arch_line}: {where}; expected the log of an x86 machine, which the model is of")


def _of_the_boot(one: Oops, boot: Lists) -> bool:
    """Whether a fault is of this boot or its machine: where it stands, unless it names another machine or kernel."""
    if one.machine and boot.own_title:
        return may_be_same(one.machine, boot.title)
    if one.kernel and boot.kernel and not may_be_same(one.kernel, boot.kernel):
        return False
    return one in boot.faults or bool(one.machine and one.machine == boot.title)


def _joined(first: Lists, second: Lists) -> Lists:
    """Two printings of one boot as one: what the first did not tell is the second's, and the longer lists count."""
    main, other = (second, first) if _weight(second) > _weight(first) else (first, second)
    printed: dict[str, list[Printed]] = {}
    for key in dict.fromkeys((*main.printed, *other.printed)):
        both = [main.printed.get(key, []), other.printed.get(key, [])]
        both.sort(key=lambda one: -len(one[0].entries) if one and not one[0].damage else 1)
        for one in both[1]:
            one.twin = any(one.agrees(each) for each in both[0])
        printed[key] = [*both[0], *both[1]]
    told = {name: getattr(main, name) or getattr(other, name) for name in _FACTS}
    faults = main.faults + other.faults
    return Lists(printed=printed, booting=main.booting | other.booting, faults=faults, **told)


_FACTS = (
    *("kernel", "title", "own_title", "no_runtime", "booted_by", "command_line", "command_line_at"),
    *("arch", "own_arch", "arch_line", "rsdp", "last_pfns", "memattr", "memattr_table"),
)


def _weight(lists: Lists) -> int:
    """How well a printing says what it is of: with a list of the kernel that boots, and by what it tells besides."""
    return 4 * bool({BIOS, GUEST, KERNEL_EFI} & set(lists.printed)) + 2 * bool(lists.title) + bool(lists.kernel)


def _told(boots: list[Lists]) -> str:
    """The boots in a few words; of many the first and the last."""
    words = []
    for number, each in enumerate(boots, 1):
        first, last = each.lines
        words.append(f"{number} in lines {first} to {last}" + (f" (Linux {each.kernel[:40]})" if each.kernel else ""))
    return ", ".join(words if len(words) < 8 else [*words[:5], "...", words[-1]])


def memory_map(lists: Lists, name: str) -> MemoryMap:
    """The map of one boot."""
    e820, efi = lists.e820_source, lists.believed(EFI_SOURCES)
    printed = lists.efi(efi) or ((),)
    note = E820_SOURCES[e820][1] if e820 else ""
    notes = [*([note] if note else []), *_notes(lists)]
    found = MemoryMap(
        name,
        descriptors=printed[0],
        reprints=printed[1:],
        e820=lists.e820(e820),
        user_e820=lists.e820(lists.changed),
        title=lists.title,
        kernel=lists.kernel,
        memattr=tuple(lists.memattr),
        memattr_table=lists.memattr_table,
        booted_by=booted_by(lists, e820, printed[0]),
        notes=tuple(notes),
    )
    trimmed = lists.changed == MODIFIED  # the kernel has printed its end before and after
    return with_command_line(found, lists.command_line, [] if trimmed else lists.last_pfns) if e820 == BIOS else found


def booted_by(lists: Lists, e820: str, efi: tuple[EfiMemoryDescriptor, ...]) -> str:
    """What started the machine: "UEFI" by any sign of it, "kexec", "Xen", "BIOS"; "" where nothing tells.

    A kernel that says nothing of EFI from beginning to end, with nothing cut out in between, was started by a BIOS,
    unless ACPI's tables hang where only UEFI puts them: above 1 MiB (ACPI specification, 5.2.5.1).
    """
    if e820 in (HOST, GUEST):
        return "Xen"
    whole = lists.booting - {"stub"} == {"before", "after"} and e820 == BIOS
    options = lists.command_line.split()
    only_runtime = (
        bool(efi)
        and KERNEL_EFI in lists.printed
        and not any(each.type == EfiMemoryType.EfiConventionalMemory or not each.runtime for each in efi)
    )
    if only_runtime or any(each.startswith(_KEXEC_OPTIONS) for each in options):
        return "kexec"
    if efi or lists.booted_by:
        return lists.booted_by or "UEFI"
    if not whole:
        return ""
    return "kexec" if lists.rsdp >= ONE_MIB else "BIOS"


def _notes(lists: Lists) -> list[str]:
    """What has to be said of a boot besides its map."""
    notes = [f"a damaged list is not used: line {words}" for words in lists.damages()]
    if any(one.twin for printed in lists.printed.values() for one in printed):
        notes.append("the same list is printed twice here")
    if "elfcorehdr=" in lists.command_line:
        notes.append(
            "this kernel has what was kept for a crash (elfcorehdr=); the first kernel had the machine's memory"
        )
    if not lists.arch and not X86_ONLY & set(lists.printed):
        notes.append(UNTOLD_ARCH)
    return notes
