"""A sentence of the thread that can be right or wrong, what a run says to it, and both as text of 72 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from textwrap import wrap

from ..kernels import KERNELS
from ..linux import Kernel
from ..reliance import reliance
from ..run import Outcome

Kernels = Mapping[str, Kernel]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found: "true", "false" or "in part", with where it holds; "opinion" for words that no run can decide.

    `evidence` are the numbers, for an opinion those that speak for it or against it; `leans` says what a success among
    them leans on.
    """

    verdict: str
    evidence: str
    where: str = ""
    leans: str = ""

    def leaning_on(self, success: Outcome) -> Finding:
        """The same, with what `success` leans on; as it is where that is no success after all."""
        return replace(self, leans=" ".join(str(reliance(success)).split())) if success.verdict == "success" else self


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


WIDTH = 72


def report(claim: Claim, found: Finding) -> str:
    """One claim with its evidence."""
    verdict = f"{found.verdict}: {found.where}" if found.where else found.verdict
    rows = (("claim", claim.name), ("said by", f"{claim.who}, {claim.when}"), ("tried", claim.asks))
    lines = wrap(f'"{claim.words}"', WIDTH)
    leans = [("leans on", found.leans)] if found.leans else []
    for head, words in (*rows, ("finding", verdict), ("evidence", found.evidence), *leans):
        lines += wrap(words, WIDTH, initial_indent=f"{head:<10}", subsequent_indent=" " * 10, break_on_hyphens=False)
    return "\n".join(lines)


def overview(findings: Iterable[tuple[Claim, Finding]]) -> str:
    """Every claim in a few lines: who, when, the words, the finding."""
    return "\n\n".join(_block(claim, found) for claim, found in findings)


def _block(claim: Claim, found: Finding) -> str:
    verdict = f"-> {found.verdict.upper()}" + (f" ({found.where})" if found.where else "")
    words = wrap(f'"{claim.words}"', WIDTH, initial_indent="  ", subsequent_indent="  ")
    ending = wrap(verdict, WIDTH, initial_indent="  ", subsequent_indent="     ")
    head = wrap(f"{claim.name}: {claim.who}, {claim.when}", WIDTH)
    return "\n".join([*head, *words, *ending])
