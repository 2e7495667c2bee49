"""Readers of single lines, one module a family of formats: each module has `MARKS`, `read` and what it is told by.

`read(line, lists)` puts what the line says into `lists`, and is True for a line that it knows.  It is only asked about
lines with one of `MARKS` in them.  A line that starts like an entry and is none is an error, and no gap: a log may be
cut or damaged anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..lists import Lists
from . import freebsd, iomem, linux, shell, told, xen


class LineReader(NamedTuple):
    """A reader, and the words without which no line is for it."""

    marks: tuple[str, ...]
    read: Callable[[str, Lists], bool]


READERS = tuple(LineReader(module.MARKS, module.read) for module in (linux, xen, iomem, shell, freebsd, told))


def read_line(line: str, lists: Lists) -> None:
    """Put what `line` says into `lists`; MapError for a damaged entry."""
    for marks, read in READERS:
        for mark in marks:
            if mark in line:
                if read(line, lists):
                    return
                break
