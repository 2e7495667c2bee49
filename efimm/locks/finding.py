"""What is searched, and what a search found, as text to paste into a mail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from textwrap import wrap

from .smp import Choice, Program

Schedule = tuple[Choice, ...]
WIDTH = 72


@dataclass(frozen=True)
class Story:
    """What happens at the same time: a program for each processor, and what has to be true when all are done.

    `complaint` gives what is wrong then, or "".
    """

    programs: Mapping[str, Program]
    complaint: Callable[[], str] = lambda: ""


@dataclass(frozen=True)
class Finding:
    """What a search found.  `bad_end` is "" when nothing bad can happen in any order; then `schedule` is empty.

    `schedules` is how many were run, `states` how many different situations they passed through; `recorded` means that
    they were run elsewhere.  `str()` is the schedule as text of at most 72 columns, one line a step, a column for each
    processor.
    """

    programs: tuple[str, ...]
    bad_end: str = ""
    schedule: Schedule = ()
    lines: tuple[tuple[int, str], ...] = ()
    schedules: int = 0
    states: int = 0
    recorded: bool = False

    def __str__(self) -> str:
        searched = f"{self.states} situations in {self.schedules} schedules"
        searched += "; recorded, since this browser\ncannot stop in the middle of Python" if self.recorded else ""
        if not self.bad_end:
            return f"Nothing bad can happen in any order of steps.\n({searched})"
        width = WIDTH // len(self.programs)
        head = "".join(f"{f'CPU {number}: {name}':<{width}}" for number, name in enumerate(self.programs))
        steps = [line for number, what in self.lines for line in _column(number * width, width, what)]
        end = [line for part in self.bad_end.splitlines() for line in wrap(part, WIDTH, subsequent_indent="  ")]
        return "\n".join([head.rstrip(), *steps, "", *end, f"({searched})"])


def _column(indent: int, width: int, text: str) -> list[str]:
    """`text` in a column of `width` characters, `indent` from the left."""
    return wrap(text, indent + width - 1, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2))
