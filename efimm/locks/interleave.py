"""A search through every order in which several processors can take their steps.

Threads cannot be copied, so every schedule is run anew from the start.  Two schedules that differ only in the order of
steps on different things lead to the same state, and only one of them is gone on with; this needs that code says with
`step` whatever it shares.  Schedules with fewer changes of the processor are tried first, so the one that is shown has
as few as possible, and among those as few steps as possible.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .finding import Done, Finding, Schedule, Story
from .smp import Choice, Smp


@dataclass
class _Past:
    """Which steps came before which on the things they share: equal for schedules that lead to the same state."""

    numbers: dict[tuple[object, ...], int]
    last: dict[str, int] = field(default_factory=dict)

    def after(self, choice: Choice, thing: str) -> _Past:
        """The past with one more step."""
        shared = f"CPU {choice.cpu}", thing
        step = (choice, thing, *(self.last.get(name) for name in shared))
        number = self.numbers.setdefault(step, len(self.numbers))
        return _Past(self.numbers, self.last | dict.fromkeys(shared, number))

    def key(self, cpu: int) -> tuple[object, ...]:
        """What tells this situation from others; which processor ran last decides what the next change costs."""
        return cpu, frozenset(self.last.items())


class _Run:
    """One schedule, run from the start, and what it did."""

    def __init__(self, story: Story, past: _Past) -> None:
        self.story, self.past = story, past
        self.smp = Smp(list(story.programs.values()))
        self.schedule: list[Choice] = []
        self.steps: list[Done] = []

    def take(self, choice: Choice) -> None:
        """One step more."""
        self.past = self.past_after(choice)
        action = self.smp.action(choice)
        self.steps.append(Done(choice.cpu, action.what, action.key, action.thing))
        self.schedule.append(choice)
        self.smp.take(choice)

    def past_after(self, choice: Choice) -> _Past:
        return self.past.after(choice, self.smp.action(choice).thing)

    @property
    def last(self) -> int | None:
        return self.schedule[-1].cpu if self.schedule else None

    @property
    def bad_end(self) -> str:
        if self.smp.bad_end or self.smp.choices:
            return self.smp.bad_end
        return self.story.complaint()


class _Search:
    """The schedules still to be run, cheapest first, and the situations that were gone on from."""

    def __init__(self, start: Callable[[], Story]) -> None:
        self.start = start
        self.open: list[tuple[int, int, Schedule, object]] = []
        self.done: set[object] = set()
        self.numbers: dict[tuple[object, ...], int] = {}
        self.schedules = 0
        self.best: Finding | None = None
        self.best_cost = (sys.maxsize, 0)

    def run(self, switches: int, schedule: Schedule) -> None:
        """Run `schedule` and go on with the processor that ran last, as long as it can; note the other ways."""
        self.schedules += 1
        run = _Run(self.start(), _Past(self.numbers))
        with run.smp:
            for choice in schedule:
                run.take(choice)
            while True:
                if bad_end := run.bad_end:
                    self._keep_if_best(switches, run, bad_end)
                    return
                stay = self._note_others(switches, run)
                if stay is None or run.past_after(stay).key(stay.cpu) in self.done:
                    return
                run.take(stay)
                self.done.add(run.past.key(stay.cpu))

    def _keep_if_best(self, switches: int, run: _Run, bad_end: str) -> None:
        cost = switches, len(run.steps)
        if cost < self.best_cost:
            self.best_cost = cost
            told = tuple(run.schedule), tuple(run.steps), tuple(run.smp.stopped)
            self.best = Finding(tuple(run.story.programs), bad_end, *told)

    def _note_others(self, switches: int, run: _Run) -> Choice | None:
        """Note every way to go on but one: that of the processor that ran last, if it can."""
        stay = None
        for choice in run.smp.choices:
            key = run.past_after(choice).key(choice.cpu)
            if choice.cpu == run.last and not choice.interrupt:
                stay = choice
            elif key not in self.done:
                cost = switches + (run.last not in (None, choice.cpu))
                heapq.heappush(self.open, (cost, len(run.schedule), (*run.schedule, choice), key))
        return stay


def search(start: Callable[[], Story]) -> Finding:
    """Run the story that `start` gives, a fresh one each time, in every order that makes a difference.

    Ends when no bad end with fewer changes of the processor is left, or with the proof that there is none at all.
    """
    the = _Search(start)
    the.run(0, ())
    while the.open:
        switches, _length, schedule, key = heapq.heappop(the.open)
        if switches > the.best_cost[0]:
            break
        if key not in the.done:
            the.done.add(key)
            the.run(switches, schedule)
    found = the.best or Finding(tuple(start().programs))
    return replace(found, schedules=the.schedules, states=len(the.done) + 1)
