"""Memory maps from text: logs and listings of several systems, directories of sysfs, and this project's own files.

The readers of single lines are a module for each family of formats, with `MARKS` and `read` and the source it is told
by.  `read(line, lists)` puts what the line says into `lists`, and is True for a line that it knows.  It is only asked
about lines with one of `MARKS` in them.  A line that starts like an entry and is none is an error, and no gap: a log
may be cut or damaged anywhere.
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
from . import freebsd, iomem, linux, memattr, shell, told, xen
from .datafiles import read_data_file, write_map
from .errors import MapError, printable, shortened
from .lists import FoundList, Lists, decoded, numbered_lines
from .sysfs import read_sysfs


class LineReader(NamedTuple):
    """A reader, and the words without which no line is for it."""

    marks: tuple[str, ...]
    read: Callable[[str, Lists], bool]


READERS = tuple(LineReader(module.MARKS, module.read) for module in (linux, memattr, xen, iomem, shell, freebsd, told))


def read_line(line: str, lists: Lists) -> None:
    """Put what `line` says into `lists`; MapError for a damaged entry."""
    for marks, read in READERS:
        for mark in marks:
            if mark in line:
                if read(line, lists):
                    return
                break


__all__ = ["MapError", "Reading", "read", "read_map", "write_map"]

# tomllib's time grows with the square of a line's length, and ours are short.
LARGEST_DATA_FILE = 1 << 18
LONGEST_DATA_LINE = 1 << 12
MOST_COMMENTS = 200  # lines that may stand before the name in a data file
LONGEST_NAME = 1000

_ENDINGS = re.compile(r"(?:\.(?:txt|log|dmesg|iomem|physmem))+$")
_DATA_FILE = re.compile(r'name *= *"')


@dataclass(frozen=True)
class Reading:
    """A memory map, and the lists in the text that it was made from; no lists for one of the project's own files."""

    map: MemoryMap
    lists: tuple[FoundList, ...] = ()


def read_map(source: str | os.PathLike[str] | BinaryIO) -> MemoryMap:
    """The memory map in a log, in a listing, in a directory of sysfs, or in one of the project's data files.

    A str with a newline is the text itself, any other str a path; a binary file is read to its end.  Read are: boot
    logs of x86 Linux (the EFI list and its reprints, the e820 list of the firmware and the user-defined one), of Xen
    and of FreeBSD; /proc/iomem; the UEFI shell's memmap; /sys/firmware, or one of the two lists in it.  Where there are
    several lists, `lists.py` says which counts.  Ends are exclusive in the result, whatever the text had; virtual
    addresses are 0.  The name is that of the file without its endings.

    MapError when the source cannot be read, holds no map or more than one boot, misses an EFI entry, or has an entry
    that is damaged.  Does not check that ranges are sorted or apart: EFI lists need not be.
    """
    return read(source).map


def read(source: str | os.PathLike[str] | BinaryIO) -> Reading:
    """As `read_map`, and which lists there were."""
    if isinstance(source, str) and "\n" in source:
        return _read_text(io.StringIO(source), "<text>")
    if not isinstance(source, str | os.PathLike):
        return _read_text(decoded(source), "<input>")
    path = Path(source)
    try:
        if path.is_dir():
            return _read_directory(path)
        with path.open("rb") as file:
            return _read_text(decoded(file), str(path))
    except MapError:
        raise  # it is a ValueError, too
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise MapError(f"{_shown(source)}: expected a readable file: {reason}") from None


def _read_directory(path: Path) -> Reading:
    try:
        lists = read_sysfs(path)
        return Reading(lists.memory_map(path.name), lists.found())
    except MapError as error:
        raise MapError(f"{_shown(path)}: {error}") from None


def _read_text(text: TextIO, where: str) -> Reading:
    shown = _shown(where)
    try:
        data, lists = _data_or_lists(numbered_lines(text), where.endswith(".toml"))
    except MapError as error:
        raise MapError(f"{shown}:{error}") from None
    if data:
        return Reading(read_data_file(data, shown))
    try:
        return Reading(lists.memory_map(_ENDINGS.sub("", Path(where).name)), lists.found())
    except MapError as error:
        raise MapError(f"{shown}: {error}") from None


def _data_or_lists(lines: Iterator[tuple[int, str]], is_data: bool) -> tuple[str, Lists]:
    """The text of a data file, else the lists of a log; errors begin with the number of the line."""
    head = list(islice(lines, MOST_COMMENTS))
    first = next((line for _, line in head if line.strip() and not line.lstrip().startswith("#")), "")
    if is_data or _DATA_FILE.match(first):
        return _whole(chain(head, lines)), Lists()
    lists = Lists()
    for lists.line, line in chain(head, lines):
        try:
            read_line(line, lists)
        except MapError as error:
            raise MapError(f"{lists.line}: {error}") from None
    return "", lists


def _whole(lines: Iterable[tuple[int, str]]) -> str:
    """All lines as one text."""
    whole, size = [], 0
    for number, line in lines:
        size += len(line) + 1
        if size > LARGEST_DATA_FILE or len(line) > LONGEST_DATA_LINE:
            limits = f"at most {LARGEST_DATA_FILE >> 10} KiB, in lines of at most {LONGEST_DATA_LINE} characters"
            raise MapError(f"{number}: expected a data file of {limits}")
        whole.append(f"{line}\n")
    return "".join(whole)


def _shown(where: str | os.PathLike[str]) -> str:
    """A file's name as an error may say it."""
    return printable(str(where)) if len(str(where)) <= LONGEST_NAME else shortened(str(where))
