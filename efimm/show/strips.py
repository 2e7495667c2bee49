"""Scenes for the stops of the RAM slider, computed in Python and packed: what the browser needs to answer by itself.

A *strip* has the scenes of one kernel, placement and page size.  Most shapes and lines of text stand in many of them:
each is sent once, in a pool, and a scene is a list of places in the pools, [height, title, description, shapes, twin,
verdict, good, note].  A strip travels as compressed JSON, a tenth of the size.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..linux.state import Kernel
from ..machines import PAGE_SIZES, Machine, MachineError, machine, parse_size
from ..run import Outcome, run
from ..text import gib
from ..uefi import MemoryMap
from .places import WIDTH
from .scene import draw
from .shapes import PATTERNS, Plain
from .state import State, state_of
from .twin import describe

GIB = 1 << 30
STOPS = tuple(sorted({GIB << k for k in range(17)} | {gib * GIB for gib in (508, 510, 511, 513, 514, 516, 768)}))
LINE = 512 * GIB

# Where the array can be put, apart from "auto": key, label, address.  Below 512 GiB and above it, and across.
PLACEMENTS: tuple[tuple[str, str, int | None], ...] = (
    ("auto", "where the allocator puts it", None),
    ("below", "last page below 512 GiB", LINE - 4096),
    ("across", "across the 512-GiB line", LINE - 128),
    ("above", "first page above 512 GiB", LINE),
    ("low", "low, at 1 GiB", GIB),
)


@dataclass(frozen=True)
class Request:
    """What a slider shows: RAM stops (or one map), kernels, and the two choices that Python answers.

    `buffer` is a further address to place the array at, the placement "given"; None without one.
    """

    stops: tuple[int, ...]
    kernels: tuple[Kernel | str, ...]
    placement: str = "auto"
    page_size: str = "1G"
    map: MemoryMap | None = None
    buffer: int | None = None

    @property
    def placements(self) -> tuple[tuple[str, str, int | None], ...]:
        """All placements that can be chosen."""
        given = (("given", f"at {self.buffer:#x}", self.buffer),) if self.buffer is not None else ()
        return (*PLACEMENTS, *given)

    def machine(self, ram: int, *, placed: bool = True) -> Machine:
        """The machine at a stop; not `placed`: with the array left to the allocator."""
        buffer = next(address for name, _, address in self.placements if name == self.placement) if placed else None
        return machine(ram, buffer=buffer, page_size=self.page_size, map=self.map)


@dataclass
class Packer:
    """Pools of shapes and lines, and the places of each in them."""

    shapes: dict[str, int] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def pack(self, state: State, note: str = "") -> Plain:
        """A scene as places in the pools."""
        scene = draw(state)
        shapes = [_place(self.shapes, json.dumps(shape.plain(), ensure_ascii=False)) for shape in scene.shapes]
        twin = [_place(self.lines, line) for line in describe(state).splitlines()]
        good = state.verdict == "success"
        return [scene.height, scene.title, scene.description, shapes, twin, state.verdict_words, good, note]

    def pools(self) -> dict[str, Any]:
        """The pools, and what every scene needs, as JSON-ready data."""
        return {
            "width": WIDTH,
            "patterns": {role: list(pattern) for role, pattern in PATTERNS.items()},
            "shapes": [json.loads(shape) for shape in self.shapes],
            "lines": list(self.lines),
        }


def _place(pool: dict[str, int], key: str) -> int:
    return pool.setdefault(key, len(pool))


class Strip:
    """A strip in the making: the scenes of one kernel at their decisive moments, by the number of the stop.

    Where the array cannot lie at the chosen place, the allocator's choice is shown, with a note that says why.
    """

    def __init__(self, request: Request, kernel: Kernel | str) -> None:
        self._request, self._kernel = request, kernel
        self._packer = Packer()
        self._scenes: dict[str, Plain] = {}

    def add(self, ram: int) -> None:
        """Add the scene of a stop; MachineError when there is no such machine wherever the array lies."""
        outcome, note = outcome_at(self._request, ram, self._kernel)
        self._scenes[str(self._request.stops.index(ram))] = self._packer.pack(state_of(outcome), note)

    def data(self) -> dict[str, Any]:
        """The strip as JSON-ready data."""
        key = "|".join((kernel_name(self._kernel), self._request.placement, self._request.page_size))
        return {"key": key, **self._packer.pools(), "scenes": self._scenes}


@lru_cache(maxsize=64)
def whole_strip(request: Request, kernel: Kernel | str) -> bytes:
    """A strip of all stops, packed."""
    strip = Strip(request, kernel)
    for ram in request.stops:
        strip.add(ram)
    return packed(strip.data())


def packed(data: dict[str, Any]) -> bytes:
    """`data` as compressed JSON (RFC 1950), which a browser unpacks by itself."""
    return zlib.compress(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())


def unpacked(data: bytes) -> dict[str, Any]:
    """What was packed."""
    found: dict[str, Any] = json.loads(zlib.decompress(data))
    return found


def choices(request: Request) -> dict[str, Any]:
    """What can be chosen: stops, kernels, and placements with why one is not possible and with its address."""
    return {
        "stops": [[ram, gib(ram)] for ram in request.stops],
        "kernels": [kernel_name(kernel) for kernel in request.kernels],
        "placements": _possible(request),
        "page_sizes": list(reversed(PAGE_SIZES)),
        "map": request.map.name if request.map else "",
    }


def replay(request: Request, ram: int, kernel: Kernel | str, moment: int) -> dict[str, Any]:
    """One scene: the moment number `moment` of one stop, in the form of `strip`, under "scene"."""
    packer = Packer()
    outcome, note = outcome_at(request, ram, kernel)
    bead = state_of(outcome).moments[moment]
    scene = packer.pack(state_of(outcome, bead), note)
    return {**packer.pools(), "scene": scene}


@lru_cache(maxsize=4)
def outcome_at(request: Request, ram: int, kernel: Kernel | str) -> tuple[Outcome, str]:
    """The run at a stop, and a note: "", or why the array could not be placed as asked."""
    try:
        return run(request.machine(ram), kernel), ""
    except MachineError as error:
        if request.placement == "auto":
            raise
        note = f"Not placed as chosen: {error}. Shown: where the allocator puts it."
        return run(request.machine(ram, placed=False), kernel), note


def kernel_name(kernel: Kernel | str) -> str:
    """The name of a kernel, or of the record."""
    return kernel if isinstance(kernel, str) else kernel.name


def as_stops(ram: str | int) -> tuple[tuple[int, ...], int]:
    """The stops of a slider that begins at `ram`, which becomes one of them; and `ram` in bytes."""
    size = parse_size(ram) if isinstance(ram, str) else ram
    machine(size)
    return tuple(sorted({*STOPS, size})), size


def _possible(request: Request) -> list[Plain]:
    """For each placement its key, its label, and for each stop why it is not possible, "" where it is."""
    maps = [request.machine(ram, placed=False).map for ram in request.stops]
    return [
        [name, label, [_why_not(found, address) for found in maps], address]
        for name, label, address in request.placements
    ]


def _why_not(found: MemoryMap, address: int | None) -> str:
    if address is None or any(start <= address < end for start, end in found.ram):
        return ""
    if address >= found.highest_ram:
        return f"RAM ends at {gib(found.highest_ram)}"
    return "no RAM there"
