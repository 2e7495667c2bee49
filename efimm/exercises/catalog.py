"""The catalogue of exercises: a name such as "01.2" for a function that draws numbers and asks about them.

A *question* has a number or a word for an answer.  A *task* wants something that runs: a function, a kernel.  Both are
drawn from a seed, so that the reader, a neighbour in the room and the solution each can have numbers of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from .answers import Feedback, Question, settled, wrapped

Draw = Callable[[Random], Question]
Trial = Callable[[Random, Any], str]

CATALOG: dict[str, Exercise] = {}


@dataclass(frozen=True)
class Task:
    """Something to write that runs; `trial` tries it and says what is wrong, or nothing."""

    text: str
    trial: Trial
    rounds: int
    why: str
    seed: int

    def __repr__(self) -> str:
        return wrapped(self.text)

    def check(self, submitted: Any) -> Feedback:
        """Whether `submitted` passes every round, and if not, what the first one that it fails says."""
        if submitted is None or submitted is ...:
            return Feedback(False, "Not yet: nothing was handed in.")
        random = Random(self.seed)
        for _ in range(self.rounds):
            try:
                wrong = self.trial(random, submitted)
            except Exception as error:  # the reader's code may raise anything
                wrong = f"it raised {type(error).__name__}: {error}"
            if wrong:
                return Feedback(False, f"Not yet: {wrong}")
        return Feedback(True, f"Yes. {self.why}".rstrip())

    def solved_by(self, submitted: Any) -> Feedback:
        """What is said to a right solution; NotYet, with the hint, for any other."""
        return settled(self.check(submitted))


@dataclass(frozen=True)
class Exercise:
    """One exercise of the series: `name` is its notebook's number and its own, `draw` makes it from a seed."""

    name: str
    draw: Callable[[int], Question | Task]
    is_task: bool


def asks(name: str) -> Callable[[Draw], Draw]:
    """Enter the decorated function, which draws a Question, as exercise `name`."""

    def enter(draw: Draw) -> Draw:
        _enter(Exercise(name, lambda seed: draw(Random(f"{name} {seed}")), is_task=False))
        return draw

    return enter


def wants(name: str, text: str, *, rounds: int = 20, why: str = "") -> Callable[[Trial], Trial]:
    """Enter the decorated function, which tries what is handed in, as exercise `name`.

    The function is called `rounds` times with a Random to draw from; it returns "" where the thing does what it
    should, else what is wrong, with the numbers that show it.  What it raises is told to the reader.
    """

    def enter(trial: Trial) -> Trial:
        _enter(Exercise(name, lambda seed: Task(text, trial, rounds, why, seed), is_task=True))
        return trial

    return enter


def _enter(exercise: Exercise) -> None:
    if exercise.name in CATALOG:
        raise ValueError(f"two exercises are named {exercise.name}")
    CATALOG[exercise.name] = exercise
