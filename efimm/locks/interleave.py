"""A search through every order in which several processors can take their steps.

Threads cannot be copied, so every schedule is run anew from the start.  Two schedules that differ only in the order of
steps on different things lead to the same state, and only one of them is gone on with; this needs that code says with
`step` whatever it shares.  Schedules with fewer changes of the processor are tried first, so the one that is shown has
as few as possible, and among those as few steps as possible.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from .finding import Done, Finding, Schedule, Story
from .smp import Choice, Smp
from .turns import on_one_processor


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

    def __init__(self, story: Story) -> None:
        self.story = story
        self.smp = Smp(list(story.programs.values()))
        self.schedule: list[Choice] = []
        self.steps: list[Done] = []

    def take(self, choice: Choice) -> None:
        """One step more."""
        action = self.smp.action(choice)
        self.steps.append(Done(choice.cpu, action.what, action.key, action.thing))
        self.schedule.append(choice)
        self.smp.take(choice)

    @property
    def last(self) -> int | None:
        return self.schedule[-1].cpu if self.schedule else None

    def bad_end(self, choices: Sequence[Choice]) -> str:
        """What is wrong where these are the ways to go on."""
        if choices and not self.smp.crashed:
            return ""
        return self.smp.bad_end or self.story.complaint()


class _Open(NamedTuple):
    """A schedule that is still to be run, and what is known of where it leads; the cheapest comes first."""

    switches: int
    length: int
    schedule: Schedule
    key: object
    past: _Past


class _Search:
    """The schedules still to be run, and the situations that were gone on from."""

    def __init__(self, start: Callable[[], Story]) -> None:
        self.start = start
        self.open = [_Open(0, 0, (), None, _Past({}))]
        self.done: set[object] = set()
        self.schedules = 0
        self.best: Finding | None = None
        self.best_cost = (sys.maxsize, 0)

    def run(self, the: _Open) -> None:
        """Run a schedule and go on with the processor that ran last, as long as it can; note the other ways."""
        self.schedules += 1
        run, past = _Run(self.start()), the.past
        with run.smp:
            for choice in the.schedule:
                run.take(choice)
            while True:
                choices = run.smp.choices
                if bad_end := run.bad_end(choices):
                    self._keep_if_best(the.switches, run, bad_end)
                    return
                pasts = {choice: past.after(choice, run.smp.action(choice).thing) for choice in choices}
                stay = self._note_others(the.switches, run, pasts)
                if stay is None or (key := pasts[stay].key(stay.cpu)) in self.done:
                    return
                run.take(stay)
                past = pasts[stay]
                self.done.add(key)

    def _keep_if_best(self, switches: int, run: _Run, bad_end: str) -> None:
        cost = switches, len(run.steps)
        if cost < self.best_cost:
            self.best_cost = cost
            told = tuple(run.schedule), tuple(run.steps), tuple(run.smp.stopped)
            self.best = Finding(tuple(run.story.programs), bad_end, *told)

    def _note_others(self, switches: int, run: _Run, pasts: Mapping[Choice, _Past]) -> Choice | None:
        """Note every way to go on but one: that of the processor that ran last, if it can."""
        stay = None
        for choice, past in pasts.items():
            if choice.cpu == run.last and not choice.interrupt:
                stay = choice
            elif (key := past.key(choice.cpu)) not in self.done:
                cost = switches + (run.last not in (None, choice.cpu))
                heapq.heappush(self.open, _Open(cost, len(run.schedule), (*run.schedule, choice), key, past))
        return stay


def search(start: Callable[[], Story]) -> Finding:
    """Run the story that `start` gives, a fresh one each time, in every order that makes a difference.

    Ends when no bad end with fewer changes of the processor is left, or with the proof that there is none at all.
    """
    the = _Search(start)
    with on_one_processor():
        while the.open:
            cheapest = heapq.heappop(the.open)
            if cheapest.switches > the.best_cost[0]:
                break
            if cheapest.key not in the.done:
                the.done.add(cheapest.key)
                the.run(cheapest)
    found = the.best or Finding(tuple(start().programs))
    return replace(found, schedules=the.schedules, states=len(the.done))
