"""The threads and locks of `smp`: Python's own; and in a browser, which has no threads, stacks of WebAssembly.

There a call stops in the middle by JavaScript Promise Integration (JSPI), and the browser's event loop goes on with
another.  Of threading's interface there is what `smp` uses.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..linux.smp import run_on, this_processor

_THREAD = Path("/proc/thread-self/stat")
IN_A_BROWSER = sys.platform == "emscripten"


class NoStacksError(RuntimeError):
    """A browser that cannot stop in the middle of Python was asked to."""


def can_switch() -> bool:
    """Whether several processors can take turns here."""
    if not IN_A_BROWSER:
        return True
    from pyodide.ffi import can_run_sync  # type: ignore[import-not-found]  # noqa: PLC0415 - only there

    return bool(can_run_sync())


@contextmanager
def on_one_processor() -> Iterator[None]:
    """Keep this thread, and those that it starts, on the processor where it is, under Linux.

    Of threads that take turns only one runs.  Spread over several processors, each hand-over waits for another one to
    wake up, which takes longer than the step itself.
    """
    if not _THREAD.exists():
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(_THREAD.read_text().rpartition(")")[2].split()[36])})  # "processor" in proc(5)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


class StackLock:
    """As threading.Lock, for one waiter: a lock that is released while somebody waits is handed over to them."""

    def __init__(self) -> None:
        self._taken = False
        self._waiter: Any = None

    def acquire(self) -> None:
        """Take the lock; where it is taken, let others run until it is handed over."""
        if not self._taken:
            self._taken = True
            return
        from js import Promise  # type: ignore[import-not-found]  # noqa: PLC0415 - only in a browser

        self._waiter = Promise.withResolvers()
        _wait(self._waiter.promise)

    def release(self) -> None:
        """Hand the lock over, or leave it free."""
        if self._waiter is None:
            self._taken = False
        else:
            waiter, self._waiter = self._waiter, None
            waiter.resolve(None)

    def locked(self) -> bool:
        """Whether somebody has the lock."""
        return self._taken


class Stack:
    """As threading.Thread: `target` on a stack of its own, which runs whenever somebody waits.

    While there is one, the garbage collector is off: Python 3.14's, in Pyodide 314, looks at frames of stacks that are
    not there at the moment, and ends in "memory access out of bounds".
    """

    _alive: ClassVar[int] = 0

    def __init__(self, target: Callable[[], None], *, daemon: bool) -> None:
        assert daemon  # a page that is closed waits for nobody
        self._target = target
        self.ident: int | None = None

    def start(self) -> None:
        """Let `target` run at the next wait; NoStacksError where this browser cannot wait."""
        if not can_switch():
            raise NoStacksError("this browser cannot stop in the middle of Python (JSPI): a current Chrome or Edge can")
        from pyodide.ffi import create_proxy  # noqa: PLC0415 - only in a browser

        gc.disable()
        Stack._alive += 1
        self.ident = id(self)
        self._call = create_proxy(self._target)
        self._end = self._call.callPromising()

    def join(self) -> None:
        """Wait until `target` has returned."""
        _wait(self._end)
        self._call.destroy()
        Stack._alive -= 1
        if not Stack._alive:
            gc.enable()


def _wait(promise: Any) -> None:
    """Let other stacks run until `promise` is kept.  They are all one thread, so who runs here is said again then."""
    from pyodide.ffi import run_sync  # noqa: PLC0415 - only in a browser

    me = this_processor()
    run_sync(promise)
    run_on(me)


if TYPE_CHECKING or not IN_A_BROWSER:
    Lock, Thread = threading.Lock, threading.Thread
else:
    Lock, Thread = StackLock, Stack
