"""The RAM slider with its picture.

It answers in the browser, from strips of scenes that Python computed.  Placement and page size ask Python, which sends
the scene that is wanted at once and the others of its strip when there is time; so does a rewind to another moment.
Without a browser the same traits can be set from Python: `slider.moment = 2`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import anywidget
import traitlets

from ..linux.state import Kernel
from ..machines import PAGE_SIZES, MachineError, load_map, parse_address
from ..run import Outcome, find_kernel
from ..uefi import MemoryMap
from .mimebundle import with_text
from .moments import moments
from .strips import Request, Strip, as_stops, choices, kernel_name, outcome_at, packed, replay, whole_strip
from .svg import STATIC, script
from .twin import twin
from .viewline import View, view_of

_START = "256G"
_KERNELS: tuple[Kernel | str, ...] = ("3.5", "va-patch", "hpa-sync")
_PAUSE = 0.01  # seconds in which the kernel can answer between two scenes that nobody is waiting for


class RamSlider(anywidget.AnyWidget):
    """The picture with its controls; made by `ram_slider`.

    `ram` is in bytes; `moment` is the number of the bead to rewind to, -1 for the decisive one.  `outcome` is the run
    that is shown.  `strips`, `answer` and `replay` are what the browser gets; `wanted` counts its questions for a scene
    that it does not have.
    """

    _esm = script("slider")
    _css = STATIC / "picture.css"

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

    def _repr_mimebundle_(self, **arguments: Any) -> Any:
        return with_text(super()._repr_mimebundle_(**arguments), repr(self))

    @traitlets.validate("ram")
    def _a_stop(self, proposal: Any) -> Any:
        """The nearest stop there is."""
        return min(self._asked.stops, key=lambda stop: abs(stop - proposal["value"]))

    @traitlets.validate("kernel")
    def _a_kernel(self, proposal: Any) -> Any:
        return _one_of("kernel", proposal["value"], self._records)

    @traitlets.validate("placement")
    def _a_placement(self, proposal: Any) -> Any:
        return _one_of("placement", proposal["value"], [name for name, _, _ in self._asked.placements])

    @traitlets.validate("page_size")
    def _a_page_size(self, proposal: Any) -> Any:
        return _one_of("page size", proposal["value"], PAGE_SIZES)

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
    _one_of("page size", page_size, PAGE_SIZES)
    memory_map = None if map is None else load_map(map)
    stops, start = as_stops(_START if ram is None else ram)
    if memory_map is not None:
        stops, start = (memory_map.ram_bytes,), memory_map.ram_bytes
    address = parse_address(buffer) if isinstance(buffer, str) else buffer
    placement = "auto" if address is None else "given"
    request = Request(stops, records, placement, page_size, memory_map, address)
    return RamSlider(request, start, kernel_name(kernel))


def _one_of(what: str, value: Any, allowed: Any) -> Any:
    if value not in allowed:
        raise MachineError(f"{what} {value!r}: expected one of {', '.join(map(str, allowed))}")
    return value
