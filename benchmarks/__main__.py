"""`python -m benchmarks`: measure, print tables of ratios, compare each with its target."""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .report import Section, tally
from .workloads import FULL, QUICK, Plan, WrongError, sections


def main(arguments: list[str] | None = None, plan: Plan | None = None) -> int:
    """Print the report; 0 whatever the times are, 1 where efimm's answers are wrong."""
    options = _options(arguments)
    print(conditions_text(), flush=True)
    found: list[Section] = []
    try:
        for section in sections(plan or (QUICK if options.quick else FULL)):
            print(section.text(), flush=True)
            found.append(section)
            gc.collect()
    except WrongError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{tally(found)}")
    if options.json:
        data = {"conditions": conditions(), "sections": [section.data() for section in found]}
        options.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 0


def conditions() -> dict[str, Any]:
    """Where this was measured."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def conditions_text() -> str:
    """The same in words."""
    found = conditions()
    where = f"Python {found['python']}, numpy {found['numpy']}, {found['cpus']} CPUs ({found['machine']})"
    return f"{where}, load {found['load']:.1f}\nCPU time; a ratio is one of the best rounds, then one of the medians"


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 rounds and not 9: about a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to FILE, too")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
