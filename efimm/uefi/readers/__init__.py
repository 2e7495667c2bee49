"""Readers of single lines, one module a family of formats: each module has `MARKS`, `read` and what it is told by.

`read(line, boots)` puts what the line says into the boot that is being read, and is True for a line that it knows.  It
is only asked about lines with one of `MARKS` in them.  A line that starts like an entry and is none damages its list,
and is no gap: a log may be cut anywhere.  Outside its own heading a format counts by whole lines only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..boots import Boots
from . import freebsd, grub, iomem, linux, shell, told, xen


class LineReader(NamedTuple):
    """A reader, and the words without which no line is for it."""

    marks: tuple[str, ...]
    read: Callable[[str, Boots], bool]


READERS = tuple(LineReader(module.MARKS, module.read) for module in (linux, xen, iomem, shell, grub, freebsd, told))


def read_line(line: str, boots: Boots) -> None:
    """Put what `line` says into the boot that is being read."""
    for marks, read in READERS:
        for mark in marks:
            if mark in line:
                if read(line, boots):
                    return
                break


def unfinished(line: str) -> bool:
    """Whether `line` starts like an entry of a list that a mailer may have wrapped, and is none as it stands."""
    return linux.unfinished(line) or shell.unfinished(line)
