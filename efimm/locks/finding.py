"""What is searched, what a search found, and many findings side by side, as text to paste into a mail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from textwrap import wrap
from typing import NamedTuple

from .smp import Choice, Program

Schedule = tuple[Choice, ...]


class Done(NamedTuple):
    """A step of a schedule: who did what in words, and the step's key and thing (see `Processor.step`)."""

    cpu: int
    what: str
    key: str
    thing: str


WIDTH = 72
_COLUMN = 11  # of a survey's table


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

    `steps` are those of the schedule, `stopped` the processors that could not go on after it, with what kept each.
    `schedules` is how many were run, `states` how many different situations they passed through; `recorded` means that
    they were run elsewhere.  `str()` is the schedule as text of at most 72 columns, one line a step, a column for each
    processor.
    """

    programs: tuple[str, ...]
    bad_end: str = ""
    schedule: Schedule = ()
    steps: tuple[Done, ...] = ()
    stopped: tuple[tuple[int, str], ...] = ()
    schedules: int = 0
    states: int = 0
    recorded: bool = False

    @property
    def lines(self) -> tuple[tuple[int, str], ...]:
        """The steps in words, each with its processor."""
        return tuple((step.cpu, step.what) for step in self.steps)

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


@dataclass(frozen=True)
class Survey:
    """What was found, by (under Xen, history, story); `str()` is a table of it.

    In the table, "-" means that every order was tried and none ends badly.
    """

    found: Mapping[tuple[bool, str, str], Finding]

    def __str__(self) -> str:
        stories = list(dict.fromkeys(story for _, _, story in self.found))
        lines = [f"{'':22}" + "".join(f"{story:{_COLUMN}}" for story in stories)]
        for xen in (False, True):
            lines.append("as a guest of Xen" if xen else "natively")
            for history in dict.fromkeys(history for _, history, _ in self.found):
                words = [self._word(self.found[xen, history, story]) for story in stories]
                lines.append(f"  {history:20}" + "".join(f"{word:{_COLUMN}}" for word in words))
        return "\n".join(line.rstrip() for line in lines)

    @staticmethod
    def _word(finding: Finding) -> str:
        return finding.bad_end.partition("\n")[0] or "-"
