"""The main picture with its controls, the RAM slider first, and each view as a line for a mail.

It answers in the browser, from *strips* that Python computed: packed scenes (drawing/pack.py) of one kernel, placement
and page size, each with its verdict, whether that is good, and a note.  Placement and page size ask Python, which sends
the scene that is wanted at once and the others of its strip when there is time; so does a rewind to another moment.
"""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import traitlets

from ...linux.state import Kernel
from ...machines import PAGE_SIZES, Machine, MachineError, load_map, machine, parse_address, parse_size, short_size
from ...maps.errors import shortened
from ...run import Outcome, find_kernel, run
from ...text import gib
from ...uefi import MemoryMap
from ...x86.memory import GIB
from ..drawing.frames import Widget, one_of, script
from ..drawing.kit import WIDTH
from ..drawing.pack import Packer, packed
from ..drawing.shapes import Plain
from .moments import moments
from .scene import draw
from .state import State, describe, state_of, twin

STOPS = tuple(sorted({GIB << k for k in range(17)} | {count * GIB for count in (508, 510, 511, 513, 514, 516, 768)}))
LINE = 512 * GIB

# Where the array can be put, apart from "auto": key, label, address.  Below 512 GiB and above it, and across.
PLACEMENTS: tuple[tuple[str, str, int | None], ...] = (
    ("auto", "where the allocator puts it", None),
    ("below", "last page below 512 GiB", LINE - 4096),
    ("across", "across the 512-GiB line", LINE - 128),
    ("above", "first page above 512 GiB", LINE),
    ("low", "low, at 1 GiB", GIB),
)

_START = "256G"
_KERNELS: tuple[Kernel | str, ...] = ("3.5", "va-patch", "hpa-sync")
_PAUSE = 0.01  # seconds in which the kernel can answer between two scenes that nobody is waiting for
_OPTIONS = ("--kernel", "--ram", "--map", "--buffer", "--page-size")


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
        self._scenes[str(self._request.stops.index(ram))] = _pack(self._packer, state_of(outcome), note)

    def data(self) -> dict[str, Any]:
        """The strip as JSON-ready data."""
        key = "|".join((kernel_name(self._kernel), self._request.placement, self._request.page_size))
        return {"key": key, **self._packer.pools(WIDTH), "scenes": self._scenes}


def _pack(packer: Packer, state: State, note: str) -> Plain:
    return packer.pack(draw(state), describe(state), state.verdict_words, state.verdict == "success", note)


@lru_cache(maxsize=64)
def whole_strip(request: Request, kernel: Kernel | str) -> bytes:
    """A strip of all stops, packed."""
    strip = Strip(request, kernel)
    for ram in request.stops:
        strip.add(ram)
    return packed(strip.data())


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
    scene = _pack(packer, state_of(outcome, bead), note)
    return {**packer.pools(WIDTH), "scene": scene}


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


@dataclass(frozen=True, slots=True)
class View:
    """What a line says: sizes and addresses in bytes, `ram` or `map` None where it does not say."""

    kernel: str = "3.5"
    ram: int | None = None
    map: str | None = None
    buffer: int | None = None
    page_size: str = "1G"

    @property
    def line(self) -> str:
        """The view as a command."""
        words = ["efimm", "run", "--kernel", self.kernel]
        words += ["--ram", short_size(self.ram)] if self.ram is not None else []
        words += ["--map", self.map] if self.map is not None else []
        words += ["--buffer", f"{self.buffer:#x}"] if self.buffer is not None else []
        words += ["--page-size", self.page_size] if self.page_size != "1G" else []
        return shlex.join(words)


def view_of(line: str) -> View:
    """The view that `line` stands for; MachineError for a line that is no such command."""
    try:
        words = shlex.split(line.strip().removeprefix("$ "))
    except ValueError as error:
        raise MachineError(f"{shortened(line)}: {error}") from error
    options, values = words[2::2], words[3::2]
    if words[:2] != ["efimm", "run"] or len(options) != len(values) or not set(options) <= set(_OPTIONS):
        raise MachineError(f"{shortened(line)}: expected efimm run with {', '.join(_OPTIONS)}")
    said = dict(zip(options, values, strict=True))
    return View(
        kernel=said.get("--kernel", "3.5"),
        ram=parse_size(said["--ram"]) if "--ram" in said else None,
        map=said.get("--map"),
        buffer=parse_address(said["--buffer"]) if "--buffer" in said else None,
        page_size=said.get("--page-size", "1G"),
    )


