"""The lines of a log from wherever it comes, one at a time: a log may be a hundred megabytes of garbage.

A log is decoded as UTF-8, or as UTF-16 where it begins with that byte order mark: the UEFI shell's `memmap > file`
writes so.  What is no text becomes U+FFFD, since a serial console may add bytes to a good log.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import count
from typing import BinaryIO, TextIO

from .errors import MapError

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
