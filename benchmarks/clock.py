"""CPU time of things that compete, taken in turns.

CPU time and not wall time, since a busy machine changes the latter by a factor of five.  In turns, so that a slow
minute of the machine falls on all alike.  Ratios are made of the best rounds; the median shows the noise.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import process_time
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")
Sample = Callable[[], float]  # does the work once, gives its CPU seconds


@dataclass(frozen=True, slots=True)
class Timing:
    """CPU seconds of one piece of work, over several rounds."""

    seconds: tuple[float, ...]

    @property
    def best(self) -> float:
        """The smallest of the rounds."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return median(self.seconds)

    @property
    def rounds(self) -> int:
        """How many rounds there were."""
        return len(self.seconds)


def work(run: Callable[[], object], pieces: int = 1) -> Sample:
    """A sample of `run`, per piece where one run does `pieces` equal pieces of work."""
    return fresh_work(lambda: None, lambda _: run(), pieces)


def fresh_work(prepare: Callable[[], T], run: Callable[[T], object], pieces: int = 1) -> Sample:
    """A sample of `run` on what `prepare` makes for each run; the making is not timed."""

    def sample() -> float:
        made = prepare()
        with quiet():
            start = process_time()
            run(made)
            return (process_time() - start) / pieces

    return sample


def in_turns(samples: Mapping[str, Sample], rounds: int) -> dict[str, Timing]:
    """Each of `samples` once a round, for `rounds` rounds."""
    taken: dict[str, list[float]] = {name: [] for name in samples}
    for _ in range(rounds):
        for name, sample in samples.items():
            taken[name].append(sample())
    return {name: Timing(tuple(seconds)) for name, seconds in taken.items()}


@contextmanager
def stopwatch(module: ModuleType, name: str) -> Iterator[list[float]]:
    """The CPU seconds of every call of the function `module.name`, while the block runs."""
    function, spent = getattr(module, name), []

    def timed(*args: object) -> object:
        start = process_time()
        try:
            return function(*args)
        finally:
            spent.append(process_time() - start)

    setattr(module, name, timed)
    try:
        yield spent
    finally:
        setattr(module, name, function)


@contextmanager
def quiet() -> Iterator[None]:
    """No garbage collection while the clock runs; as `timeit` has it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
