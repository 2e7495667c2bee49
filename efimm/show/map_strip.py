"""A strip of physical addresses: areas to scale, those too thin to see drawn wider, and marks for runtime regions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .map_state import ACPI, CODE, DATA, MMIO, RAM, RESERVED, Area
from .shapes import Path, Rect, Shape, points

BAR, BAR_END = 170, 944
_SMALLEST, _FAR = 4.0, 20.0
_TICK_EVERY = 9.0
_ROLES = {RAM: "ram", RESERVED: "reserved", ACPI: "acpi", MMIO: "mmio", CODE: "code", DATA: "data"}
_HATCHED = {RESERVED: "reserved", ACPI: "acpi", MMIO: "mmio", DATA: "runtime"}

Window = tuple[int, int]
Across = tuple[float, float]


def place(address: int, window: Window, across: Across = (BAR, BAR_END)) -> float:
    """The x of an address in a strip that shows the addresses of `window`."""
    low, high = window
    return across[0] + (across[1] - across[0]) * (address - low) / (high - low)


def box(y: float, height: float, tip: str = "") -> Iterator[Shape]:
    """The strip itself; an empty one can be pointed at."""
    yield Rect(BAR, y, BAR_END - BAR, height, "area none" + (" item" if tip else ""), tip)


def areas(
    found: Sequence[Area],
    window: Window,
    y: float,
    height: float,
    *,
    base: int | None = None,
    across: Across = (BAR, BAR_END),
) -> Iterator[Shape]:
    """The areas within `window`, large ones first; `base` is where the strip begins when it shows less than it could.

    Small neighbours of one kind become one mark; marks that would cover each other move to the right.
    """
    scale = (window[0] if base is None else base, window[1])
    inside = [Area(max(a.start, window[0]), min(a.end, window[1]), a.kind) for a in found if _touches(a, window)]
    small: list[list[Area]] = []
    for area in inside:
        x, end = (place(address, scale, across) for address in (area.start, area.end))
        if end - x >= _SMALLEST:
            yield from _area(x, end - x, y, height, [area])
        elif small and small[-1][0].kind == area.kind and x - place(small[-1][0].start, scale, across) < _SMALLEST:
            small[-1].append(area)
        else:
            small.append([area])
    free = place(window[0], scale, across)
    marks = [(place(group[0].start, scale, across), group) for group in small]
    for x, group in _spread(marks, free, across[1]):
        yield from _area(x, min(_SMALLEST, across[1] - free), y, height, group)


def ticks(regions: Sequence[Window], window: Window, y: float, *, base: int | None = None) -> Iterator[Shape]:
    """A mark at the strip's upper edge for each group of runtime regions too close to be told apart."""
    scale = (window[0] if base is None else base, window[1])
    groups: list[list[Window]] = []
    for region in (r for r in regions if r[0] < window[1] and r[1] > window[0]):
        if groups and place(region[0], scale) - place(groups[-1][0][0], scale) < _TICK_EVERY:
            groups[-1].append(region)
        else:
            groups.append([region])
    for group in groups:
        x = min(max(place(max(group[0][0], window[0]), scale), BAR + 4), BAR_END - 4)
        many = f"{len(group)} runtime regions, from" if len(group) > 1 else "runtime region"
        tip = f"{many} {group[0][0]:#x} to {group[-1][1]:#x}"
        yield Path(points((x - 4, y - 5), (x + 4, y - 5), (x, y + 4)) + "Z", "tick item", tip)


def _touches(area: Area, window: Window) -> bool:
    return area.start < window[1] and area.end > window[0]


def _spread(marks: list[tuple[float, list[Area]]], free: float, end: float) -> Iterator[tuple[float, list[Area]]]:
    """The marks side by side where there is room; none moves far: a crowd overlaps."""
    first = free
    for left, (x, group) in zip(range(len(marks), 0, -1), marks, strict=True):
        wanted = max(min(x, end - left * _SMALLEST), free)
        at = min(max(wanted, x - _FAR), x + _FAR)
        yield max(min(at, end - _SMALLEST), first), group
        free = at + _SMALLEST


def _area(x: float, width: float, y: float, height: float, group: list[Area]) -> Iterator[Shape]:
    first, last = group[0], group[-1]
    size = sum(area.size for area in group)
    count = f"{len(group)} areas of " if len(group) > 1 else ""
    tip = f"{count}{first.kind}, {first.start:#x} to {last.end:#x}, {size / (1 << 20):.6g} MiB"
    yield Rect(x, y, width, height, f"area {_ROLES[first.kind]} item", tip)
    if first.kind in _HATCHED:
        yield Rect(x, y, width, height, f"hatch {_HATCHED[first.kind]}")
