"""What was measured as rows of text, at most 100 columns wide, and as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from .clock import Timing

WIDTH = 100
_HEAD = f"{'':40}{'best':>9}{'median':>10}{'n':>4}{'ratio':>9}{'(median)':>9}{'target':>11}"


@dataclass(frozen=True, slots=True)
class Target:
    """What a row's number is to be: `relation` is "<=" or ">=", `unit` is "x" for a ratio, or "us"."""

    relation: str
    value: float
    unit: str = "x"

    def is_met(self, value: float) -> bool:
        """True when `value` is on the right side."""
        return value <= self.value if self.relation == "<=" else value >= self.value

    def __str__(self) -> str:
        return f"{self.relation} {self.value:g}{self.unit if self.unit == 'x' else ' ' + self.unit}"


def at_most(value: float, unit: str = "x") -> Target:
    """The row's number is to be `value` or less."""
    return Target("<=", value, unit)


def at_least(value: float, unit: str = "x") -> Target:
    """The row's number is to be `value` or more."""
    return Target(">=", value, unit)


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what took how long, its ratio to something (by the best and by the median round), and the target.

    Without a timing the line has ratios only; `note` stands in place of all numbers.  A target in microseconds is
    compared with the best round, a target in "x" with the ratio of the best rounds.
    """

    what: str
    timing: Timing | None = None
    ratio: float | None = None
    median_ratio: float | None = None
    target: Target | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Met, missed, or nothing where there is no target or no number."""
        if self.target is None:
            return ""
        value = self.ratio
        if self.target.unit == "us":
            value = self.timing.best * 1e6 if self.timing else None
        if value is None:
            return ""
        return "met" if self.target.is_met(value) else "missed"

    def data(self) -> dict[str, Any]:
        """The row as plain data; times in seconds."""
        timing = self.timing
        return {
            "what": self.what,
            "best": timing and timing.best,
            "median": timing and timing.median,
            "rounds": timing and timing.rounds,
            "ratio": self.ratio,
            "median_ratio": self.median_ratio,
            "target": str(self.target) if self.target else None,
            "verdict": self.verdict or None,
            "note": self.note or None,
        }


@dataclass(frozen=True, slots=True)
class Section:
    """Rows that belong together; `ratio` says what their ratios are ratios of."""

    title: str
    rows: tuple[Row, ...]
    ratio: str = "x"

    def data(self) -> dict[str, Any]:
        """The section as plain data."""
        return {"title": self.title, "ratio": self.ratio, "rows": [row.data() for row in self.rows]}

    def text(self) -> str:
        """The section as a table."""
        heads = [_HEAD] if any(not row.note for row in self.rows) else []
        return "\n".join(["", self.title, *heads, *map(_line, self.rows)])


def relative(what: str, timing: Timing, base: Timing, target: Target | None = None) -> Row:
    """A row for `timing`, with its ratio to `base`."""
    return Row(what, timing, timing.best / base.best, timing.median / base.median, target)


def duration(seconds: float) -> str:
    """A time with three digits and a unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{_three_digits(seconds * factor)} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def tally(sections: Iterable[Section]) -> str:
    """How many targets were met, and which were missed."""
    judged = [row for section in sections for row in section.rows if row.verdict]
    met = sum(row.verdict == "met" for row in judged)
    return f"{met} of {len(judged)} targets met"


def _line(row: Row) -> str:
    if row.note:
        return shorten(row.note, WIDTH, initial_indent=f"  {row.what:38}", placeholder=" ...")
    timing, target = row.timing, str(row.target or "")
    times = f"{duration(timing.best):>9}{duration(timing.median):>10}{timing.rounds:>4}" if timing else " " * 23
    ratios = "".join("" if r is None else f"{_three_digits(r) + 'x':>9}" for r in (row.ratio, row.median_ratio))
    return f"  {row.what:38}{times}{ratios:18}{target:>11} {row.verdict}".rstrip()


def _three_digits(value: float) -> str:
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f}" if value < 100 else f"{value:.0f}"
