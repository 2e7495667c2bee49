"""The picture of a walk: the address cut up, one row of bit cells for each entry, rights, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap

from ...x86.fields import ADDRESS, IGNORED, RESERVED, UNREACHED, Field
from ..drawing.kit import boxed, joined, legend
from ..drawing.shapes import Path, Rect, Scene, Shape, Text, points
from .explained import Explained

_MARGIN, _END = 14, 946
_CELLS = 216  # where the cells of an entry begin; its place and its value stand to the left
_RULER, _RULER_CELL = 30, 38
_NUMBERS, _CELL = 15, 38  # the line with the bit numbers, and the cell below it
_PITCH = 70
_LINE = 17
_RIGHT = 440  # where the end of the walk is told; the rights stand to its left
_CODE_CELL = 58
_COLUMNS_LEFT, _COLUMNS_RIGHT = 58, 70

# How wide a cell of several bits is; one bit takes _FLAG, the address what is left.
_FLAG, _FEW, _SOME = 32, 42, 56
_DIGIT = 7.3

# What the boxes look like, in words.
_LOOKS = {"flag set": "flag, set", "flag": "flag, clear", "address": "address", "software": "for software"}
_LOOKS |= {"ignored": "ignored", "reserved": "must be 0", "stops": "stops this access"}
_KEYS = [(boxed(22, 14, f"bit {looks}"), words) for looks, words in _LOOKS.items()]


@dataclass(frozen=True, slots=True)
class Cell:
    """A place in the picture that can be pointed at: a box and what it means."""

    x: float
    y: float
    width: float
    height: float
    meaning: str


@dataclass(frozen=True, slots=True)
class CellRow:
    """The cells of one word: the address, an entry, the error code."""

    name: str
    cells: tuple[Cell, ...]


def draw(found: Explained) -> Scene:
    """The scene of an explained walk.  A pure function: the same walk gives the same shapes."""
    height = round(_end_top(found) + _end_height(found) + 34)
    title = f"Walk of {found.va:#x}, {found.mode}, {found.access}"
    keys = legend(_KEYS, _MARGIN + 11, height - 16, 17, role="muted")
    parts = (_ruler(found), _entries(found), _leads(found), _rights(found), _ending(found), keys)
    return joined(height, title, _description(found), *parts)


def cell_rows(found: Explained) -> tuple[CellRow, ...]:
    """Everything that can be pointed at, row by row from the top."""
    rows = [CellRow(f"address {found.va:#x}", tuple(_cells(found.address, _ruler_boxes(found))))]
    rows += [
        CellRow(f"{row.name} = {row.raw}", tuple(_cells(row.fields, _boxes(row.fields, _row_top(number)))))
        for number, row in enumerate(found.rows)
    ]
    if found.code is not None:
        rows.append(CellRow(f"error code {found.code:#06x}", tuple(_cells(found.code_fields, _code_boxes(found)))))
    return tuple(rows)


_Box = tuple[float, float, float, float]


def _cells(fields: tuple[Field, ...], boxes: list[_Box]) -> Iterator[Cell]:
    for field, box in zip(fields, boxes, strict=True):
        yield Cell(*box, field.line)


def _description(found: Explained) -> str:
    entries = "; ".join(f"{row.name} is {row.raw}" for row in found.rows)
    return f"{entries}. {found.verdict} {' '.join(found.reasons)}. {found.cached}".strip(". ") + "."


# the address


def _ruler(found: Explained) -> Iterator[Shape]:
    yield Text(_MARGIN, 17, f"Address {found.va:#x}", "head")
    root = "paging off" if found.root is None else f"{found.mode}, first table at {found.root:#x}"
    yield Text(_END, 17, root, "end")
    for field, box in zip(found.address, _ruler_boxes(found), strict=True):
        yield from _cell(field, box, stops=field.kind == RESERVED)


def _ruler_boxes(found: Explained) -> list[_Box]:
    width = (_END - _MARGIN) / len(found.address)
    return [(_MARGIN + k * width, _RULER + _NUMBERS, width, _RULER_CELL) for k in range(len(found.address))]


# the entries


def _row_top(number: int) -> float:
    return _RULER + _NUMBERS + _RULER_CELL + 16 + number * _PITCH


def _entries(found: Explained) -> Iterator[Shape]:
    for number, row in enumerate(found.rows):
        top = _row_top(number)
        yield Text(_MARGIN, top + 18, row.name, "strong")
        yield Text(_CELLS - 12, top + 18, row.manual, "end muted")
        yield Text(_MARGIN, top + 34, f"at {row.pa:#x}", "mono muted")
        yield Text(_MARGIN, top + 50, row.raw, "mono")
        for field, box in zip(row.fields, _boxes(row.fields, top), strict=True):
            yield from _cell(field, box, stops=bool(row.stops & field.mask))


def _boxes(fields: tuple[Field, ...], top: float) -> list[_Box]:
    """The boxes of an entry's fields from left to right; what is left goes to the address, or to what is widest."""
    widths = [_width(field) for field in fields]
    widest = max(range(len(fields)), key=lambda k: (fields[k].kind == ADDRESS, fields[k].high - fields[k].low))
    widths[widest] += _END - _CELLS - sum(widths)
    boxes, x = [], float(_CELLS)
    for width in widths:
        boxes.append((x, top + _NUMBERS, width, float(_CELL)))
        x += width
    return boxes


