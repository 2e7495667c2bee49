"""The picture of a machine's memory map: the first 4 GiB drawn large, a strip for each 512 GiB, the largest areas."""

from __future__ import annotations

from collections.abc import Iterator

from ..linux.layout import PGDIR_SHIFT, PGDIR_SIZE
from ..text import GIB, map_title, slot_numbers
from .map_state import ACPI, CODE, DATA, KINDS, MMIO, NOTHING, RAM, RESERVED, Area, Blocks, MapState
from .map_strip import BAR, BAR_END, areas, box, place, ticks
from .shapes import Path, Rect, Scene, Shape, Text, points

WIDTH, MARGIN = 960, 16
FOUR_GIB = 4 * GIB
LARGEST = 8
_NUMBERS_END, _FROM = 74, 82
_ZOOM, _STRIP, _FOLD, _GAP = 92, 30, 22, 8
_BLOCKS = 164
_LINE_GAP, _ROW = 18, 20
_TITLE_LETTERS = 110


def draw(state: MapState) -> Scene:
    """The scene of a map.  A pure function."""
    end = _BLOCKS + sum(_height(row) + _GAP for row in state.blocks) + _LINE_GAP
    legend, largest = end + 40, end + 40 + 3 * _ROW + 22
    height = largest + (min(LARGEST, len(state.areas)) + 1) // 2 * _ROW + 12
    parts = (_heads(state), _zoom(state), _strips(state), _axis(end), _legend(state, legend), _largest(state, largest))
    shapes = tuple(shape for part in parts for shape in part)
    return Scene(WIDTH, height, f"Memory map of {map_title(state.map)}", description(state), shapes)


def words(state: MapState) -> str:
    """The map in one sentence or two."""
    line, found = PGDIR_SIZE, state.map
    above = sum(start >= line for start, _ in state.runtime)
    regions = f"{len(state.runtime)} runtime regions, {above} of them above 512 GiB"
    told = regions if found.descriptors else "no EFI list, so nothing is known of runtime regions"
    size, top = (found.ram_bytes, found.highest_ram) if found.ram else _ram_of_the_areas(state)
    ram = f"{amount(size)} of RAM, up to {top:#x}, {'above' if top > line else 'below'} 512 GiB" if size else "No RAM"
    return f"{ram}; {told}."


def _ram_of_the_areas(state: MapState) -> tuple[int, int]:
    """How much RAM and up to where, by the EFI list alone."""
    return state.total(RAM), max((area.end for area in state.areas if area.kind == RAM), default=0)


def description(state: MapState) -> str:
    """The picture in words."""
    kinds = ", ".join(f"{kind} {amount(state.total(kind))}" for kind in KINDS if state.total(kind))
    rows = "; ".join(f"{block_name(row)}: {row.whole}" for row in state.blocks if row.whole)
    return f"{words(state)} By kind: {kinds}." + (f" {rows[0].upper()}{rows[1:]}." if rows else "")


def block_name(row: Blocks) -> str:
    """A row's blocks: "block 0", "blocks 3–14"."""
    return f"block{'s' * (row.last > row.first)} {slot_numbers(row.first, row.last)}"


