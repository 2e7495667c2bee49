"""The processor that runs the code, as the code sees it, and the spinlock that it takes.

Code asks `this_processor()`, as the kernel asks smp_processor_id().  The one processor of a booted machine is `ALONE`:
it never waits, and nobody interrupts it.  Several processors, which do wait for each other, are those of `efimm.locks`;
before one of them does something that the others can see, it says so with `step`.

Source of the locks: include/linux/spinlock_api_smp.h, v3.5, as one processor alone sees them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..trace import Lock, Trace


class Crash(Exception):
    """The kernel cannot go on: a fault in kernel code, or a refusal by the hypervisor."""


def at_once() -> str:
    """A step that waits for nothing."""
    return ""


class Processor:
    """A processor without company."""

    number = 0
    interrupts = True

    def step(self, what: str, thing: str, wait: Callable[[], str] = at_once, *, key: str = "") -> None:
        """Come back when it is this processor's turn to do `what` to `thing`, which other processors can see.

        `wait` gives "" when it can be done, and else what it has to wait for.  Everything up to the next step happens
        at once, as seen by the others.  `key` is for programs: "lock", "unlock" (of `thing`), "irqs-off", "irqs-on".
        """

    def send(self, what: str, handler: Callable[[], None]) -> None:
        """Interrupt this processor: it runs `handler` as soon as its interrupts are on."""

    @property
    def others(self) -> Sequence[Processor]:
        """The other processors of the machine."""
        return ()

    def __str__(self) -> str:
        return f"CPU {self.number}"


ALONE = Processor()


class _Running(threading.local):
    processor: Processor = ALONE


_running = _Running()


def this_processor() -> Processor:
    """The processor that runs the calling code."""
    return _running.processor


def run_on(processor: Processor) -> None:
    """Let the calling thread be `processor` from here on."""
    _running.processor = processor


def apic(cpu: Processor) -> str:
    """The name of what an interrupt to `cpu` goes through."""
    return f"{cpu}'s local APIC"


@contextmanager
def local_irq_save() -> Iterator[None]:
    """No interrupts on this processor during the block; afterwards as they were before."""
    cpu = this_processor()
    cpu.step("local_irq_save", f"{cpu}", key="irqs-off")
    flags, cpu.interrupts = cpu.interrupts, False
    yield
    cpu.step("local_irq_restore", f"{cpu}", key="irqs-on")
    cpu.interrupts = flags


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
