"""The top-level tables of a kernel side by side: who has which entry, who shares it, and who has fallen behind."""

from __future__ import annotations

from ..linux.state import Kernel, Linux
from .frames import Frame, Frames
from .tables_scene import draw, sentences
from .tables_state import TablesState, state_of
from .tables_story import story_now, story_of
from .tables_twin import describe


def tables_view(what: Linux | Kernel | str = "3.5", ram: str | int = "1T", arch: str = "x86_64") -> Frames:
    """The tables of `what`: a booted kernel as it stands now, or a kernel (a record or its name) led through its life.

    `ram` and `arch` are for the latter, as in efimm.machine.  Raises MachineError for a machine that cannot be.
    """
    state = state_of(story_now(what) if isinstance(what, Linux) else story_of(what, ram, arch))
    return Frames([frame(state, moment) for moment in range(len(state.story.moments))])


def frame(state: TablesState, moment: int) -> Frame:
    """One moment, as picture and as text."""
    words, good = " ".join(sentences(state, moment)), not state.behind(moment)
    return Frame(draw(state, moment), describe(state, moment), words, good)
