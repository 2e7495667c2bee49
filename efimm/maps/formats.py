"""Memory maps from text: logs and listings of several systems, directories of sysfs, and this project's own files.

The formats of single lines stand in one module a family: each has `MARKS`, `read` and what it is told by.
`read(line, boots)` puts what the line says into the boot that is being read, and is True for a line that it knows.  It
is only asked about lines with one of `MARKS` in them.  A line that starts like an entry and is none damages its list,
and is no gap: a log may be cut anywhere.  Outside its own heading a format counts by whole lines only.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from ..uefi.memmap import MemoryMap
from . import freebsd, iomem, linux, memattr, oops, shell, told, xen
from .boots import Boots, NoMapError, memory_map
from .datafiles import read_data_file, write_map
from .errors import MapError, printable, shortened
from .lists import CHUNKS, FREEBSD_EFI, NOT_THE_FIRMWARES, FoundList
from .oops import Oops
from .sources import cleaned, decoded, numbered_lines
from .sysfs import read_sysfs
from .wrapped import whole_entries

__all__ = ["MapError", "Reading", "read", "read_map", "write_map"]


class LineReader(NamedTuple):
    """A reader, and the words without which no line is for it."""

    marks: tuple[str, ...]
    read: Callable[[str, Boots], bool]


READERS = tuple(LineReader(module.MARKS, module.read) for module in (linux, memattr, xen, iomem, shell, freebsd, told))
# Below a heading of FreeBSD its lines are looked for as well; elsewhere any dump of a device is full of such numbers.
SECTIONS = {
    CHUNKS: (LineReader(("0x0",), freebsd.read_chunk), *READERS),
    FREEBSD_EFI: (LineReader(("0x0", " 0"), freebsd.read_descriptor), *READERS),
}


def read_line(line: str, boots: Boots) -> None:
    """Put what `line` says into the boot that is being read."""
    for marks, read in SECTIONS.get(boots.lists.section, READERS):
        for mark in marks:
            if mark in line:
                boots.read_closely(line)
                if read(line, boots):
                    return
                break


def unfinished(line: str) -> bool:
    """Whether `line` starts like an entry of a list that a mailer may have wrapped, and is none as it stands."""
    return linux.unfinished(line) or shell.unfinished(line) or freebsd.unfinished(line)


# tomllib's time grows with the square of a line's length, and ours are short.
LARGEST_DATA_FILE = 1 << 18
LONGEST_DATA_LINE = 1 << 12
MOST_COMMENTS = 200  # lines that may stand before the name in a data file
LONGEST_NAME = 1000

_ENDINGS = re.compile(r"(?:\.(?:txt|log|dmesg|iomem|physmem|gz|xz|bz2|json|html?|eml|mbox))+$")
_DATA_FILE = re.compile(r'name *= *"')


@dataclass(frozen=True)
class Reading:
    """A memory map, and the lists in the text that it was made from; no lists for one of the project's own files.

    `command_line` is that of the kernel which printed the map, "" where it was not told; `oopses` are the page faults
    that the text tells of, but those of other boots with a list; `no_runtime` is the kernel's word that it makes no EFI
    call; `both_the_firmwares` is False where one of two lists is not the firmware's own.
    """

    map: MemoryMap
    lists: tuple[FoundList, ...] = ()
    command_line: str = ""
    oopses: tuple[Oops, ...] = ()
    no_runtime: str = ""
    both_the_firmwares: bool = True


def read_map(source: str | os.PathLike[str] | BinaryIO, boot: int | None = None) -> MemoryMap:
    """The memory map in a log, in a listing, in a directory of sysfs, or in one of the project's data files.

    A str with a newline is the text itself, any other str a path; a binary file is read to its end.  Read are: boot
    logs of x86 Linux (the EFI list and its reprints, the e820 list of the firmware and the user-defined one), of Xen
    and of FreeBSD; /proc/iomem; the UEFI shell's memmap, GRUB's lsefimmap and lsmmap; /sys/firmware, or one of the two
    lists in it; each of them packed, in a mail or as JSON, too (`sources.py`).  Where there are several lists,
    `lists.py` says which counts; of several boots, `boot` is the number of one.  Ends are exclusive in the result,
    whatever the text had; virtual addresses are 0.  The name is that of the file without its endings.

    MapError when the source cannot be read, holds no map or more than one boot, or no list without damage.  Does not
    check that ranges are sorted or apart: EFI lists need not be.
    """
    return read(source, boot).map


def read(source: str | os.PathLike[str] | BinaryIO, boot: int | None = None) -> Reading:
    """As `read_map`, and which lists there were."""
    if isinstance(source, str) and "\n" in source:
        return _read_text(io.StringIO(source), "<text>", boot)
    if not isinstance(source, str | os.PathLike):
        return _read_stream(source, "<input>", boot)
    path = Path(source)
    try:
        if path.is_dir():
            _without_boots(boot, _shown(path))
            return _read_directory(path)
        with path.open("rb") as file:
            return _read_stream(file, str(path), boot)
    except MapError:
        raise  # it is a ValueError, too
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise MapError(f"{_shown(source)}: expected a readable file: {reason}") from None


def _read_directory(path: Path) -> Reading:
    try:
        lists = read_sysfs(path)
        return Reading(memory_map(lists, path.name), lists.found())
    except MapError as error:
        raise MapError(f"{_shown(path)}: {error}") from None


def _read_stream(stream: BinaryIO, where: str, boot: int | None) -> Reading:
    try:
        text = decoded(stream)
    except MapError as error:
        raise MapError(f"{_shown(where)}:{error}") from None
    return _read_text(text, where, boot)


def _read_text(text: TextIO, where: str, boot: int | None) -> Reading:
    shown = _shown(where)
    try:
        data, boots = _data_or_boots(numbered_lines(text), where.endswith(".toml"))
    except MapError as error:
        raise MapError(_at(shown, error)) from None
    if data:
        _without_boots(boot, shown)
        return Reading(read_data_file(data, shown))
    try:
        lists = boots.chosen(boot)
    except NoMapError as error:
        nothing = NoMapError(_at(shown, error))
        nothing.oopses, nothing.command_line, nothing.damage = error.oopses, error.command_line, error.damage
        raise nothing from None
    except MapError as error:
        raise MapError(_at(shown, error)) from None
    name = _ENDINGS.sub("", Path(where).name)
    faults = tuple(boots.faults_beside(lists))
    told = memory_map(lists, name), lists.found(), lists.command_line, faults, lists.no_runtime
    return Reading(*told, lists.e820_source not in NOT_THE_FIRMWARES)


def _without_boots(boot: int | None, shown: str) -> None:
    """MapError where a boot was asked for: what is `shown` is no log."""
    if boot is not None:
        raise MapError(f"{shown}: boot {boot}: expected a log; here are no boots")


def _at(shown: str, error: MapError) -> str:
    """The error with the file's name in front, and the number of the line where it begins with one."""
    return f"{shown}:{'' if str(error)[:1].isdigit() else ' '}{error}"


