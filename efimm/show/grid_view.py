"""The gauntlet as a grid: point at a cell, or go there with the arrow keys, and it says what happened and why."""

from __future__ import annotations

from collections.abc import Sequence

from ..trials import Report, SupportTable
from .frames import Frame, Frames
from .grid_scene import draw, sentence


def grid_view(what: SupportTable | Report | Sequence[Report]) -> Frames:
    """The reports of several kernels side by side, as `efimm.support_table` or `efimm.gauntlet` gave them.

    Raises ValueError without a report, and for reports of different situations.
    """
    reports = _reports(what)
    names = {tuple(trial.scenario for trial in report.trials) for report in reports}
    if len(names) != 1 or not next(iter(names)):
        raise ValueError("expected reports of the same situations, one at least")
    return Frames([Frame(draw(reports), str(SupportTable(tuple(reports))), sentence(reports), good=True)])


def _reports(what: SupportTable | Report | Sequence[Report]) -> Sequence[Report]:
    if isinstance(what, SupportTable):
        return what.reports
    return (what,) if isinstance(what, Report) else tuple(what)