def amount(count: int) -> str:
    """A size in words, with four figures at most."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20)):
        if count >= 1 << shift:
            return f"{count / (1 << shift):.4g} {unit}"
    return f"{count / 1024:.4g} KiB"


def area_line(area: Area) -> str:
    """One area: its addresses, its size, its kind."""
    return f"{addresses(area)} {amount(area.size):>10}  {area.kind}"


def addresses(area: Area) -> str:
    """Where an area begins, and the first address behind it."""
    return f"{area.start:#014x} {area.end:#014x}"


def _heads(state: MapState) -> Iterator[Shape]:
    title = map_title(state.map)
    short = title if len(title) <= _TITLE_LETTERS else f"{title[: _TITLE_LETTERS - 1]}…"
    yield Text(MARGIN, 22, short, "head")
    yield Text(MARGIN, 41, words(state), "small")


def _zoom(state: MapState) -> Iterator[Shape]:
    yield Text(MARGIN, _ZOOM + 20, "first 4 GiB", "small strong")
    for count in range(5):
        x = BAR + (BAR_END - BAR) * count / 4
        role = "small muted" + (" end" if count == 4 else " middle" if count else "")
        yield Text(x, _ZOOM - 12, f"{count} GiB" if count else "0", role)
    yield from box(_ZOOM, _STRIP)
    yield from areas(state.areas, (0, FOUR_GIB), _ZOOM, _STRIP)
    yield from ticks(state.runtime, (0, FOUR_GIB), _ZOOM)
    bottom, x = _ZOOM + _STRIP, place(FOUR_GIB, (0, PGDIR_SIZE))
    yield Path(points((BAR, bottom), (BAR, _BLOCKS)), "zoomline")
    yield Path(points((BAR_END, bottom), (x, _BLOCKS)), "zoomline")


def _height(row: Blocks) -> int:
    return _FOLD if row.last > row.first else _STRIP


def _strips(state: MapState) -> Iterator[Shape]:
    """The rows of blocks, downwards, with the line at 512 GiB under the first."""
    y = _BLOCKS
    for row in state.blocks:
        yield from _strip(row, y)
        y += _height(row) + _GAP
        if row.first == 0:
            line = y + _LINE_GAP / 2 - _GAP / 2
            yield Text(MARGIN, line + 4, "512 GiB", "small strong")
            yield Path(points((MARGIN + 58, line), (BAR_END, line)), "line512", "the end of top-level slot 0")
            y += _LINE_GAP


def _strip(row: Blocks, y: float) -> Iterator[Shape]:
    low, height = row.first << PGDIR_SHIFT, _height(row)
    middle = y + height / 2 + 4
    many = row.last > row.first
    yield Text(_NUMBERS_END, middle, slot_numbers(row.first, row.last), "small end strong")
    yield Text(_FROM, middle, "from 0" if not low else _start(low), "small muted")
    if many:
        yield from _folded(row, y)
        return
    yield from box(y, height, f"{block_name(row)}: {NOTHING}" if row.whole == NOTHING else "")
    window = (low or FOUR_GIB, low + PGDIR_SIZE)
    if not low:
        x = place(FOUR_GIB, (0, PGDIR_SIZE))
        yield Rect(BAR, y, x - BAR, height, "area ram item", "the first 4 GiB, drawn large above")
    yield from areas(row.areas, window, y, height, base=low)
    yield from ticks(row.runtime, window, y, base=low)


def _folded(row: Blocks, y: float) -> Iterator[Shape]:
    count = row.last - row.first + 1
    said = f"{count} blocks of 512 GiB: {'nothing' if row.whole == NOTHING else f'all {row.whole}'}"
    if row.whole == NOTHING:
        yield Rect(BAR, y, BAR_END - BAR, _FOLD, "area none item", f"{block_name(row)}: {said}")
    else:
        whole = Area(row.first << PGDIR_SHIFT, row.last + 1 << PGDIR_SHIFT, row.whole)
        yield from areas((whole,), (whole.start, whole.end), y, _FOLD)
    plain = row.whole in (NOTHING, RAM)
    if not plain:
        yield Rect((BAR + BAR_END) / 2 - 120, y + 2, 240, _FOLD - 4, "hole")
    yield Text((BAR + BAR_END) / 2, y + _FOLD / 2 + 4, said, "small middle")


def _start(low: int) -> str:
    return f"from {low / (1 << 40):.4g} TiB" if low >= 1 << 40 else f"from {low // GIB} GiB"


def _axis(y: float) -> Iterator[Shape]:
    for quarter in range(5):
        role = "small muted" + (" end" if quarter == 4 else " middle" if quarter else "")
        yield Text(BAR + (BAR_END - BAR) * quarter / 4, y + 10, f"+{128 * quarter} GiB" if quarter else "+0", role)


def _legend(state: MapState, y: float) -> Iterator[Shape]:
    for number, kind in enumerate((RAM, RESERVED, ACPI, MMIO, CODE, DATA)):
        x, line = MARGIN + 312 * (number % 3), y + _ROW * (number // 3)
        area = Area(0, 1, kind)
        for shape in areas((area,), (0, 1), line - 8, 16, across=(x, x + 24)):
            if isinstance(shape, Rect):
                yield Rect(shape.x, shape.y, shape.width, shape.height, shape.role.removesuffix(" item"))
        count = sum(found.kind == kind for found in state.areas)
        yield Text(x + 34, line + 4, f"{kind}: {_how_much(state, kind, count)}", "small")
    line = y + 2 * _ROW
    x = MARGIN + 12
    yield Path(points((x - 4, line - 5), (x + 4, line - 5), (x, line + 4)) + "Z", "tick")
    yield Text(MARGIN + 34, line + 4, "runtime regions: the firmware needs them after the boot", "small")
    yield Text(
        MARGIN + 34 + 312 + 60,
        line + 4,
        "What would be too thin to see is drawn wider, aside of its place if need be.",
        "small muted",
    )


def _how_much(state: MapState, kind: str, count: int) -> str:
    return f"{amount(state.total(kind))} in {count} area{'s' * (count > 1)}" if count else "none"


def _largest(state: MapState, y: float) -> Iterator[Shape]:
    """In two columns, to be read downwards."""
    yield Text(MARGIN, y, "The largest areas", "small strong")
    found = state.largest(LARGEST)
    rows = (len(found) + 1) // 2
    for number, area in enumerate(found):
        x, line = MARGIN + 470 * (number // rows), y + _ROW * (number % rows + 1)
        yield Text(x, line, addresses(area), "small mono")
        yield Text(x + 300, line, amount(area.size), "small end")
        yield Text(x + 312, line, area.kind, "small")
