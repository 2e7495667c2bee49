"""Events that belong together as one step: what nobody wants to step through one by one, with its count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, groupby

from ..trace import Access, Enter, EntryWrite, Event, Printk

_MOST = 4  # so many steps of a kind may follow one another


def folded(events: Iterable[Event]) -> Iterator[list[Event]]:
    """The events in order, in groups that make a step each.

    Together are: the lines of the console; accesses of one kind to one page; and, where more than a few such steps
    follow one another, all accesses, and all writes to one table.
    """
    close = [list(group) for _, group in groupby(events, key=_alike)]
    for _, groups in groupby(close, key=_related):
        several = list(groups)
        yield from [list(chain(*several))] if len(several) > _MOST else several


def words(run: list[Event]) -> str:
    """A group in words; accesses and writes are counted."""
    first = run[0]
    if isinstance(first, Printk):
        return f"console: {first.text.strip()}" + (f" (and {len(run) - 1} lines more)" if len(run) > 1 else "")
    if len(run) > 1 and isinstance(first, EntryWrite):
        writes = [event for event in run if isinstance(event, EntryWrite)]
        low, high = min(w.index for w in writes), max(w.index + w.count - 1 for w in writes)
        return f"{first.table}[{low}..{high}]: {sum(w.count for w in writes)} entries written"
    if len(run) > 1 and isinstance(first, Access):
        return _accesses([event for event in run if isinstance(event, Access)])
    return first.step if isinstance(first, Enter) else str(first)


def _accesses(run: list[Access]) -> str:
    if len({access.kind for access in run}) == 1 and len({access.pa >> 12 for access in run}) == 1:
        return f"{run[0]} ({len(run)} times, up to {run[-1].va:#x})"
    counts = ", ".join(f"{sum(a.kind == kind for a in run)} {kind}s" for kind in dict.fromkeys(a.kind for a in run))
    return f"cpu: {counts}, from {min(a.va for a in run):#x} to {max(a.va for a in run):#x}"


def _alike(event: Event) -> object:
    """Equal for events that make one step in any case."""
    if isinstance(event, Access):
        return event.kind, event.pa >> 12
    return Printk if isinstance(event, Printk) else id(event)


def _related(group: list[Event]) -> object:
    """Equal for groups that make one step when there are many in a row."""
    first = group[0]
    if isinstance(first, Access):
        return Access
    return first.table if isinstance(first, EntryWrite) else id(first)
