"""What the searches found, kept for a browser that cannot run several processors: data/lock-searches.json.

Written by `record(lambda history, story, xen: search_history(history, story, xen=xen))`; a test runs every search again
and compares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from ..machines import searches_file
from .finding import Done, Finding
from .smp import Choice
from .turns import NoStacksError

# What notebook 06 asks by name.  "fork" takes too long for a page.
HISTORIES = ("617d34d9^", "a79e53d8^", "a79e53d8", "no page_table_lock", "no pgd_lock", "hpa-sync")
STORIES = ("flush", "birth", "exec", "exit")


def recorded_search(history: str, story: str, xen: bool) -> Finding:
    """The recorded search; NoStacksError where there is none."""
    found = json.loads(searches_file().read_text(encoding="utf-8")).get(_key(history, story, xen))
    if found is None:
        raise NoStacksError(f"this browser cannot search here (it lacks JSPI), and {story!r} was not recorded")
    return Finding(
        tuple(found["programs"]),
        found["bad_end"],
        tuple(Choice(*choice) for choice in found["schedule"]),
        tuple(Done(*step) for step in found["steps"]),
        tuple((cpu, words) for cpu, words in found["stopped"]),
        found["schedules"],
        found["states"],
        recorded=True,
    )


def cases() -> Iterator[tuple[str, str, bool]]:
    """What is recorded: history, story, and whether it is a guest of Xen."""
    yield from ((history, story, xen) for history in HISTORIES for story in STORIES for xen in (False, True))


def _key(history: str, story: str, xen: bool) -> str:
    return f"{history} {story} {'xen' if xen else 'native'}"


def _as_json(found: Finding) -> dict[str, object]:
    return {name: value for name, value in vars(found).items() if name != "recorded"}


def record(search: Callable[[str, str, bool], Finding]) -> None:
    """Keep what `search` (history, story, under Xen) finds in every case."""
    found = {_key(*case): _as_json(search(*case)) for case in cases()}
    searches_file().write_text(json.dumps(found, indent=0, sort_keys=True) + "\n", encoding="utf-8")