def _data_or_boots(lines: Iterator[tuple[int, str]], is_data: bool) -> tuple[str, Boots]:
    """The text of a data file, else the boots of a log; errors begin with the number of the line."""
    head = list(islice(lines, MOST_COMMENTS))
    first = next((line for _, line in head if line.strip() and not line.lstrip().startswith("#")), "")
    if is_data or _DATA_FILE.match(first):
        return _whole(chain(head, lines)), Boots()
    boots = Boots()
    for boots.lists.line, line in whole_entries(cleaned(chain(head, lines)), unfinished):
        try:
            if oops.concerns(line, boots.oopses):
                boots.read_closely(line)
                before = boots.oopses[-1:]
                oops.read(line, boots.oopses, boots.lists.line)
                if boots.oopses and (not before or boots.oopses[-1] is not before[0]):
                    boots.lists.faults.append(boots.oopses[-1])
            read_line(line, boots)
            if not boots.systems and "] " in line:  # no mark tells a log that begins late from others
                told.read_system(line, boots)
            if told.leaves_out(line):
                boots.lists.booting.add("cut")
        except MapError as error:
            raise MapError(f"{boots.lists.line}: {error}") from None
    return "", boots


def _whole(lines: Iterable[tuple[int, str]]) -> str:
    """All lines as one text."""
    whole, size = [], 0
    for number, line in lines:
        size += len(line) + 1
        if size > LARGEST_DATA_FILE or len(line) > LONGEST_DATA_LINE:
            limits = f"at most {LARGEST_DATA_FILE >> 10} KiB, in lines of at most {LONGEST_DATA_LINE} characters"
            raise MapError(f"{number}: expected a data file of {limits}")
        whole.append(f"{line}\n")
    return "".join(whole).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _shown(where: str | os.PathLike[str]) -> str:
    """A file's name as an error may say it."""
    return printable(str(where)) if len(str(where)) <= LONGEST_NAME else shortened(str(where))
