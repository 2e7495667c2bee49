"""Several processors, of which exactly one runs at a time: the one that was given the turn.

Each runs ordinary code in a thread of its own, up to its next `step`; there it stops and says what it would do.  Who
goes on is decided from outside, so that the same decisions give the same run.  An interrupt is taken between two steps
or while a step waits, never while the processor has interrupts off.  Modelled is the order of steps, not time: memory
is sequentially consistent.

The turn goes round by two locks that nobody holds for long: `_turn` wakes the processor, `_back` wakes who has given
the turn.  What either side says of itself (`next`, `failure`, `_off`) is written before the hand-over and read after
it, and whether a thread still lives is never asked: it may be slow to end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..linux.smp import Crash, Processor, apic, at_once, run_on
from .turns import Lock, Thread

Program = Callable[[], None]


class Choice(NamedTuple):
    """One way to go on: processor `cpu` does its next step, or takes the interrupt that was sent to it."""

    cpu: int
    interrupt: bool = False


class Action(NamedTuple):
    """What a processor does in a step, to which thing, what it has to wait for ("": nothing), and the step's key."""

    what: str
    thing: str
    wait: Callable[[], str] = at_once
    key: str = ""


class _PowerOff(BaseException):
    """Ends a thread whose run nobody goes on with; no code of a program may catch it."""


class SmpProcessor(Processor):
    """A processor that runs `program` and is idle afterwards, with its interrupts on."""

    def __init__(self, number: int, program: Program) -> None:
        self.number, self.program = number, program
        self.interrupts = True
        self.next: Action | None = None  # None when idle
        self.sent: list[tuple[str, Program]] = []
        self.failure: BaseException | None = None
        self.machine: Smp | None = None
        self._order = Choice(number)
        self._off = self._runs = False  # told to end; has been given the turn, and has not given it back
        self._turn, self._back = Lock(), Lock()
        self._turn.acquire()
        self._back.acquire()
        self._thread = Thread(target=self._run, daemon=True)

    @property
    def others(self) -> Sequence[Processor]:
        """The other processors of the machine."""
        return [cpu for cpu in self.machine.processors if cpu is not self] if self.machine else ()

    def step(self, what: str, thing: str, wait: Callable[[], str] = at_once, *, key: str = "") -> None:
        """Stop here until the turn comes; interrupts that come first are served first."""
        action = Action(what, thing, wait, key)
        self._serve_until_the_turn(action)

    def send(self, what: str, handler: Program) -> None:
        """Interrupt this processor."""
        self.sent.append((what, handler))

    def start(self) -> None:
        """Run up to the first step."""
        self._runs = True
        self._thread.start()
        self._take_the_turn_back()

    def resume(self, order: Choice) -> None:
        """Give the turn, and take it back when the processor stops again."""
        self._order, self._runs = order, True
        self._turn.release()
        self._take_the_turn_back()

    def power_off(self) -> None:
        """Let the thread end where it waits for its turn; one that runs, as after Ctrl-C, ends at its next step."""
        self._off = True
        if self._turn.locked():  # only the thread takes this lock, and once
            self._turn.release()

    def join(self) -> None:
        """Wait until the thread has ended, unless it is a program that may never come to a step again."""
        if self._thread.ident is not None and not self._runs:
            self._thread.join()

    def _take_the_turn_back(self) -> None:
        self._back.acquire()
        self._runs = False

    def _run(self) -> None:
        run_on(self)
        try:
            self.program()
            self._serve_until_the_turn(None)
        except _PowerOff:
            return
        except BaseException as error:  # whatever the program raised ends the story, and is looked at there
            self.failure = error
            self.next = None
        self._back.release()

    def _serve_until_the_turn(self, action: Action | None) -> None:
        """Wait for the turn to do `action` (never, when idle), and run the handlers of interrupts meanwhile."""
        while True:
            self.next = action
            self._wait_for_the_turn()
            if not self._order.interrupt:
                return
            _what, handler = self.sent.pop(0)
            flags, self.interrupts = self.interrupts, False
            handler()
            self.interrupts = flags

    def _wait_for_the_turn(self) -> None:
        """Give the turn back and wait for it; raises _PowerOff, and at every step after the first one, too."""
        if not self._off:
            self._back.release()
            self._turn.acquire()
        if self._off:
            raise _PowerOff


class Smp:
    """The processors of one machine, with a program each: a context, at whose start each comes to its first step."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self.processors = [SmpProcessor(number, program) for number, program in enumerate(programs)]
        for cpu in self.processors:
            cpu.machine = self

    def __enter__(self) -> Smp:
        try:
            for cpu in self.processors:
                cpu.start()
            return self  # noqa: TRY300 - an interrupt may come here, too
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for cpu in self.processors:
            cpu.power_off()
        for cpu in self.processors:
            cpu.join()

    @property
    def choices(self) -> list[Choice]:
        """Every way to go on from here."""
        go_on = [Choice(cpu.number) for cpu in self.processors if cpu.next and not cpu.next.wait()]
        return go_on + [Choice(cpu.number, True) for cpu in self.processors if cpu.sent and cpu.interrupts]

    def action(self, choice: Choice) -> Action:
        """What will happen if `choice` is taken."""
        cpu = self.processors[choice.cpu]
        if choice.interrupt:
            return Action(f"interrupt: {cpu.sent[0][0]}", apic(cpu))
        assert cpu.next is not None  # an idle processor is no choice
        return cpu.next

    def take(self, choice: Choice) -> None:
        """Let one processor go on to its next step; raises what its program raised, unless it is a crash."""
        cpu = self.processors[choice.cpu]
        cpu.resume(choice)
        if cpu.failure and not isinstance(cpu.failure, (Crash, AssertionError)):
            raise cpu.failure

    @property
    def crashed(self) -> bool:
        """Whether a processor has crashed."""
        return any(cpu.failure for cpu in self.processors)

    @property
    def bad_end(self) -> str:
        """A crash, or a deadlock: somebody waits and nobody can go on.  "" when neither is so."""
        lines = [f"CPU {number}{':' if self.crashed else ''} {words}" for number, words in self.stopped]
        return "\n".join(["CRASH" if self.crashed else "DEADLOCK", *lines]) if lines else ""

    @property
    def stopped(self) -> list[tuple[int, str]]:
        """At a bad end, the processors that cannot go on, each with its crash, or what it waits for."""
        crashed = [(cpu.number, str(cpu.failure)) for cpu in self.processors if cpu.failure]
        waiting = [(cpu.number, f"waits for {cpu.next.wait()}") for cpu in self.processors if cpu.next]
        return crashed or ([] if self.choices else waiting)