class RamSlider(Widget):
    """The main picture with a slider over RAM sizes; made by `ram_slider`.

    Set: `ram` (bytes; the nearest stop is taken), `kernel`, `placement` ("auto", "below", "across", "above", "low"),
    `page_size` ("4K", "2M", "1G"), `moment` (the number of the bead to rewind to, -1 for the decisive one), and `line`
    (a command that was copied from another view).
    Read: `outcome`, the run that is shown; `line`, the view as a command; `choices`, what there is to set.
    Observe: each of the five that can be set but `line`.

    `print(slider)` gives the picture as text.  `strips`, `answer` and `replay` are what the browser gets; `wanted`
    counts its questions for a scene that it does not have; with a map the slider is `fixed`.
    """

    _esm = script("slider")

    kind = traitlets.Unicode("ram").tag(sync=True)
    choices = traitlets.Dict().tag(sync=True)
    strips = traitlets.List(traitlets.Bytes()).tag(sync=True)
    answer = traitlets.Bytes().tag(sync=True)
    replay = traitlets.Dict().tag(sync=True)
    fixed = traitlets.Bool(False).tag(sync=True)
    ram = traitlets.Int().tag(sync=True)
    kernel = traitlets.Unicode().tag(sync=True)
    placement = traitlets.Unicode("auto").tag(sync=True)
    page_size = traitlets.Unicode("1G").tag(sync=True)
    moment = traitlets.Int(-1).tag(sync=True)
    wanted = traitlets.Int(0).tag(sync=True)

    def __init__(self, request: Request, ram: int, kernel: str, **traits: Any) -> None:
        self._asked = request
        self._records = {kernel_name(record): record for record in request.kernels}
        self._filling: asyncio.Task[None] | None = None
        super().__init__(
            choices=choices(request),
            strips=[whole_strip(request, record) for record in request.kernels],
            ram=ram,
            kernel=kernel,
            placement=request.placement,
            page_size=request.page_size,
            fixed=request.map is not None,
            **traits,
        )

    @property
    def outcome(self) -> Outcome:
        """The run that is shown."""
        return outcome_at(self._request, self.ram, self._records[self.kernel])[0]

    @property
    def line(self) -> str:
        """The view as a command for a mail; the moment is not in it.  Setting it restores the view."""
        buffer = next(address for name, _, address in self._asked.placements if name == self.placement)
        ram, where = (None, self._asked.map.name) if self._asked.map else (self.ram, None)
        return View(self.kernel, ram, where, buffer, self.page_size).line

    @line.setter
    def line(self, line: str) -> None:
        view = view_of(line)
        places = {address: name for name, _, address in self._asked.placements}
        where = self._asked.map.name if self._asked.map else None
        if view.map != where or (view.ram is not None and view.ram not in self._asked.stops):
            raise MachineError(f"{line!r}: another machine than the slider's; expected one like {self.line!r}")
        if view.buffer not in places:
            raise MachineError(f"{line!r}: expected one of the slider's placements, or ram_slider(buffer=...)")
        self.kernel, self.page_size, self.placement = view.kernel, view.page_size, places[view.buffer]
        self.ram = self.ram if view.ram is None else view.ram

    def __repr__(self) -> str:
        outcome = self.outcome
        return twin(outcome, moments(outcome)[self.moment] if self.moment >= 0 else None)

    @traitlets.validate("ram")
    def _a_stop(self, proposal: Any) -> Any:
        """The nearest stop there is."""
        return min(self._asked.stops, key=lambda stop: abs(stop - proposal["value"]))

    @traitlets.validate("kernel")
    def _a_kernel(self, proposal: Any) -> Any:
        return one_of("kernel", proposal["value"], self._records, MachineError)

    @traitlets.validate("placement")
    def _a_placement(self, proposal: Any) -> Any:
        return one_of("placement", proposal["value"], [name for name, _, _ in self._asked.placements], MachineError)

    @traitlets.validate("page_size")
    def _a_page_size(self, proposal: Any) -> Any:
        return one_of("page size", proposal["value"], PAGE_SIZES, MachineError)

    @traitlets.observe("placement", "page_size")
    def _rewound(self, _change: Any) -> None:
        self.moment = -1

    @property
    def _request(self) -> Request:
        return replace(self._asked, placement=self.placement, page_size=self.page_size)

    @traitlets.observe("wanted")
    def _answer(self, _change: Any) -> None:
        """The scene that is wanted now; the others of its strip follow, where there is an event loop to do it in."""
        record = self._records[self.kernel]
        one = Strip(self._request, record)
        one.add(self.ram)
        self.answer = packed(one.data())
        if self._filling is not None:
            self._filling.cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._filling = loop.create_task(self._fill(self._request, record))

    async def _fill(self, request: Request, record: Kernel | str) -> None:
        strip = Strip(request, record)
        for ram in request.stops:
            await asyncio.sleep(_PAUSE)
            strip.add(ram)
        self.answer = packed(strip.data())

    @traitlets.observe("moment", "ram", "kernel")
    def _rewind(self, _change: Any) -> None:
        if self.moment < 0:
            return
        asked = {"ram": self.ram, "kernel": self.kernel, "moment": self.moment}
        self.replay = {**replay(self._request, self.ram, self._records[self.kernel], self.moment), **asked}


def ram_slider(
    ram: str | int | None = None,
    kernel: str | Kernel = "3.5",
    kernels: tuple[Kernel | str, ...] = _KERNELS,
    buffer: int | str | None = None,
    page_size: str = "1G",
    map: MemoryMap | str | None = None,  # noqa: A002 - as in efimm.machine
) -> RamSlider:
    """The main picture with a RAM slider and choices of kernel, placement and page size.

    `ram` is where the slider begins; `buffer` an address for the array to begin with; `kernels` may hold records of a
    reader's own.  With a `map` (a MemoryMap, a file, a name in data/) there is one machine and no RAM slider.
    Raises MachineError for a machine that cannot be.
    """
    records = kernels if kernel_name(kernel) in [kernel_name(known) for known in kernels] else (*kernels, kernel)
    for record in records:
        find_kernel(record)
    one_of("page size", page_size, PAGE_SIZES, MachineError)
    memory_map = None if map is None else load_map(map)
    stops, start = as_stops(_START if ram is None else ram)
    if memory_map is not None:
        stops, start = (memory_map.ram_bytes,), memory_map.ram_bytes
    address = parse_address(buffer) if isinstance(buffer, str) else buffer
    placement = "auto" if address is None else "given"
    request = Request(stops, records, placement, page_size, memory_map, address)
    return RamSlider(request, start, kernel_name(kernel))
