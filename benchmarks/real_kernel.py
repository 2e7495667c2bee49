"""`python -m benchmarks.real_kernel [VMLINUZ]`: how long `efimm judge --linux` takes, from the command to its answer.

Seconds of the clock, since somebody waits for it, and beside them the CPU time, QEMU's with it, which a busy computer
changes less.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median

from efimm.judges.linux.image import installed_kernels

ROOT = Path(__file__).parents[1]
ROUNDS, MOST = 3, 90.0  # seconds of the clock, on two cores that have nothing else to do
SIDES = ("above", "below")


def judged(kernel: Path, side: str) -> tuple[float, float]:
    """Seconds of the clock and of the processor for one run, with the array on this side of 512 GiB."""
    command = [sys.executable, "-m", "efimm", "judge", "--linux", str(kernel), "--array", side]
    before, began = getrusage(RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    took, after = time.perf_counter() - began, getrusage(RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(arguments: list[str]) -> int:
    """Print a line for each side; 0 whatever the times are, 1 where there is no kernel or a run fails."""
    kernels = [Path(name).absolute() for name in arguments] or installed_kernels()[-1:]
    if not kernels:
        print("no kernel on this computer: python -m benchmarks.real_kernel VMLINUZ", file=sys.stderr)
        return 1
    print(f"efimm judge --linux {kernels[0].name}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}", flush=True)
    for side in SIDES:
        try:
            runs = [judged(kernels[0], side) for _ in range(ROUNDS)]
        except subprocess.CalledProcessError as error:
            print(f"--array {side}: ended with status {error.returncode}; run the command to see why", file=sys.stderr)
            return 1
        wall, cpu = ([run[part] for run in runs] for part in (0, 1))
        met = "met" if min(wall) <= MOST else "missed"
        print(f"--array {side}: best {min(wall):.1f} s, median {median(wall):.1f}, n {ROUNDS}", end="")
        print(f"; CPU {min(cpu):.1f} s; target <= {MOST:g} s: {met}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
