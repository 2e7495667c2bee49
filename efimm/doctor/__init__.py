"""The set-up check: is everything here that the notebooks need, and what is to be done where it is not?

Asks nothing of the network; starts a kernel and a JupyterLab server of its own, and stops them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .finding import Finding, all_there, verdict
from .installed import firmware, limits, packages, python, space, voila
from .jupyter import browser, kernel, server, widgets
from .model import files, story

__all__ = ["Finding", "all_there", "doctor", "examine", "verdict"]

QUICK: tuple[Callable[[], Iterator[Finding]], ...] = (python, packages, files, story)
SLOW: tuple[Callable[[], Iterator[Finding]], ...] = (kernel, server, widgets, browser, space, limits, voila, firmware)


def examine(*, quick: bool = False) -> Iterator[Finding]:
    """One finding after the other, as it is made; with `quick` only what takes less than a second."""
    for check in QUICK if quick else QUICK + SLOW:
        yield from check()


def doctor(*, quick: bool = True) -> str:
    """The whole report as text of at most 72 columns; the last line sums up."""
    findings = list(examine(quick=quick))
    return "\n".join([*map(str, findings), verdict(findings)])
