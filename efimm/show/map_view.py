"""A machine's memory map as a picture: what lies where, and what of it the firmware still needs.

The first 4 GiB drawn large, a strip for each 512 GiB, and the largest areas.  The map is cut into areas of one kind
each: what the EFI list says, and e820 where it is silent; where a list names one address twice, the kind that matters
most for the firmware wins.  Strips are to scale, but what would be too thin to see is drawn wider.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from ..linux.layout import PGDIR_SHIFT, PGDIR_SIZE
from ..machines import load_map
from ..text import map_title, slot_numbers, wrapped
from ..uefi.memmap import E820Type, EfiMemoryType, MemoryMap
from ..x86.memory import GIB
from .drawing.frames import Frame, Frames
from .drawing.kit import MARGIN, boxed, filled, fitted, heads, joined, legend, tick, ticks
from .drawing.shapes import Path, Rect, Scene, Shape, Text, points

# From what matters most to what matters least.
CODE, DATA, MMIO, ACPI, RESERVED, RAM = "runtime code", "runtime data", "MMIO", "ACPI", "reserved", "RAM"
KINDS = (CODE, DATA, MMIO, ACPI, RESERVED, RAM)
NOTHING = "nothing"

_EFI = {
    EfiMemoryType.EfiRuntimeServicesCode: CODE,
    EfiMemoryType.EfiRuntimeServicesData: DATA,
    EfiMemoryType.EfiMemoryMappedIO: MMIO,
    EfiMemoryType.EfiMemoryMappedIOPortSpace: MMIO,
    EfiMemoryType.EfiACPIReclaimMemory: ACPI,
    EfiMemoryType.EfiACPIMemoryNVS: ACPI,
    EfiMemoryType.EfiLoaderCode: RAM,
    EfiMemoryType.EfiLoaderData: RAM,
    EfiMemoryType.EfiBootServicesCode: RAM,
    EfiMemoryType.EfiBootServicesData: RAM,
    EfiMemoryType.EfiConventionalMemory: RAM,
}
_E820 = {E820Type.RAM: RAM, E820Type.ACPI: ACPI, E820Type.NVS: ACPI}

Piece = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Area:
    """Addresses [start, end) of one kind."""

    start: int
    end: int
    kind: str

    @property
    def size(self) -> int:
        """How many bytes."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of 512 GiB, `first` to `last`: alike, all of one kind, when there are several."""

    first: int
    last: int
    areas: tuple[Area, ...]
    runtime: tuple[tuple[int, int], ...]

    @property
    def whole(self) -> str:
        """The kind that fills it, "nothing" for a hole; "" where there are several."""
        if not self.areas:
            return NOTHING
        only = len(self.areas) == 1 and self.areas[0].size % PGDIR_SIZE == 0
        return self.areas[0].kind if only else ""


@dataclass(frozen=True, slots=True)
class MapState:
    """What the picture of a map is made of; areas ascend and do not touch others of their kind."""

    map: MemoryMap
    areas: tuple[Area, ...]
    runtime: tuple[tuple[int, int], ...]
    blocks: tuple[Blocks, ...]

    def total(self, kind: str) -> int:
        """The bytes of all areas of a kind."""
        return sum(area.size for area in self.areas if area.kind == kind)

    def largest(self, count: int) -> list[Area]:
        """The `count` largest areas, the largest first."""
        return sorted(self.areas, key=lambda area: (-area.size, area.start))[:count]


def state_of(memory_map: MemoryMap) -> MapState:
    """The map's areas, and its blocks with equal neighbours folded."""
    areas = tuple(areas_of(memory_map))
    runtime = tuple(sorted((d.physical_start, d.end) for d in memory_map.descriptors if d.runtime and d.size))
    return MapState(memory_map, areas, runtime, tuple(_blocks(areas, runtime)))


def areas_of(memory_map: MemoryMap) -> Iterator[Area]:
    """The areas, ascending; addresses that no list mentions are in none."""
    efi = [(d.physical_start, d.end, KINDS.index(_efi_kind(d.type))) for d in memory_map.descriptors]
    e820 = [(e.start, e.end, len(KINDS) + KINDS.index(_e820_kind(e.type))) for e in memory_map.kernel_e820]
    for kind, group in groupby(_swept([*efi, *e820]), lambda piece: piece[2]):
        run = [*group]
        start = run[0][0]
        for (_, end, _), (following, _, _) in pairwise([*run, (-1, -1, "")]):
            if following != end:
                yield Area(start, end, kind)
                start = following


