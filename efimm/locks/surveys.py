"""Many searches side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .finding import Finding

_WIDTH = 11


@dataclass(frozen=True)
class Survey:
    """What was found, by (under Xen, history, story); `str()` is a table of it.

    In the table, "-" means that every order was tried and none ends badly.
    """

    found: Mapping[tuple[bool, str, str], Finding]

    def __str__(self) -> str:
        stories = list(dict.fromkeys(story for _, _, story in self.found))
        lines = [f"{'':22}" + "".join(f"{story:{_WIDTH}}" for story in stories)]
        for xen in (False, True):
            lines.append("as a guest of Xen" if xen else "natively")
            for history in dict.fromkeys(history for _, history, _ in self.found):
                words = [self._word(self.found[xen, history, story]) for story in stories]
                lines.append(f"  {history:20}" + "".join(f"{word:{_WIDTH}}" for word in words))
        return "\n".join(line.rstrip() for line in lines)

    @staticmethod
    def _word(finding: Finding) -> str:
        return finding.bad_end.partition("\n")[0] or "-"
