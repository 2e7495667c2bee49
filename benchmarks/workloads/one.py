"""One address at a time: the scalar walk, which tells every step, against the textbook loop, which tells a number."""

from __future__ import annotations

from efimm.x86 import LONG4, walk

from ..addresses import Addresses
from ..clock import Sample, in_turns, work
from ..peers import textbook
from ..report import Section, at_most, relative
from .contest import Contest, WrongError
from .plan import Plan


def section(plan: Plan, contest: Contest) -> Section:
    """Time for one address, on hit and on mix."""
    rows = []
    for name, questions in (("hit", contest.hit), ("mix", contest.mix)):
        timings = in_turns(_samples(contest, questions), plan.rounds)
        rows.append(relative(f"textbook loop, {name}", timings["loop"], timings["loop"]))
        rows.append(relative(f"efimm.x86.walk, {name}", timings["walk"], timings["loop"], at_most(1.5)))
    return Section("One address at a time (time for each): against the textbook loop", tuple(rows))


def _samples(contest: Contest, questions: Addresses) -> dict[str, Sample]:
    memory, root = contest.memory, contest.image.root
    asked = questions.va.tolist()
    loop = textbook.load(contest.image)

    def walk_each() -> list[int | None]:
        return [walk(memory, root, va, LONG4).pa for va in asked]

    if questions.wrong_in(walk_each()):
        raise WrongError("efimm.x86.walk is wrong; nothing is measured")
    return {"loop": work(lambda: loop(asked), len(asked)), "walk": work(walk_each, len(asked))}
