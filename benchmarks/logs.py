"""`python -m benchmarks.logs [FOLDER]`: the whole of `efimm check`, for every log of a folder.

A process each, from start to end, against a Python that starts and does nothing.  Without FOLDER the maps of data/ are
taken.  Wanted are 40x for every log, and 25x for four in five.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .clock import in_turns
from .report import Row, Section, at_least, at_most, relative
from .workloads.startup import ROOT, child

EVERY, MOST, SHARE = 40, 25, 0.8


def section(logs: list[Path], rounds: int) -> Section:
    """A row for each log, the slowest last, and one for the share of those that are within the narrower target."""
    samples = {path.name: child("-m", "efimm", "check", "--json", str(path.resolve())) for path in logs}
    timings = in_turns({"pass": child("-c", "pass"), **samples}, rounds)
    base = timings.pop("pass")
    order = sorted(timings, key=lambda name: timings[name].best)
    rows = [relative(name[:38], timings[name], base, at_most(EVERY)) for name in order]
    within = sum((row.ratio or 0) <= MOST for row in rows) / len(rows)
    share = Row(f"the share of them within {MOST}x", ratio=within, target=at_least(SHARE))
    return Section("`efimm check` on each log: against `python -c pass`", (*rows, share))


def main(arguments: list[str] | None = None) -> None:
    """Measure the logs of the folder, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.logs", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "data", help="its files *.txt and *.toml")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each is measured")
    options = parser.parse_args(arguments)
    logs = sorted(path for path in options.folder.iterdir() if path.suffix in {".txt", ".toml"})
    sys.stdout.write(section(logs, options.rounds).text() + "\n" if logs else f"no log in {options.folder}\n")


if __name__ == "__main__":
    main()