def _swept(ranked: list[tuple[int, int, int]]) -> Iterator[Piece]:
    """The pieces between all starts and ends that something covers; the lowest rank there gives the kind."""
    steps: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for start, end, rank in ranked:
        if start < end:
            steps[start].append((rank, 1))
            steps[end].append((rank, -1))
    active: Counter[int] = Counter()
    for low, high in pairwise(sorted(steps)):
        for rank, change in steps[low]:
            active[rank] += change
        covering = [rank for rank, count in active.items() if count]
        if covering:
            yield low, high, KINDS[min(covering) % len(KINDS)]


def _efi_kind(kind: int) -> str:
    """Types that the specification does not name are reserved here, as those that it reserves."""
    return _EFI.get(EfiMemoryType(kind), RESERVED) if kind in set(EfiMemoryType) else RESERVED


def _e820_kind(kind: int) -> str:
    return _E820.get(E820Type(kind), RESERVED) if kind in set(E820Type) else RESERVED


def _blocks(areas: tuple[Area, ...], runtime: tuple[tuple[int, int], ...]) -> Iterator[Blocks]:
    """The blocks from 0 up to the last address, neighbours that one kind fills as one."""
    busy = sorted({block for area in areas for block in _ends(area)} | {0})
    single = [_block(number, areas, runtime) for number in busy]
    filled: list[Blocks] = []
    for block in single:
        after = filled[-1].last + 1 if filled else 0
        if after < block.first:
            filled.append(replace(_block(after, areas, runtime), last=block.first - 1))
        filled.append(block)
    for (whole, _), group in groupby(filled, lambda block: (block.whole, block.whole and bool(block.runtime))):
        run = [*group]
        if whole and len(run) > 1:
            yield replace(run[0], last=run[-1].last)
        else:
            yield from run


def _ends(area: Area) -> set[int]:
    """The blocks in which an area begins and ends: between them it fills everything."""
    return {area.start >> PGDIR_SHIFT, area.end - 1 >> PGDIR_SHIFT}


def _block(number: int, areas: tuple[Area, ...], runtime: tuple[tuple[int, int], ...]) -> Blocks:
    low, high = number << PGDIR_SHIFT, number + 1 << PGDIR_SHIFT
    inside = tuple(Area(max(a.start, low), min(a.end, high), a.kind) for a in areas if a.start < high and a.end > low)
    ticks = tuple((start, end) for start, end in runtime if start < high and end > low)
    return Blocks(number, number, inside, ticks)


BAR, BAR_END = 170, 944
_SMALLEST, _FAR = 4.0, 20.0
_TICK_EVERY = 9.0
_ROLES = {RAM: "ram", RESERVED: "reserved", ACPI: "acpi", MMIO: "mmio", CODE: "code", DATA: "data"}
_HATCHED = {RESERVED: "reserved", ACPI: "acpi", MMIO: "mmio", DATA: "runtime"}

Window = tuple[int, int]


def place(address: int, window: Window) -> float:
    """The x of an address in a strip that shows the addresses of `window`."""
    low, high = window
    return BAR + (BAR_END - BAR) * (address - low) / (high - low)


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
) -> Iterator[Shape]:
    """The areas within `window`, large ones first; `base` is where the strip begins when it shows less than it could.

    Small neighbours of one kind become one mark; marks that would cover each other move to the right.
    """
    scale = (window[0] if base is None else base, window[1])
    inside = [Area(max(a.start, window[0]), min(a.end, window[1]), a.kind) for a in found if _touches(a, window)]
    small: list[list[Area]] = []
    for area in inside:
        x, end = (place(address, scale) for address in (area.start, area.end))
        if end - x >= _SMALLEST:
            yield from _area(x, end - x, y, height, [area])
        elif small and small[-1][0].kind == area.kind and x - place(small[-1][0].start, scale) < _SMALLEST:
            small[-1].append(area)
        else:
            small.append([area])
    free = place(window[0], scale)
    marks = [(place(group[0].start, scale), group) for group in small]
    for x, group in _spread(marks, free, BAR_END):
        yield from _area(x, min(_SMALLEST, BAR_END - free), y, height, group)


