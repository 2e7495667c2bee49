"""The gauntlet as a grid: a row for each situation, a column for each kernel, and what became of it in the cell.

Point at a cell, or go there with the arrow keys, and it says what happened and why.  What is shown was tried before;
nothing is run here.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..kernels import KERNELS
from ..run import enter
from ..scenarios import FROM_THE_C, NOT_JUDGED, SCENARIOS, Scenario
from ..trials import Report, SupportTable, Trial
from .drawing.frames import Frame, Frames
from .drawing.kit import MARGIN, Mark, filled, fitted, heads, joined, legend
from .drawing.shapes import Path, Rect, Scene, Shape, Text, points

_CELLS, _RIGHT, _TOP = 196, 944, 96
_ROW, _GROUP_GAP, _GAP = 22, 8, 3
_LETTER = 7.0  # width of a letter of a column's head, at most

# How a verdict looks: its mark, its role, and its hatching.
LOOKS: Mapping[str, tuple[str, str, str]] = {
    "success": ("ok", "verdict-ok", ""),
    "page-fault": ("PF", "gap", ""),
    "wrong-memory": ("WM", "verdict-wrong", "reserved"),
    "refused": ("ref", "verdict-refused", "mmio"),
    "no machine": ("-", "empty", ""),
}
MEANING = {
    "success": "switched, and works",
    "page-fault": "page fault",
    "wrong-memory": "wrong memory",
    "refused": "refused",
    "no machine": "does not start",
}
_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
_KNOWN_OPTIONS = ("ram", "buffer", "page_size", "firmware", "arch", "kaslr")


def draw(reports: Sequence[Report]) -> Scene:
    """The scene; every cell says in its tip what happened and how to see it again.  A pure function."""
    tops = list(_tops(reports[0].trials))
    bottom = tops[-1] + _ROW
    there = {trial.verdict for report in reports for trial in report.trials}
    keys = [(_mark(verdict), words) for verdict, words in MEANING.items() if verdict in there]
    return joined(
        int(bottom) + 74,
        f"The gauntlet: {len(tops)} situations, {len(reports)} kernels",
        sentence(reports),
        _heads(reports),
        _rows(reports, tops),
        _sums(reports, bottom + 6),
        legend(keys, MARGIN + 25, bottom + 54, 33, across=186),
    )


def sentence(reports: Sequence[Report]) -> str:
    """How many situations each kernel survives."""
    return (
        "Survived: " + ", ".join(f"{report.kernel} {report.passed} of {len(report.trials)}" for report in reports) + "."
    )


def tip(kernel: str, trial: Trial) -> str:
    """A cell in words: the situation, what happened, and a command that shows it."""
    happened = MEANING.get(trial.verdict, trial.verdict)
    why = f" ({trial.reason})" if trial.reason else ""
    source = f" {FROM_THE_C}." if trial.scenario in NOT_JUDGED else ""
    return f"{kernel}, {trial.scenario}: {happened}{why}.{source} Again: {command(kernel, trial.scenario)}"


def command(kernel: str, scenario: str) -> str:
    """What to type to see one cell again; the whole gauntlet, where one run is not all that happens in it."""
    name = kernel if kernel in KERNELS else "./my_fix.py"
    found = _BY_NAME.get(scenario)
    if found is None or found.play is not enter:
        own = ["--firmware", "./my_firmware.py"] if found is None and scenario.startswith("firmware ") else []
        return shlex.join(["efimm", "gauntlet", "--kernel", name, *own])
    words = ["efimm", "run", "--kernel", name]
    for option in _KNOWN_OPTIONS:
        if option in found.options:
            words += [f"--{option.replace('_', '-')}", _typed(found.options[option])]
    flags = [f"--{flag}" for flag in ("kpti", "noruntime", "sme", "mixed") if found.options.get(flag)]
    return shlex.join([*words, *flags])


def _typed(value: Any) -> str:
    return f"{value:#x}" if isinstance(value, int) else str(value)


def _tops(trials: Sequence[Trial]) -> Iterator[float]:
    """Where each row begins; a gap stands between rows of different kinds."""
    y, kind = float(_TOP), None
    for trial in trials:
        here = _kind(_BY_NAME.get(trial.scenario))
        y += _GROUP_GAP if kind is not None and here != kind else 0
        kind = here
        yield y
        y += _ROW


def _kind(scenario: Scenario | None) -> object:
    """Equal for situations that differ in one number only."""
    return (tuple(sorted(scenario.options)), scenario.play is enter) if scenario else None


def _column(reports: Sequence[Report], number: int) -> float:
    return _CELLS + number * (_RIGHT + _GAP - _CELLS) / len(reports)


def _heads(reports: Sequence[Report]) -> Iterator[Shape]:
    yield from heads("The gauntlet", "each cell is one run; point at it, or use the arrow keys")
    room = _column(reports, 1) - _column(reports, 0) - _GAP
    for number, report in enumerate(reports):
        middle = (_column(reports, number) + _column(reports, number + 1) - _GAP) / 2
        yield Text(middle, _TOP - 10, fitted(report.kernel, room, _LETTER), "small middle strong")


def _rows(reports: Sequence[Report], tops: Sequence[float]) -> Iterator[Shape]:
    for row, y in enumerate(tops):
        yield Text(_CELLS - 12, y + _ROW / 2 + 4, reports[0].trials[row].scenario, "small end")
        for number, report in enumerate(reports):
            x, trial = _column(reports, number), report.trials[row]
            box = Rect(x, y + 1, _column(reports, number + 1) - _GAP - x, _ROW - 3, " item")
            yield from _cell(box, trial.verdict, tip(report.kernel, trial), y + _ROW / 2 + 3)


def _cell(box: Rect, verdict: str, words: str, line: float) -> Iterator[Shape]:
    mark, role, hatch = LOOKS.get(verdict, ("?", "empty", ""))
    yield from filled(replace(box, role=role + box.role, tip=words), hatch, strip=10)
    looks = "small middle faulttext strong" if verdict == "page-fault" else "small middle"
    yield Text(box.x + box.width / 2, line, mark, looks)


def _sums(reports: Sequence[Report], y: float) -> Iterator[Shape]:
    yield Path(points((MARGIN, y), (_RIGHT, y)), "lane")
    yield Text(_CELLS - 12, y + 20, "survived", "small end strong")
    for number, report in enumerate(reports):
        middle = (_column(reports, number) + _column(reports, number + 1) - _GAP) / 2
        yield Text(middle, y + 20, str(report.passed), "small middle strong")


def _mark(verdict: str) -> Mark:
    """How a cell of this verdict looks, in small."""
    return lambda x, y: _cell(Rect(x - 25, y - 10, 50, 20, ""), verdict, "", y + 4)


def grid_view(what: SupportTable | Report | Sequence[Report]) -> Frames:
    """The reports of several kernels side by side, as `efimm.support_table` or `efimm.gauntlet` gave them.

    Raises ValueError without a report, and for reports of different situations.
    """
    reports = _reports(what)
    names = {tuple(trial.scenario for trial in report.trials) for report in reports}
    if len(names) != 1 or not next(iter(names)):
        raise ValueError("expected reports of the same situations, one at least")
    frame = Frame(draw(reports), str(SupportTable(tuple(reports))), sentence(reports), good=True)
    return Frames([frame], heads=(_TOP - 26, _TOP))


def _reports(what: SupportTable | Report | Sequence[Report]) -> Sequence[Report]:
    if isinstance(what, SupportTable):
        return what.reports
    return (what,) if isinstance(what, Report) else tuple(what)
