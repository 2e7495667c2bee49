"""The locks around pgd_list, judged by trying every order in which several processors can take their steps.

A *history* is a kernel with the locks of its time, a *story* what two or three processors do at once.  Both are data;
what goes wrong between them is found, and printed as a schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ..kernels import KERNELS
from ..linux.state import Kernel
from .finding import Finding, Story, Survey
from .histories import HISTORIES
from .interleave import search
from .recorded import recorded_search
from .stories import STORIES, Plot, boot_small
from .turns import can_switch

__all__ = ["HISTORIES", "STORIES", "Finding", "Plot", "Story", "Survey", "search", "search_history", "survey"]

T = TypeVar("T", Kernel, Plot)


def search_history(history: str | Kernel, story: str | Plot = "flush", *, xen: bool = False) -> Finding:
    """What can go wrong in `story` with the locks of `history`: a schedule that ends badly, or the proof of none.

    `history` is a name in HISTORIES or in efimm.KERNELS, or a kernel of your own; `story` a name in STORIES, or a plot
    of your own; with `xen` it runs as a paravirtualised guest.  Among bad ends the one with the fewest changes of the
    processor is shown.  "fork", with three processors, takes seconds, and half a minute where there is nothing to find.
    In a browser that cannot stop in the middle of Python a recorded search is shown, and says so; for a kernel of your
    own NoStacksError is raised there.  ValueError for an unknown name.  Not covered: more processors, processes or
    calls than the story has.
    """
    kernel = _named(history, {**KERNELS, **HISTORIES}, "history")
    plot = _named(story, STORIES, "story")
    if not can_switch() and isinstance(history, str) and isinstance(story, str):
        return recorded_search(history, story, xen)
    booted = boot_small(kernel)
    return search(lambda: plot.start(booted, xen=xen))


def survey(
    histories: tuple[str | Kernel, ...] = ("617d34d9^", "a79e53d8^", "a79e53d8"),
    stories: tuple[str, ...] = ("flush", "birth", "exec", "exit"),
) -> Survey:
    """Each story with the locks of each history, natively and as a guest of Xen: what was found, as a table."""
    cases = [(xen, history, story) for xen in (False, True) for history in histories for story in stories]
    found = {(xen, _name(h), story): search_history(h, story, xen=xen) for xen, h, story in cases}
    return Survey(found)


def _name(history: str | Kernel) -> str:
    return history if isinstance(history, str) else history.name


def _named(value: str | T, known: Mapping[str, T], what: str) -> T:
    if not isinstance(value, str):
        return value
    if value not in known:
        raise ValueError(f"{what} {value!r}: expected one of {', '.join(known)}")
    return known[value]