def _ticks(regions: Sequence[Window], window: Window, y: float, *, base: int | None = None) -> Iterator[Shape]:
    """The marks of the runtime regions within `window` at the strip's upper edge."""
    scale = (window[0] if base is None else base, window[1])
    inside = [(max(start, window[0]), end) for start, end in regions if start < window[1] and end > window[0]]
    yield from ticks(inside, y, lambda address: place(address, scale), (BAR, BAR_END), "tick item")


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
    yield from filled(Rect(x, y, width, height, f"area {_ROLES[first.kind]} item", tip), _HATCHED.get(first.kind, ""))


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
    largest = end + 40 + 3 * _ROW + 22
    height = largest + (min(LARGEST, len(state.areas)) + 1) // 2 * _ROW + 12
    head = heads(fitted(map_title(state.map), _TITLE_LETTERS), words(state))
    parts = (head, _zoom(state), _strips(state), _axis(end), _legend(state, end + 40), _largest(state, largest))
    return joined(height, f"Memory map of {map_title(state.map)}", description(state), *parts)


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


def _zoom(state: MapState) -> Iterator[Shape]:
    yield Text(MARGIN, _ZOOM + 20, "first 4 GiB", "small strong")
    for count in range(5):
        x = BAR + (BAR_END - BAR) * count / 4
        role = "small muted" + (" end" if count == 4 else " middle" if count else "")
        yield Text(x, _ZOOM - 12, f"{count} GiB" if count else "0", role)
    yield from box(_ZOOM, _STRIP)
    yield from areas(state.areas, (0, FOUR_GIB), _ZOOM, _STRIP)
    yield from _ticks(state.runtime, (0, FOUR_GIB), _ZOOM)
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
    yield from _ticks(row.runtime, window, y, base=low)


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
    kinds = (RAM, RESERVED, ACPI), (MMIO, CODE, DATA)
    for row, line in zip(kinds, (y, y + _ROW), strict=True):
        keys = [
            (boxed(24, 16, f"area {_ROLES[kind]}", _HATCHED.get(kind, "")), f"{kind}: {_how_much(state, kind)}")
            for kind in row
        ]
        yield from legend(keys, MARGIN + 12, line, 22, across=312)
    line = y + 2 * _ROW
    yield from legend([(tick, "runtime regions: the firmware needs them after the boot")], MARGIN + 12, line, 22)
    thin = "What would be too thin to see is drawn wider, aside of its place if need be."
    yield Text(MARGIN + 34 + 312 + 60, line + 4, thin, "small muted")


def _how_much(state: MapState, kind: str, width: int = 0) -> str:
    count = sum(area.kind == kind for area in state.areas)
    return f"{amount(state.total(kind)):>{width}} in {count} area{'s' * (count > 1)}" if count else "none"


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


def describe(state: MapState) -> str:
    """A map as lines: one sentence, the kinds, the blocks of 512 GiB with their areas, and the largest areas."""
    return "\n".join(line for part in _parts(state) for line in part)


def _parts(state: MapState) -> Iterator[list[str]]:
    yield wrapped(map_title(state.map), 0)
    yield wrapped(words(state), 0)
    for kind in KINDS:
        if state.total(kind):
            yield [f"  {kind:<13}{_how_much(state, kind, 10)}"]
    for row in state.blocks:
        filled = {NOTHING: ": nothing", "": ""}.get(row.whole, f": all {row.whole}")
        many = len(row.runtime)
        runtime = f", {many} runtime region{'s' * (many > 1)}" if many else ""
        yield ["", f"{block_name(row)}, from {row.first << PGDIR_SHIFT:#x}{filled}{runtime}"]
        yield [f"  {area_line(area)}" for area in row.areas] if not row.whole else []
    yield ["", "the largest areas"]
    yield [f"  {area_line(area)}" for area in state.largest(LARGEST)]


def map_view(what: MemoryMap | str | os.PathLike[str]) -> Frames:
    """The picture of a MemoryMap, of a machine in data/ by its name, of a log's file, or of a log's text.

    Raises MapError for what cannot be read.
    """
    return Frames([frame(load_map(what))])


def frame(memory_map: MemoryMap) -> Frame:
    """The map as picture and as text."""
    state = state_of(memory_map)
    return Frame(draw(state), describe(state), words(state), good=True)
