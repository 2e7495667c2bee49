"""The exercises of the notebooks: questions whose numbers are drawn, and whose answers the model computes.

    >>> from efimm.exercises import ask, check
    >>> question = ask("01.1", seed=7)      # the numbers follow from the seed
    >>> question.check(272)                 # a hint, or what makes it right
    >>> check("01.5", my_function)          # a task: something that runs

Every module named after a notebook is found by itself.  Nothing here draws: the boxes are in course/boxes.py.
"""

from __future__ import annotations

import pkgutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from types import MappingProxyType
from typing import Any

from ..machines import number
from .answers import Feedback, NotYet, Question
from .catalog import CATALOG, Exercise, Task

__all__ = ["EXERCISES", "Exercise", "Feedback", "NotYet", "Question", "Task", "ask", "check", "number"]


def _find() -> dict[str, Exercise]:
    for found in pkgutil.iter_modules(__path__):
        import_module(f".{found.name}", __name__)
    return {name: CATALOG[name] for name in sorted(CATALOG)}


EXERCISES: Mapping[str, Exercise] = MappingProxyType(_find())


def ask(name: str, seed: int = 0) -> Question | Task:
    """Exercise `name`, such as "01.2", with the numbers of `seed`; ValueError for a name that there is not."""
    if name not in EXERCISES:
        raise ValueError(f"exercise {name!r}: expected one of {', '.join(EXERCISES)}")
    return EXERCISES[name].draw(seed)


_TRIES = 3  # as in the boxes
_SHOW = 'To be shown a way: from efimm.course import show_me; show_me("{}")'
_not_yet: Counter[str] = Counter()  # the tasks that were tried in this process, and how often in vain


def check(name: str, submitted: Any, seed: int = 0) -> Feedback:
    """What is said to `submitted`, a reader's answer to exercise `name`: whether it is right, or a hint.

    From a task's third try on a hint says, too, how to be shown a solution.
    """
    asked = ask(name, seed)
    said = asked.check(submitted)
    if said or not isinstance(asked, Task):
        return said
    _not_yet[name] += 1
    return said if _not_yet[name] < _TRIES else replace(said, text=f"{said.text}\n{_SHOW.format(name)}")
