"""`python -m benchmarks.notebooks`: how long all notebooks and solutions take by the runner of `make test`.

Seconds of the clock, with two workers on a computer that has nothing else to do, since somebody waits for them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST = 150.0  # seconds
RUNNER = ["-m", "pytest", "--nbmake", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-q"]
_CALL = re.compile(r"^ *([\d.]+)s call +\S*/(\S+?)\.ipynb", re.MULTILINE)


def executed() -> tuple[float, subprocess.CompletedProcess[str]]:
    """Seconds of the clock for one run of all notebooks, and what pytest said of it."""
    command = [sys.executable, *RUNNER, "--durations=0", "-p", "no:cacheprovider", "notebooks"]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return time.perf_counter() - start, done


def main() -> int:
    """Print each notebook's seconds and a line for all; 0 however long it takes, 1 where one of them fails."""
    print(f"{len(list((ROOT / 'notebooks').rglob('*.ipynb')))} files, {os.cpu_count()} CPUs", end=", ")
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    took, done = executed()
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
        return 1
    for seconds, name in _CALL.findall(done.stdout):
        print(f"{float(seconds):8.1f} s  {name}")
    print(f"all notebooks and solutions: {took:.1f} s; target <= {MOST:g} s: {'met' if took <= MOST else 'missed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
