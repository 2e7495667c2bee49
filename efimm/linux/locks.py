"""Spinlocks (include/linux/spinlock_api_smp.h, v3.5), as one processor alone sees them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..trace import Lock, Trace
from .processors import local_irq_save


class SpinLock:
    """A lock that records when it is taken and let go: `with lock:` is spin_lock and spin_unlock.

    A fault while it is held leaves it held, as in the kernel.  It never waits: who else should have taken it?  The lock
    that several processors fight over is `efimm.locks.shared.SharedLock`.
    """

    __slots__ = ("_emit", "name", "taken", "unlocked")

    def __init__(self, name: str, trace: Trace) -> None:
        self.name = name
        self.taken, self.unlocked = Lock(name, taken=True), Lock(name, taken=False)
        self._emit = trace.events.append  # a kernel of thousands of processes takes locks by the hundred thousand

    @contextmanager
    def irqsave(self) -> Iterator[None]:
        """Hold the lock for a block with interrupts off: spin_lock_irqsave, spin_unlock_irqrestore."""
        with local_irq_save(), self:
            yield

    def __enter__(self) -> None:
        self._emit(self.taken)

    def __exit__(self, exception: object, _value: object, _traceback: object) -> None:
        if exception is None:
            self._emit(self.unlocked)
