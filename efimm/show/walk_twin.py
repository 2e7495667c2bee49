"""The text twin of the explorer: every field of the address, of each entry and of the error code, in 72 columns."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from ..text import COLUMNS
from .bits import Field
from .explained import Explained

_BITS, _NAME = 7, 8


def describe(found: Explained) -> str:
    """An explained walk as lines: the verdict, the address, the entries, the rights, and how it ends."""
    return "\n".join(line for part in _parts(found) for line in part)


def _parts(found: Explained) -> Iterator[list[str]]:
    root = "" if found.root is None else f", first table at {found.root:#x}"
    yield _wrapped(f"walk of {found.va:#x}, {found.mode}{root}")
    yield _wrapped(found.verdict)
    for reason in found.reasons:
        yield _wrapped(f"  {reason}")
    if found.cached:
        yield _wrapped(found.cached)
    yield ["", f"address {found.va:#x}", *_table(found.address)]
    for row in found.rows:
        yield ["", f"{row.name} ({row.manual}) at {row.pa:#x} = {row.raw}", *_table(row.fields, row.stops)]
    if found.rights:
        yield ["", "all levels together", *(line for pair in found.rights for line in _right(*pair))]
    if found.code is not None:
        yield ["", f"error code {found.code:#06x}", *_table(found.code_fields)]


def _table(fields: tuple[Field, ...], stops: int = 0) -> list[str]:
    """One field a line; a mark stands before what stops the access."""
    values = max(len(field.shown) for field in fields) + 2
    lines = []
    for field in fields:
        mark = "> " if stops & field.mask else "  "
        head = f"{mark}{field.bits:<{_BITS}}{field.name:<{_NAME}}{field.shown:<{values}}"
        room = COLUMNS - len(head)
        first, *rest = wrap(field.meaning, room)
        lines += [head + first, *(" " * len(head) + line for line in rest)]
    return lines


def _right(right: str, words: str) -> list[str]:
    return _wrapped(f"  {right:<9}{words}")


def _wrapped(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return wrap(line, COLUMNS, subsequent_indent=indent, break_on_hyphens=False)
