"""How soon the command is there: what it takes from the shell to the end of the output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from ..clock import Sample, in_turns
from ..report import Section, at_most, relative
from .plan import Plan

ROOT = Path(__file__).parents[2]
COMMANDS = {"efimm --help": (("--help",), at_most(9)), "efimm run --ram 1T": (("run", "--ram", "1T"), at_most(15))}


def section(plan: Plan) -> Section:
    """Whole processes: each command against a Python that starts and does nothing."""
    samples = {name: child("-m", "efimm", *arguments) for name, (arguments, _) in COMMANDS.items()}
    timings = in_turns({"pass": child("-c", "pass"), **samples}, plan.rounds)
    rows = (relative(name, timings[name], timings["pass"], target) for name, (_, target) in COMMANDS.items())
    return Section("The command, from start to end: against `python -c pass`", tuple(rows))


def child(*arguments: str) -> Sample:
    """The CPU seconds of one Python process."""

    def sample() -> float:
        before = getrusage(RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        after = getrusage(RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return sample
