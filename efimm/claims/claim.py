"""A sentence of the thread that can be right or wrong, and what a run says to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..kernels import KERNELS
from ..linux import Kernel

Kernels = Mapping[str, Kernel]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found: "true", "false" or "in part", with where it holds; "opinion" for words that no run can decide.

    `evidence` are the numbers, for an opinion those that speak for it or against it.
    """

    verdict: str
    evidence: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who said what and when; `check` runs it on the kernels that it is given, by name.

    `words` are quoted as they stand in the message.  `asks` says what is tried.
    """

    name: str
    who: str
    when: str
    words: str
    asks: str
    check: Callable[[Kernels], Finding]

    def find(self, kernels: Kernels = KERNELS) -> Finding:
        """Run the check."""
        return self.check(kernels)


def holds(right: bool, evidence: str) -> Finding:
    """True or false."""
    return Finding("true" if right else "false", evidence)


def holds_where(where: Mapping[str, bool], evidence: str) -> Finding:
    """True or false in each of several situations; "in part" where they differ."""
    if len(set(where.values())) == 1:
        return holds(next(iter(where.values())), evidence)
    return Finding("in part", evidence, ", ".join(name for name, right in where.items() if right))


def opinion(evidence: str) -> Finding:
    """Neither true nor false: what its author held to be best, and what came of it here."""
    return Finding("opinion", evidence)
