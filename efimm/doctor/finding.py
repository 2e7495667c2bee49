"""What one check found, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

COLUMNS = 72
_INDENT = " " * 9


@dataclass(frozen=True)
class Finding:
    """`text` says what was found, and what to do where it is not `ok`.  Without the `needed` ones no notebook runs."""

    ok: bool
    text: str
    needed: bool = True

    @property
    def word(self) -> str:
        """ok, MISSING (the notebooks need it) or absent (they do not)."""
        return "ok" if self.ok else "MISSING" if self.needed else "absent"

    def __str__(self) -> str:
        return "\n".join(
            wrap(f"{self.word:<8} {self.text}", COLUMNS, subsequent_indent=_INDENT, break_on_hyphens=False)
        )

    def summary(self) -> dict[str, Any]:
        """The finding as plain data."""
        return {"ok": self.ok, "needed": self.needed, "text": self.text}


def all_there(findings: Sequence[Finding]) -> bool:
    """True when nothing is missing that the notebooks need."""
    return all(found.ok for found in findings if found.needed)


def verdict(findings: Sequence[Finding]) -> str:
    """The last line of a report."""
    if all_there(findings):
        return "Everything is here that the notebooks need."
    missing = sum(found.needed and not found.ok for found in findings)
    return f"{missing} of {len(findings)} checks failed: see the lines that begin with MISSING."
