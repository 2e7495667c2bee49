"""The main picture with its controls, the RAM slider first, and each view as a line for a mail.

It answers in the browser, from films that Python computed (strips.py).  What it is shown with comes at once; the
strips of the other firmwares and the beads' scenes follow when there is time; and what the browser does not have, such
as another placement or page size, it asks Python for, which sends that stop first and the others of its strip later.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

import traitlets

from ...kernels import KERNELS
from ...linux.state import Kernel
from ...machines import PAGE_SIZES, MachineError, load_map, machine, parse_address, parse_size, short_size
from ...maps.errors import shortened
from ...run import find_kernel
from ...uefi import MemoryMap
from ...uefi.firmwares import FIRMWARES, find_firmware
from ...uefi.runtime import FirmwareKind
from ...workers import told
from ..drawing.frames import Widget, one_of, script
from .moments import moments
from .scene import picture
from .state import twin
from .strips import STOPS, WHOLE, Film, Request, choices, first_film, name_of, one_stop, outcome_at, reel

_START = "256G"
_KERNELS: tuple[Kernel | str, ...] = ("3.5", "va-patch", "hpa-sync")
_PAUSE = 0.01  # seconds in which the kernel can answer between two runs that nobody is waiting for
_OPTIONS = ("--kernel", "--firmware", "--ram", "--map", "--buffer", "--page-size")


@dataclass(frozen=True, slots=True)
class View:
    """What a line says: sizes and addresses in bytes, `ram` or `map` None where it does not say."""

    kernel: str = "3.5"
    firmware: str = "edk2"
    ram: int | None = None
    map: str | None = None
    buffer: int | None = None
    page_size: str = "1G"

    @property
    def line(self) -> str:
        """The view as a command."""
        words = ["efimm", "run", "--kernel", self.kernel]
        words += ["--firmware", self.firmware] if self.firmware != "edk2" else []
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
        firmware=said.get("--firmware", "edk2"),
        ram=parse_size(said["--ram"]) if "--ram" in said else None,
        map=said.get("--map"),
        buffer=parse_address(said["--buffer"]) if "--buffer" in said else None,
        page_size=said.get("--page-size", "1G"),
    )


class _Size(traitlets.Int[int, int | str]):
    """Bytes, or a text such as "600G"."""

    def validate(self, obj: Any, value: Any) -> int:
        """The number of bytes."""
        return int(super().validate(obj, parse_size(value) if isinstance(value, str) else value))


class _Name(traitlets.Unicode[str, str | Kernel | FirmwareKind]):
    """A name; a record of a reader's own becomes one of the choices, and its name is the value."""

    def validate(self, obj: Any, value: Any) -> str:
        """The name."""
        return str(super().validate(obj, value if isinstance(value, str) else obj.take_in(value)))


