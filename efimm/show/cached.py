"""What the TLB adds to a walk: nothing, the same, or something that the tables no longer say."""

from __future__ import annotations

from ..x86 import TlbEntry, Walk
from ..x86.rights import WRITE, Request


def cached_words(entry: TlbEntry | None, found: Walk, request: Request) -> str:
    """What the TLB holds, and whether this access would be served from there; "" where it holds nothing."""
    if entry is None:
        return ""
    now = (found.pa, found.writable, found.user, found.executable)
    same = (entry.translate(found.va), entry.writable, entry.user, entry.executable) == now
    kept = " (global)" if entry.is_global else ""
    if same:
        return f"The TLB holds the same translation{kept}."
    goes = f"this {request.kind} goes to {entry.translate(found.va):#x}"
    use = goes if _serves(entry, request) else "this access walks again"
    return f"The TLB still holds {entry.va:#x} -> {entry.pa:#x}{kept}: {use}."


def served_otherwise(entry: TlbEntry | None, va: int, request: Request, walked: int | None) -> int | None:
    """The physical address that `entry` gives the access, if it serves it and a walk would end elsewhere, else None.

    `walked` is where the walk leads this access; None for a fault.
    """
    if entry is None or not _serves(entry, request) or entry.translate(va) == walked:
        return None
    return entry.translate(va)


def _serves(entry: TlbEntry, request: Request) -> bool:
    """Whether no walk is needed.  The first write sets D in the table, and so has to walk."""
    return request.allowed_by(entry) and (request.kind != WRITE or entry.dirty)
