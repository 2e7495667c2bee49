"""The lines of a log, and the lists of memory that it holds: kept apart by who wrote them, and the one map they make.

One log may hold several: the firmware's e820 list and the user's, an EFI list printed twice, Xen's list and the one
that Xen gave to its first guest.  `E820_SOURCES` and `EFI_SOURCES` say which of them is believed when there are more.

A log may be a hundred megabytes of garbage, so its lines come one at a time.  It is decoded as UTF-8, or as UTF-16
where it begins with that byte order mark: the UEFI shell's `memmap > file` writes so.  What is no text becomes U+FFFD,
since a serial console may add bytes to a good log.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import BinaryIO, TextIO

from ..uefi.memmap import E820Entry, EfiMemoryDescriptor, MemoryMap
from .errors import MapError

MOST_ENTRIES = 1 << 13  # Linux knows at most 3200 entries of e820 (E820_MAX_ENTRIES, 1024 nodes)

BIOS, USER, HOST, GUEST, OLD_EFI = "BIOS-e820", "user", "Xen's own e820", "Xen", "BIOS-EFI"
SMAP, CHUNKS, IOMEM, SYSFS = "SMAP", "FreeBSD's chunks", "/proc/iomem", "/sys/firmware/memmap"
KERNEL_EFI, HOST_EFI, FREEBSD_EFI, SHELL, RUNTIME_MAP = (
    "efi: mem",
    "Xen's EFI",
    "FreeBSD's EFI",
    "memmap",
    "runtime-map",
)

# What each is called, and what has to be said of a map made from it; the first one that is there is believed.
E820_SOURCES = {
    BIOS: ("e820 list", ""),
    HOST: ("e820 list of Xen", "this is Xen's list"),
    SMAP: ("e820 list of FreeBSD (SMAP)", ""),
    SYSFS: ("list in /sys/firmware/memmap", ""),
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
    RUNTIME_MAP: "runtime-map (only runtime regions)",
}
_WORDS = {USER: "user-defined e820 list"} | {key: words for key, (words, _) in E820_SOURCES.items()} | EFI_SOURCES


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
class _Printed:
    """A list while it is read."""

    entries: list[E820Entry | EfiMemoryDescriptor] = field(default_factory=list)
    first_line: int = 0
    last_line: int = 0


@dataclass
class Lists:
    """What has been read so far.  `line` is the number of the line being read, `section` the heading it stands under.

    `kernel`, `title`, `booted_by`, `memattr` and `memattr_table` are as in MemoryMap, as far as the text has told them;
    `booting` counts which of the lines were seen that every boot prints, the first ones before and the others after the
    firmware is looked at.
    """

    line: int = 0
    section: str = ""
    kernel: str = ""
    title: str = ""
    booted_by: str = ""
    booting: set[str] = field(default_factory=set)
    memattr: list[EfiMemoryDescriptor] = field(default_factory=list)
    memattr_table: int = 0
    _lists: dict[str, list[_Printed]] = field(default_factory=dict)
    _count: int = 0

    def add(self, source: str, entry: E820Entry | EfiMemoryDescriptor, *, anew: bool = False) -> None:
        """Put `entry` at the end of the list of `source`, or at the beginning of a new one."""
        printed = self._lists.setdefault(source, [])
        if anew or not printed:
            printed.append(_Printed(first_line=self.line))
        printed[-1].entries.append(entry)
        printed[-1].last_line = self.line
        self._count += 1
        if self._count > MOST_ENTRIES:
            raise MapError(f"more than {MOST_ENTRIES} entries; expected the log of one boot")

    def count(self, source: str) -> int:
        """How many entries the list of `source` has so far, the last one where it was printed again."""
        return len(self._lists[source][-1].entries) if source in self._lists else 0

    def last(self, source: str) -> E820Entry | None:
        """The last e820 entry of `source` so far."""
        entry = self._lists[source][-1].entries[-1] if source in self._lists else None
        return entry if isinstance(entry, E820Entry) else None

    def found(self) -> tuple[FoundList, ...]:
        """Every list, in the order of their first lines."""
        used = {USER, _believed(E820_SOURCES, self._lists), _believed(EFI_SOURCES, self._lists)}
        lists = [
            FoundList(
                f"{_WORDS[key]}{', printed again' if number else ''}",
                len(one.entries),
                one.first_line,
                one.last_line,
                key in used and not number,
            )
            for key, printed in self._lists.items()
            for number, one in enumerate(printed)
        ]
        return tuple(sorted(lists, key=lambda one: one.first_line))

    def memory_map(self, name: str) -> MemoryMap:
        """The map of these lists; MapError where there is none."""
        e820, efi = _believed(E820_SOURCES, self._lists), _believed(EFI_SOURCES, self._lists)
        if not (e820 or efi or USER in self._lists):
            raise MapError("no memory map; expected lines such as 'BIOS-e820: [mem ...' or 'efi: mem00: ...'")
        printed = tuple(tuple(self._descriptors(one)) for one in self._lists.get(efi, ())) or ((),)
        note = E820_SOURCES[e820][1] if e820 else ""
        return MemoryMap(
            name,
            descriptors=printed[0],
            reprints=printed[1:],
            e820=self._entries(e820),
            user_e820=self._entries(USER),
            title=self.title,
            kernel=self.kernel,
            memattr=tuple(self.memattr),
            memattr_table=self.memattr_table,
            booted_by=self._booted_by(e820, efi),
            notes=(note,) if note else (),
        )

    def _booted_by(self, e820: str, efi: str) -> str:
        """What started the machine: a kernel that says nothing of EFI from beginning to end was started by a BIOS."""
        if e820 in (HOST, GUEST):
            return "Xen"
        if efi or self.booted_by:
            return self.booted_by or "UEFI"
        return "BIOS" if self.booting >= {"before", "after"} and e820 == BIOS else ""

    def _entries(self, source: str) -> tuple[E820Entry, ...]:
        printed = self._lists.get(source, ())
        return tuple(entry for one in printed for entry in one.entries if isinstance(entry, E820Entry))

    @staticmethod
    def _descriptors(printed: _Printed) -> Iterator[EfiMemoryDescriptor]:
        return (entry for entry in printed.entries if isinstance(entry, EfiMemoryDescriptor))


def _believed(sources: dict[str, tuple[str, str]] | dict[str, str], lists: dict[str, list[_Printed]]) -> str:
    return next((key for key in sources if key in lists), "")


LONGEST_LINE = 1 << 16  # the journal cuts its own at 48 KiB (LineMax in journald.conf)
LARGEST_LOG = 1 << 28

# The mark and one ASCII character: the mark alone may be two stray bytes of a serial line.
_UTF_16 = re.compile(rb"\xff\xfe[^\x00]\x00|\xfe\xff\x00[^\x00]")
_CSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # colours of dmesg, cursor movements of a serial console


def decoded(stream: BinaryIO) -> TextIO:
    """`stream` as text, read as it is needed."""
    buffered = io.BufferedReader(_Raw(stream))
    encoding = "utf-16" if _UTF_16.match(buffered.peek(4)) else "utf-8"
    return io.TextIOWrapper(buffered, encoding=encoding, errors="replace", newline="\n")


def numbered_lines(text: TextIO) -> Iterator[tuple[int, str]]:
    """Each line with its number, without its end and without the control sequences of terminals.

    A line is never held longer than until the next.  MapError, beginning with the line's number, for a line or a log
    that is too long to be one.
    """
    read = 0
    for number in count(1):
        line = text.readline(LONGEST_LINE + 1)
        read += len(line)
        if not line:
            return
        if len(line) > LONGEST_LINE:
            raise MapError(f"{number}: a line of more than {LONGEST_LINE} characters; expected a log, or a data file")
        if read > LARGEST_LOG:
            raise MapError(f"{number}: more than {LARGEST_LOG >> 20} MiB by here; expected the log of one boot")
        line = line.rstrip("\n")
        yield number, _CSI.sub("", line) if "\x1b" in line else line


class _Raw(io.RawIOBase):
    """Any object with `read` as something that can be buffered, and that stays open when the buffer is closed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's name for it is private
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
