"""A timeline as text of at most 72 columns: the same steps, with a mark at the one that is shown."""

from __future__ import annotations

from textwrap import wrap

from ..text import COLUMNS
from .timeline_scene import sentence
from .timeline_state import Timeline

_HERE = ">"


def describe(timeline: Timeline, now: int) -> str:
    """All steps up to `now`, each with its lane; then what lasts."""
    width = max(map(len, timeline.lanes))
    lines = wrap(timeline.title, COLUMNS, subsequent_indent="    ")
    for number, step in enumerate(timeline.steps[: now + 1]):
        mark = _HERE if number == now else " "
        head = f"{mark}{number + 1:>4} {timeline.lanes[step.lane]:<{width}}  "
        lines += wrap(head + step.text, COLUMNS, subsequent_indent=" " * len(head), drop_whitespace=True) or [head]
    return "\n".join([*lines, "", *wrap(sentence(timeline, now), COLUMNS)])
