"""What the browser is sent of a slider: *films*, in which each scene and each of its shapes stands once.

A film holds *strips*: for one kernel, firmware, placement and page size the scenes of every moment at each RAM size.
Most firmwares give most kernels the same scenes, so a film of all firmwares is hardly longer than that of one: each is
run, and what looks alike is drawn once.  The firmware's name is left open in a film, and the browser fills it in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ...linux.state import Kernel
from ...machines import LARGEST_RAM, PAGE_SIZES, SMALLEST_RAM, Machine, MachineError, machine
from ...run import Outcome, run
from ...text import gib
from ...uefi import MemoryMap
from ...uefi.runtime import FirmwareKind
from ...workers import told
from ...x86.memory import GIB
from ..drawing.pack import Packer, packed
from ..drawing.shapes import Plain
from .places import LANES_HEIGHT, PARTS, WIDTH
from .scene import draw, legend_alone
from .state import State, Story, describe

STOPS = tuple(sorted({GIB << k for k in range(17)} | {count * GIB for count in (508, 510, 511, 513, 514, 516, 768)}))
LINE = 512 * GIB

# Where the array can be put, apart from "auto": key, label, address.  Below 512 GiB and above it, and across.
PLACEMENTS: tuple[tuple[str, str, int | None], ...] = (
    ("auto", "by the allocator", None),
    ("below", "last page below 512 GiB", LINE - 4096),
    ("across", "across the 512-GiB line", LINE - 128),
    ("above", "first page above 512 GiB", LINE),
    ("low", "low, at 1 GiB", GIB),
)
WHOLE = "EFIMM_WHOLE_SLIDERS"  # in the environment: nobody waits for a slider, and no Python will be there later
FIRMWARE = "{firmware}"  # what stands for the firmware's name in a film


@dataclass(frozen=True)
class Request:
    """What a slider shows: RAM stops (or one map), kernels and firmwares to choose from, and what is chosen.

    `buffer` is a further address to place the array at, the placement "given"; None without one.
    """

    stops: tuple[int, ...]
    kernels: tuple[Kernel | str, ...]
    firmwares: tuple[FirmwareKind | str, ...]
    firmware: FirmwareKind | str = "edk2"
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
        return machine(ram, buffer=buffer, page_size=self.page_size, map=self.map, firmware=self.firmware)

    def key(self, kernel: Kernel | str) -> str:
        """The name of a strip."""
        return "|".join((name_of(kernel), name_of(self.firmware), self.placement, self.page_size))


class Film:
    """Packed scenes in the making, and the strips that say which of them stands where.

    A strip has for each RAM size, in bytes, the number of the decisive moment, the number of the scene of each moment
    (None where that is not in this film or never was) and their keys; or a sentence where there is nothing to show.
    """

    def __init__(self) -> None:
        self._packer = Packer()
        self._scenes: list[Plain] = []
        self._places: dict[tuple[State, str], int] = {}
        self._strips: dict[str, dict[str, Plain | str]] = {}

    def add(self, request: Request, ram: int, kernel: Kernel | str, *, every_moment: bool) -> None:
        """Run, and add the scenes; MachineError when there is no such machine wherever the array lies.

        Where the array cannot lie at the chosen place, the allocator's choice is shown, with a note that says why.
        """
        outcome, note = outcome_at(request, ram, kernel)
        story = Story(outcome)
        beads = tuple(replace(bead, index=None if bead.index is None else 0, access=None) for bead in story.moments)
        shown = [
            # Where in the trace a bead stands is not seen, and would keep equal pictures apart.
            self._place(replace(story.at(moment), firmware=FIRMWARE, moments=beads), note)
            if moment.index is not None and (every_moment or number == story.decisive)
            else None
            for number, moment in enumerate(story.moments)
        ]
        keys = [moment.key for moment in story.moments]
        self._strips.setdefault(request.key(kernel), {})[str(ram)] = [story.decisive, shown, keys]

    def try_to_add(self, request: Request, ram: int, kernel: Kernel | str) -> None:
        """Every moment; where a reader's own kernel or firmware breaks, the sentence that says so."""
        try:
            self.add(request, ram, kernel, every_moment=True)
        except Exception as error:  # a reader's record may do anything, and the other strips still count
            self._strips.setdefault(request.key(kernel), {})[str(ram)] = f"Nothing to show: {told(error)}"

    def _place(self, state: State, note: str) -> int:
        if (state, note) not in self._places:
            self._places[state, note] = len(self._scenes)
            more = (state.headline, state.good, note)
            self._scenes.append(self._packer.pack(draw(state), describe(state), *more))
        return self._places[state, note]

    def packed(self) -> bytes:
        """The film as the browser gets it."""
        legend = self._packer.pack(legend_alone(), "")
        parts = {"parts": PARTS, "lanes": LANES_HEIGHT}
        made = {"scenes": self._scenes, "strips": self._strips, "legend": legend, "parts": parts}
        return packed({**self._packer.pools(WIDTH), **made})


class Reel:
    """A film of every firmware with every moment, for one kernel, made step by step by whoever has time."""

    def __init__(self, request: Request, kernel: Kernel | str) -> None:
        self._film = Film()
        self._steps = self._made(request, kernel)
        self._packed: bytes | None = None

    def step(self) -> bool:
        """Make a little more of it; False when nothing is left to do."""
        return next(self._steps, None) is not None

    def packed(self) -> bytes:
        """The whole film, made to its end."""
        while self.step():
            pass
        if self._packed is None:
            self._packed, self._film = self._film.packed(), Film()
        return self._packed

    def _made(self, request: Request, kernel: Kernel | str) -> Iterator[int]:
        for firmware in request.firmwares:
            for ram in request.stops:
                self._film.try_to_add(replace(request, firmware=firmware), ram, kernel)
                yield ram


@lru_cache(maxsize=32)
def reel(request: Request, kernel: Kernel | str) -> Reel:
    """The reel of a kernel; sliders that show the same have it in common."""
    return Reel(request, kernel)


@lru_cache(maxsize=64)
def first_film(request: Request) -> bytes:
    """What a slider is first sent: every kernel with the chosen firmware at every stop, the decisive moment alone."""
    film = Film()
    for kernel in request.kernels:
        for ram in request.stops:
            film.add(request, ram, kernel, every_moment=False)
    return film.packed()


def one_stop(request: Request, ram: int, kernels: Iterable[Kernel | str]) -> bytes:
    """A film of a single stop, with every moment."""
    film = Film()
    for kernel in kernels:
        film.try_to_add(request, ram, kernel)
    return film.packed()


def choices(request: Request) -> dict[str, Any]:
    """What can be chosen: stops, kernels, firmwares, and placements with why one is not possible and its address."""
    return {
        "stops": [[ram, gib(ram)] for ram in request.stops],
        "kernels": [name_of(kernel) for kernel in request.kernels],
        "firmwares": [name_of(firmware) for firmware in request.firmwares],
        "placements": _possible(request),
        "page_sizes": list(reversed(PAGE_SIZES)),
        "map": request.map.name if request.map else "",
        "limits": [SMALLEST_RAM, LARGEST_RAM],
    }


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


def name_of(record: Kernel | FirmwareKind | str) -> str:
    """The name of a kernel or a firmware, or of the record."""
    return record if isinstance(record, str) else record.name


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
