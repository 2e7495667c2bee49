"""What is measured: each file here makes some sections of the report."""

from __future__ import annotations

from collections.abc import Iterator

from ..image import build
from ..report import Section
from . import direct_map, extents, many, one, pages, peers, processes, runs, startup
from .contest import Contest, WrongError
from .plan import FULL, QUICK, Plan

__all__ = ["FULL", "QUICK", "Plan", "WrongError", "sections"]


def sections(plan: Plan) -> Iterator[Section]:
    """Every section of the report, as soon as it is there."""
    contest = Contest.of(build(plan.size), plan)
    yield contest.who_is_right()
    yield from peers.sections(plan, contest)
    yield from many.sections(plan, contest)
    yield one.section(plan, contest)
    del contest
    yield from direct_map.sections(plan)
    yield extents.section(plan)
    yield processes.section(plan)
    yield pages.section(plan)
    yield runs.section(plan)
    yield startup.section(plan)