class RamSlider(Widget):
    """The main picture with a slider over RAM sizes; made by `ram_slider`.

    Set: `ram` (bytes or "600G"; a size that is no stop becomes one), `kernel` and `firmware` (a name, or a record of
    your own), `beside` (a second kernel, shown beside the first; "" for none), `placement` ("auto", "below", "across",
    "above", "low"), `page_size` ("4K", "2M", "1G"), `moment` (the number of the bead to rewind to, -1 for the decisive
    one), and `line` (a command that was copied from another view).
    Read: `outcome`, the run that is shown; `verdict`, its verdict ("broken" where code of your own fails, and `outcome`
    is None); `line`, the view as a command; `choices`, what there is to set.
    Observe: all of them but `line`; all can be linked, too.

        slider = ram_slider("600G", firmware="own-table")
        slider.observe(lambda change: print(change.new), "verdict")
        slider.firmware = "checks-pointer"                  # prints the new verdict where it is another one

        words = ipywidgets.Label()
        traitlets.dlink((slider, "outcome"), (words, "value"), lambda outcome: f"array at {outcome.buffer_pa:#x}")
        ipywidgets.VBox([slider, words])

    `print(slider)` gives the picture as text.  `first`, `films` and `answer` are what the browser gets; `wanted` counts
    its questions for a scene that it does not have; with a map the slider is `fixed`.
    """

    _esm = script("strips", "viewline", "screen", "slider")

    kind = traitlets.Unicode("ram").tag(sync=True)
    choices = traitlets.Dict().tag(sync=True)
    first = traitlets.Bytes().tag(sync=True)
    films = traitlets.List(traitlets.Bytes()).tag(sync=True)
    answer = traitlets.Bytes().tag(sync=True)
    fixed = traitlets.Bool(False).tag(sync=True)
    ram = _Size().tag(sync=True)
    kernel = _Name().tag(sync=True)
    firmware = _Name().tag(sync=True)
    beside = _Name("").tag(sync=True)
    placement = traitlets.Unicode("auto").tag(sync=True)
    page_size = traitlets.Unicode("1G").tag(sync=True)
    moment = traitlets.Int(-1).tag(sync=True)
    wanted = traitlets.Int(0).tag(sync=True)
    verdict = traitlets.Unicode(read_only=True).tag(sync=True)
    outcome = traitlets.Any(read_only=True)

    def __init__(self, request: Request, ram: int, kernel: str, **traits: Any) -> None:
        self._asked = request
        self._tasks: dict[str, asyncio.Task[None]] = {}
        super().__init__(
            choices=choices(request),
            first=first_film(request),
            ram=ram,
            kernel=kernel,
            firmware=name_of(request.firmware),
            placement=request.placement,
            page_size=request.page_size,
            fixed=request.map is not None,
            **traits,
        )
        if os.environ.get(WHOLE):
            self.complete()
        else:
            self._begin("films", self._make_films(request))

    def complete(self) -> None:
        """Compute at once what else follows in the background: for a page that will have no Python."""
        self.films = [reel(self._asked, record).packed() for record in self._asked.kernels]

    @property
    def line(self) -> str:
        """The view as a command for a mail; the moment is not in it.  Setting it restores the view."""
        buffer = next(address for name, _, address in self._asked.placements if name == self.placement)
        ram, where = (None, self._asked.map.name) if self._asked.map else (self.ram, None)
        return View(self.kernel, self.firmware, ram, where, buffer, self.page_size).line

    @line.setter
    def line(self, line: str) -> None:
        view = view_of(line)
        places = {address: name for name, _, address in self._asked.placements}
        where = self._asked.map.name if self._asked.map else None
        if view.map != where:
            raise MachineError(f"{line!r}: another machine than the slider's; expected one like {self.line!r}")
        if view.buffer not in places:
            raise MachineError(f"{line!r}: expected one of the slider's placements, or ram_slider(buffer=...)")
        machine(self.ram if view.ram is None else view.ram, page_size=view.page_size)  # or nothing is changed
        kernel, firmware = self._known("kernel", view.kernel), self._known("firmware", view.firmware)
        with self.hold_trait_notifications():
            self.kernel, self.firmware = kernel, firmware
            self.page_size, self.placement = view.page_size, places[view.buffer]
            self.ram = self.ram if view.ram is None else view.ram

    def __repr__(self) -> str:
        if self.outcome is None:
            return f"Nothing to show: {self._trouble}"
        return twin(self.outcome, moments(self.outcome)[self.moment] if self.moment >= 0 else None)

    def saved(self) -> str:
        """The picture that is shown; its text where there is none."""
        if self.outcome is None:
            return super().saved()
        beads = moments(self.outcome)
        return picture(self.outcome, beads[self.moment] if self.moment >= 0 else None).still()

    def take_in(self, record: Kernel | FirmwareKind) -> str:
        """Make a record of a reader's own one of the choices; its name.  MachineError where that is taken."""
        kind = "kernels" if isinstance(record, Kernel) else "firmwares"
        there = {name_of(known): known for known in getattr(self._asked, kind)}
        find = find_kernel if isinstance(record, Kernel) else find_firmware
        if record.name not in there:
            self._change(**{kind: (*getattr(self._asked, kind), record)})
        elif find(there[record.name]) != record:
            raise MachineError(f"{kind[:-1]} {record.name!r}: another one of that name is here; expected a new name")
        return str(record.name)

    def _known(self, kind: str, name: str) -> str:
        """`name`, of one of the choices, or of a kernel or firmware of ours, which becomes one."""
        ours: Any = KERNELS if kind == "kernel" else FIRMWARES
        there = [name_of(record) for record in getattr(self._asked, f"{kind}s")]
        return (
            self.take_in(ours[name]) if name in ours and name not in there else one_of(kind, name, there, MachineError)
        )

    def _change(self, **what: Any) -> None:
        self._asked = replace(self._asked, **what)
        self.choices = choices(self._asked)

    @traitlets.validate("ram")
    def _a_stop(self, proposal: Any) -> Any:
        """A size that is no stop becomes one, where there is such a machine."""
        size, stops = proposal["value"], self._asked.stops
        if size not in stops:
            if self._asked.map is not None:
                raise MachineError(f"ram {short_size(size)}: the machine of this slider has {short_size(stops[0])}")
            machine(size)
            self._change(stops=tuple(sorted({*stops, size})))
        return size

    @traitlets.validate("kernel", "firmware")
    def _a_record(self, proposal: Any) -> Any:
        return self._known(proposal["trait"].name, proposal["value"])

    @traitlets.validate("beside")
    def _a_second(self, proposal: Any) -> Any:
        return self._known("kernel", proposal["value"]) if proposal["value"] else ""

    @traitlets.validate("placement")
    def _a_placement(self, proposal: Any) -> Any:
        return one_of("placement", proposal["value"], [name for name, _, _ in self._asked.placements], MachineError)

    @traitlets.validate("page_size")
    def _a_page_size(self, proposal: Any) -> Any:
        return one_of("page size", proposal["value"], PAGE_SIZES, MachineError)

    @traitlets.validate("moment")
    def _a_moment(self, proposal: Any) -> Any:
        there = self._beads()
        if proposal["value"] != -1 and proposal["value"] not in there:
            raise MachineError(f"moment {proposal['value']}: expected -1 or one of {', '.join(map(str, there))}")
        return proposal["value"]

    def _beads(self) -> list[int]:
        beads = moments(self.outcome) if self.outcome else ()
        return [number for number, bead in enumerate(beads) if bead.index is not None]

    @traitlets.observe("ram", "kernel", "firmware", "placement", "page_size")
    def _run(self, _change: Any) -> None:
        """The run that is shown now; a reader's own code that fails is told of, and nothing ends."""
        self._trouble, found = "", None
        try:
            found = outcome_at(self._request, self.ram, self._record(self.kernel))[0]
        except Exception as error:  # a reader's record may do anything
            self._trouble = told(error)
        self.set_trait("outcome", found)
        self.set_trait("verdict", found.verdict if found else "broken")
        if self.moment not in (-1, *self._beads()):
            self.moment = -1

    def _record(self, kernel: str) -> Kernel | str:
        return next(record for record in self._asked.kernels if name_of(record) == kernel)

    @property
    def _request(self) -> Request:
        firmware = next(record for record in self._asked.firmwares if name_of(record) == self.firmware)
        return replace(self._asked, firmware=firmware, placement=self.placement, page_size=self.page_size)

    @traitlets.observe("wanted")
    def _answer(self, _change: Any) -> None:
        """The stop that is wanted now; the others of its strip follow, where there is an event loop to do it in."""
        records = [self._record(name) for name in (self.kernel, self.beside) if name]
        self.answer = one_stop(self._request, self.ram, records)
        self._begin("strip", self._make_strip(self._request, records))

    def _begin(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` when there is time, instead of an earlier one of the kind; nothing without an event loop."""
        if what in self._tasks:
            self._tasks[what].cancel()
        try:
            self._tasks[what] = asyncio.get_running_loop().create_task(work)
        except RuntimeError:
            work.close()

    async def _make_films(self, request: Request) -> None:
        for record in sorted(request.kernels, key=lambda one: name_of(one) != self.kernel):
            made = reel(request, record)
            while made.step():
                await asyncio.sleep(_PAUSE)
            self.films = [*self.films, made.packed()]

    async def _make_strip(self, request: Request, records: list[Kernel | str]) -> None:
        film = Film()
        for record in records:
            for ram in request.stops:
                await asyncio.sleep(_PAUSE)
                film.try_to_add(request, ram, record)
        self.answer = film.packed()


def ram_slider(
    ram: str | int | None = None,
    kernel: str | Kernel = "3.5",
    kernels: tuple[Kernel | str, ...] = _KERNELS,
    buffer: int | str | None = None,
    page_size: str = "1G",
    map: MemoryMap | str | None = None,  # noqa: A002 - as in efimm.machine
    *,
    firmware: str | FirmwareKind = "edk2",
    firmwares: tuple[FirmwareKind | str, ...] = tuple(FIRMWARES),
    beside: str | Kernel = "",
) -> RamSlider:
    """The main picture with a RAM slider and choices of kernel, firmware, placement and page size.

    `ram` is where the slider begins; `buffer` an address for the array to begin with; `kernels` and `firmwares` may
    hold records of a reader's own, and so may `kernel` and `firmware`, which are added to them; `beside` is a second
    kernel to be shown beside the first.  With a `map` (a MemoryMap, a file, a name in data/) there is one machine and
    no RAM slider.  Raises MachineError for a machine that cannot be.

        slider = ram_slider("600G", kernel="va-patch", firmware="own-table", beside="3.5")
        slider.observe(lambda change: print(change.new), "verdict")
    """
    one_of("page size", page_size, PAGE_SIZES, MachineError)
    memory_map = None if map is None else load_map(map)
    start = parse_size(_START if ram is None else ram) if isinstance(ram, str | None) else ram
    machine(start)
    stops = tuple(sorted({*STOPS, start}))
    if memory_map is not None:
        stops, start = (memory_map.ram_bytes,), memory_map.ram_bytes
    address = parse_address(buffer) if isinstance(buffer, str) else buffer
    request = Request(
        stops=stops,
        kernels=_with((kernel, *((beside,) if beside else ())), kernels),
        firmwares=_with((firmware,), firmwares),
        firmware=firmware,
        placement="auto" if address is None else "given",
        page_size=page_size,
        map=memory_map,
        buffer=address,
    )
    for record in request.kernels:
        find_kernel(record)
    for kind in request.firmwares:
        machine(start, firmware=kind)
    return RamSlider(request, start, name_of(kernel), beside=name_of(beside))


def _with(chosen: tuple[Any, ...], known: tuple[Any, ...]) -> tuple[Any, ...]:
    """The known records and those that were chosen, which take the place of their namesakes."""
    own = {name_of(record): record for record in chosen if not isinstance(record, str)}
    names = {name_of(record) for record in known}
    new = [record for record in chosen if name_of(record) not in names]
    return (*(own.get(name_of(record), record) for record in known), *dict.fromkeys(new))