def _width(field: Field) -> float:
    bits = field.high - field.low + 1
    usual = _FLAG if bits == 1 else _FEW if bits <= 3 else _SOME
    return max(usual, _DIGIT * len(field.name) + 10 if bits == 1 else _DIGIT * len(field.shown) + 8)


def _cell(field: Field, box: _Box, *, stops: bool) -> Iterator[Shape]:
    """One field: its bit numbers above, its name and its value inside."""
    x, y, width, height = box
    middle = x + width / 2
    yield Text(middle, y - 4, field.bits, "middle muted")
    if stops:
        yield Rect(x + 1.5, y + 1, width - 3, height - 2, "bit stops", field.line)
    else:
        yield Rect(x, y, width, height, f"bit {_looks(field)}", field.line)
    looks = "faulttext strong" if stops else "muted" if field.kind in (IGNORED, RESERVED, UNREACHED) else ""
    yield Text(middle, y + 15, field.name, f"middle {looks}".strip())
    yield Text(middle, y + 31, field.shown, f"middle mono {looks or 'strong'}")


def _looks(field: Field) -> str:
    """A flag that is set looks otherwise than one that is not."""
    return f"flag{' set' if field.value else ''}" if field.kind == "flag" else field.kind


def _leads(found: Explained) -> Iterator[Shape]:
    """From each entry's address to the entry it leads to."""
    for number, row in enumerate(found.rows[:-1]):
        box = next(
            b for f, b in zip(row.fields, _boxes(row.fields, _row_top(number)), strict=True) if f.kind == ADDRESS
        )
        x, bottom = box[0] + box[2] / 2, box[1] + box[3]
        middle, top = bottom + 7, _row_top(number + 1) + 3
        yield Path(points((x, bottom), (x, middle), (_MARGIN + 6, middle), (_MARGIN + 6, top - 3)), "lead")
        yield Path(points((_MARGIN + 1, top - 5), (_MARGIN + 11, top - 5), (_MARGIN + 6, top + 2)) + "Z", "lead-head")


# rights, and the end


def _end_top(found: Explained) -> float:
    return _row_top(len(found.rows)) + 4


def _end_height(found: Explained) -> float:
    lines = max(1 + len(_right_lines(found)), 1 + len(_left_lines(found)))
    code = _NUMBERS + _CELL + 12 if found.code is not None else 0
    return max(lines * _LINE, (1 + len(_right_lines(found))) * _LINE + code) + 22


def _rights(found: Explained) -> Iterator[Shape]:
    top = _end_top(found)
    if not found.rights and not found.cached:
        return
    yield Text(_MARGIN, top + 16, "All levels together", "head")
    for number, line in enumerate(_left_lines(found), 1):
        yield Text(_MARGIN, top + 20 + number * _LINE, line, "")


def _left_lines(found: Explained) -> list[str]:
    lines = [f"{right}: {words}" for right, words in found.rights] or ["there is no translation"]
    return [cut for line in [*lines, found.cached] for cut in wrap(line, _COLUMNS_LEFT)]


def _right_lines(found: Explained) -> list[str]:
    return [cut for line in found.reasons for cut in wrap(line, _COLUMNS_RIGHT)]


def _ending(found: Explained) -> Iterator[Shape]:
    top, good = _end_top(found), found.kind == "page" and found.served is None
    yield Rect(_RIGHT, top - 4, _END - _RIGHT, _end_height(found), f"bit end {'good' if good else 'stops'}")
    yield Text(_RIGHT + 12, top + 16, _headline(found), "head" if good else "head faulttext")
    lines = _right_lines(found)
    for number, line in enumerate(lines, 1):
        yield Text(_RIGHT + 12, top + 20 + number * _LINE, line, "")
    for field, box in zip(found.code_fields, _code_boxes(found), strict=True):
        yield from _cell(field, box, stops=False)


def _headline(found: Explained) -> str:
    who = found.access if found.served is None else f"a walk for this {found.access}"
    if found.kind == "page":
        return f"{who}: physical {found.pa:#x}"
    if found.code is not None:
        return f"{who}: page fault, error code {found.code:#06x}"
    return f"{who}: {found.kind}"


def _code_boxes(found: Explained) -> list[_Box]:
    top = _end_top(found) + 20 + len(_right_lines(found)) * _LINE + 10 + _NUMBERS
    return [(_RIGHT + 12 + k * _CODE_CELL, top, _CODE_CELL, _CELL) for k in range(len(found.code_fields))]
