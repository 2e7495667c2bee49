"""How the command ends: told to by a signal, with a reader that has gone, without a place to write to, or below."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn, TextIO

INTERRUPTED = 130  # the exit status after Ctrl-C, as a shell gives it


class Ended(BaseException):
    """A signal asks this process to end; on the way out everything that was begun is tidied up."""

    def __init__(self, number: int) -> None:
        self.number = number


class Watch(BaseException):
    """Not an error: the command names a file of the reader's, and `main` is to run it in a process below."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path, self.timeout = path, timeout


@dataclass
class Exits:
    """The command's exit status where it refuses to answer; an option may change it."""

    refusal: int = 2


_MOMENT = 0.01  # seconds, after which a finaliser is over; if not, the end is dropped and told again


def obey_signals() -> None:
    """Let SIGTERM and SIGHUP raise Ended, but where somebody has them ignored, as nohup does; none gets lost."""
    sys.unraisablehook = _told_again
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what is tidied up now is not to be disturbed
    raise Ended(number)


def _told_again(lost: sys.UnraisableHookArgs) -> None:
    """Raise an end, or Ctrl-C, a moment later: Python drops what is raised while it finalises an object."""
    end = lost.exc_value
    if not isinstance(end, Ended | KeyboardInterrupt) or not hasattr(signal, "setitimer"):  # Windows has no such timer
        sys.__unraisablehook__(lost)
        return

    def again(_number: int, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code is not _told_again.__code__:
            frame = frame.f_back
        if frame is None:
            raise end
        signal.setitimer(signal.ITIMER_REAL, _MOMENT)  # a busy machine has not left this function yet

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, _MOMENT)


def end_by(number: int) -> NoReturn:
    """End as the signal would have ended this process, so that a shell sees it."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(128 + number)


def leave_at_once() -> NoReturn:
    """End as interrupted, and wait for no thread that is still at work on what was."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(INTERRUPTED)


def nowhere(stream: int) -> None:
    """Let what is written to a stream from now on go nowhere."""
    os.dup2(os.open(os.devnull, os.O_RDWR), stream)


def drop_what_cannot_be_written(stream: TextIO) -> None:
    """Let what a stream holds go nowhere where it has no room: Python would try again at its end, and complain."""
    try:
        stream.flush()
    except OSError:
        nowhere(stream.fileno())


def open_streams() -> list[str]:
    """The names of the standard streams that are closed, which lead nowhere from now on.

    A file that is opened later would get the number of a closed one, and then what is written there.
    """
    closed = []
    for number, name in enumerate(("standard input", "standard output", "standard error")):
        try:
            os.fstat(number)
        except OSError:
            closed.append(name)
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    return closed
