"""Claims and findings as text of at most 72 columns."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap

from .claim import Claim, Finding

WIDTH = 72


def report(claim: Claim, found: Finding) -> str:
    """One claim with its evidence."""
    verdict = f"{found.verdict}: {found.where}" if found.where else found.verdict
    rows = (("claim", claim.name), ("said by", f"{claim.who}, {claim.when}"), ("tried", claim.asks))
    lines = wrap(f'"{claim.words}"', WIDTH)
    for head, words in (*rows, ("finding", verdict), ("evidence", found.evidence)):
        lines += wrap(words, WIDTH, initial_indent=f"{head:<10}", subsequent_indent=" " * 10)
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
