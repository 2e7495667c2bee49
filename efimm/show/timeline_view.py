"""A story to play, step through and rewind: a run of the model, or a schedule of several processors."""

from __future__ import annotations

from ..locks.finding import Finding
from ..run import Outcome
from .frames import Frame, Frames
from .timeline_scene import draw, sentence
from .timeline_state import TROUBLE, Timeline, of_finding, of_outcome
from .timeline_twin import describe


def timeline(what: Outcome | Finding, since: str = "efi_enter_virtual_mode") -> Frames:
    """The steps of `what` in lanes, at the first one; a run begins at the kernel's step `since`.

    Raises ValueError for a run without that step, and for a search that found nothing bad: it has no schedule.
    """
    story = of_outcome(what, since) if isinstance(what, Outcome) else of_finding(what)
    return Frames([frame(story, now) for now in range(len(story.steps))], playable=True)


def frame(story: Timeline, now: int) -> Frame:
    """One step, as picture and as text."""
    good = story.steps[now].kind != TROUBLE and (story.good or now < len(story.steps) - 1)
    return Frame(draw(story, now), describe(story, now), sentence(story, now), good)
