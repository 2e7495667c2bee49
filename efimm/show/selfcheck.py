"""A check that takes a second: is everything here that the notebooks need, and does the model still know its story?"""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from time import perf_counter

from ..machines import data_files, machine
from ..run import run

_PACKAGES = ("jupyterlab", "ipywidgets", "anywidget", "numpy", "matplotlib", "click")
_STORY = (
    ("3.5", "256G", "success"),
    ("3.5", "1T", "page-fault"),
    ("va-patch", "1T", "success"),
    ("hpa-sync", "1T", "success"),
)


def selfcheck() -> str:
    """A report, one line a check, each starting with "ok" or "MISSING" or "WRONG"; the last line sums up."""
    lines = [_python(), *map(_package, _PACKAGES), _data(), *(_story(*row) for row in _STORY)]
    bad = sum(not line.startswith("ok") for line in lines)
    lines.append("Everything is here." if not bad else f"{bad} of {len(lines)} checks failed: see the lines above.")
    return "\n".join(lines)


def _python() -> str:
    good = sys.version_info >= (3, 11)
    return f"{'ok      ' if good else 'WRONG   '} Python {platform.python_version()} (3.11 or later is needed)"


def _package(name: str) -> str:
    try:
        return f"ok       {name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"MISSING  {name}: run `make lab` again, or `pip install {name}`"


def _data() -> str:
    count = len(data_files())
    return f"{'ok      ' if count else 'MISSING '} {count} memory maps of real machines"


def _story(kernel: str, ram: str, expected: str) -> str:
    start = perf_counter()
    verdict = run(machine(ram), kernel).verdict
    took = f"{1000 * (perf_counter() - start):.0f} ms"
    return f"{'ok      ' if verdict == expected else 'WRONG   '} kernel {kernel} with {ram} of RAM: {verdict} ({took})"
