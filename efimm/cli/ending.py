"""How the command ends: told to by a signal, with a reader that has gone, without a place to write to, or below."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread, main_thread
from time import sleep
from types import FrameType
from typing import NoReturn, TextIO

INTERRUPTED = 130  # the exit status after Ctrl-C, as a shell gives it


class Ended(BaseException):
    """A signal asks this process to end; on the way out everything that was begun is tidied up."""

    def __init__(self, number: int) -> None:
        self.number = number


class Watch(BaseException):
    """Not an error: the command names a file of the reader's, and `main` is to run it in a process below."""

    def __init__(self, path: str, loading: float, timeout: float) -> None:
        self.path, self.loading, self.timeout = path, loading, timeout


@dataclass
class Exits:
    """The command's exit status where it refuses to answer; an option may change it."""

    refusal: int = 2


# The signals that end a command; Windows has no SIGHUP.
ENDS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_AGAIN = 0.1  # seconds, after which an end that nobody has heard is told again
_told: list[BaseException] = []  # the ends that signals have told of


def obey_signals() -> None:
    """Let SIGTERM and SIGHUP raise Ended, and SIGINT KeyboardInterrupt, until they are heard; who ignores them may."""
    sys.unraisablehook = _dropped
    for number in ENDS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):  # nohup has SIGHUP ignored
            signal.signal(number, _end)
    if hasattr(signal, "pthread_kill"):  # Windows has none
        with suppress(OSError, RuntimeError):  # no file or thread is left: then an end is told once
            _tell_until_heard()


def _tell_until_heard() -> None:
    signal.signal(signal.SIGURG, _tell_again)  # a signal that nobody minds where it is not handled
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    Thread(target=_wake, args=(reading,), daemon=True).start()


def _wake(reading: int) -> None:
    """Once a signal has come, wake the main thread again and again: just before it waited, it would not have noticed.

    The signal that wakes it is one, too.
    """
    main = main_thread().ident
    while main is not None and os.read(reading, 512):
        sleep(_AGAIN)
        signal.pthread_kill(main, signal.SIGURG)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Raise what the signal means; `_tell_again` does so if that gets lost, as in C or under a bare except."""
    if number != signal.SIGINT:
        signal.signal(number, signal.SIG_IGN)  # once is enough: what is tidied up now is not to be disturbed
    _told.append(_meaning(number))
    raise _told[-1]


def _meaning(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Ended(number)


def _tell_again(_number: int, frame: FrameType | None) -> None:
    """Raise the end once more where nobody tidies up because of one, and Python is not about to drop it either."""
    heard = sys.exc_info()[1]
    while heard is not None and not isinstance(heard, Ended | KeyboardInterrupt):
        heard = heard.__context__
    while frame is not None and frame.f_code is not _dropped.__code__:
        frame = frame.f_back
    if _told and heard is None and frame is None:
        raise _told[-1]


def _dropped(lost: sys.UnraisableHookArgs) -> None:
    """Say what Python drops, as in a finaliser, but nothing of an end: that is told again."""
    if not isinstance(lost.exc_value, Ended | KeyboardInterrupt):
        sys.__unraisablehook__(lost)


async def told_to_end() -> BaseException:
    """What ends this process, once a signal says so: raised in a callback, the loop would only log it.

    On Windows it is raised all the same.
    """
    import asyncio  # noqa: PLC0415 - the room alone has a loop, and commands are to begin quickly

    loop = asyncio.get_running_loop()
    told: asyncio.Queue[BaseException] = asyncio.Queue()
    for number in ENDS:
        if signal.getsignal(number) is _end:
            with suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, told.put_nowait, _meaning(number))
    return await told.get()


def end_by(number: int) -> NoReturn:
    """End as the signal would have ended this process, so that a shell sees it."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(128 + number)


def leave_at_once(status: int = INTERRUPTED) -> NoReturn:
    """End, as interrupted, and wait for no thread that is still at work on what was."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # a reader's code may have put anything there
            stream.flush()
    os._exit(status)


def nowhere(*streams: int) -> None:
    """Let what is written to these streams from now on go nowhere."""
    for stream in streams:
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)


def drop_what_cannot_be_written(stream: TextIO) -> None:
    """Let what a stream holds go nowhere where it has no room: Python would try again at its end, and complain."""
    try:
        stream.flush()
    except OSError:
        nowhere(stream.fileno())
    except ValueError:  # a reader's code has closed it
        pass


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
