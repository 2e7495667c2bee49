"""Things to move in a notebook: the RAM slider with its picture, and the box for a prediction.

The slider answers in the browser, from a table of scenes that Python computed; placement, page size and a rewind to
another moment ask Python.  Without a browser the same traits can be set from Python: `slider.moment = 2`.
"""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from ..linux.state import Kernel
from ..machines import PAGE_SIZES, MachineError, load_map, parse_address
from ..run import Outcome, find_kernel
from ..uefi import MemoryMap
from .answers import Answer, Hints, Question
from .moments import moments
from .svg import STATIC
from .table import Request, as_stops, kernel_name, outcome_at, replay, table
from .twin import twin

_START = "256G"
_KERNELS: tuple[Kernel | str, ...] = ("3.5", "va-patch", "hpa-sync")


class RamSlider(anywidget.AnyWidget):
    """The picture with its controls; made by `ram_slider`.

    `ram` is in bytes; `moment` is the number of the bead to rewind to, -1 for the decisive one.  `outcome` is the run
    that is shown.  `table` and `replay` are what the browser gets.
    """

    _esm = STATIC / "picture.js"
    _css = STATIC / "picture.css"

    kind = traitlets.Unicode("ram").tag(sync=True)
    table = traitlets.Dict().tag(sync=True)
    replay = traitlets.Dict().tag(sync=True)
    fixed = traitlets.Bool(False).tag(sync=True)
    ram = traitlets.Int().tag(sync=True)
    kernel = traitlets.Unicode().tag(sync=True)
    placement = traitlets.Unicode("auto").tag(sync=True)
    page_size = traitlets.Unicode("1G").tag(sync=True)
    page_sizes = traitlets.List(list(reversed(PAGE_SIZES))).tag(sync=True)
    moment = traitlets.Int(-1).tag(sync=True)

    def __init__(self, request: Request, ram: int, kernel: str, **traits: Any) -> None:
        self._request = request
        self._records = {kernel_name(record): record for record in request.kernels}
        super().__init__(
            table=table(request),
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
        return self._run()[0]

    def __repr__(self) -> str:
        outcome = self.outcome
        return twin(outcome, moments(outcome)[self.moment] if self.moment >= 0 else None)

    def _repr_mimebundle_(self, **arguments: Any) -> Any:
        return with_text(super()._repr_mimebundle_(**arguments), repr(self))

    def _run(self) -> tuple[Outcome, str]:
        return outcome_at(self._request, self.ram, self._records[self.kernel])

    @traitlets.validate("ram")
    def _a_stop(self, proposal: Any) -> Any:
        """The nearest stop there is."""
        return min(self._request.stops, key=lambda stop: abs(stop - proposal["value"]))

    @traitlets.validate("kernel")
    def _a_kernel(self, proposal: Any) -> Any:
        return _one_of("kernel", proposal["value"], self._records)

    @traitlets.validate("placement")
    def _a_placement(self, proposal: Any) -> Any:
        return _one_of("placement", proposal["value"], [key for key, _, _ in self._request.placements])

    @traitlets.validate("page_size")
    def _a_page_size(self, proposal: Any) -> Any:
        return _one_of("page size", proposal["value"], PAGE_SIZES)

    @traitlets.observe("placement", "page_size")
    def _another_table(self, _change: Any) -> None:
        old = self._request
        self._request = Request(old.stops, old.kernels, self.placement, self.page_size, old.map, old.buffer)
        self.moment = -1
        self.table = table(self._request)

    @traitlets.observe("moment", "ram", "kernel")
    def _rewind(self, _change: Any) -> None:
        if self.moment < 0:
            return
        asked = {"ram": self.ram, "kernel": self.kernel, "moment": self.moment}
        self.replay = {**replay(self._request, self.ram, self._records[self.kernel], self.moment), **asked}


class Predict(anywidget.AnyWidget):
    """A question with a field for the answer; made by `predict`.  `guess` is checked when it is set."""

    _esm = STATIC / "picture.js"
    _css = STATIC / "picture.css"

    kind = traitlets.Unicode("predict").tag(sync=True)
    question = traitlets.Unicode().tag(sync=True)
    guess = traitlets.Dict().tag(sync=True)
    feedback = traitlets.Dict().tag(sync=True)

    def __init__(self, asked: Question, **traits: Any) -> None:
        self._asked = asked
        super().__init__(question=asked.text, **traits)

    def check(self, guess: str) -> str:
        """What the box says to `guess`."""
        return self._asked.check(guess)[1]

    def __repr__(self) -> str:
        return f"Predict: {self.question}"

    def _repr_mimebundle_(self, **arguments: Any) -> Any:
        return with_text(super()._repr_mimebundle_(**arguments), repr(self))

    @traitlets.observe("guess")
    def _checked(self, change: Any) -> None:
        # The number makes a repeated guess a new one, so that it is answered again.
        right, words = self._asked.check(str(change["new"].get("text", "")))
        self.feedback = {"number": change["new"].get("number", 0), "right": right, "text": words}


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


def predict(question: str, answer: Answer, hints: Hints | None = None) -> Predict:
    """A box for a prediction: `question`, a field, a button; Enter works too.

    `answer` is a number, a word, or a function without arguments that computes one (called at the first check).
    A number may be typed in decimal or hex, with K, M, G or T behind it.  `hints` has texts for wrong answers.
    """
    return Predict(Question(question, answer, hints or {}))


def _one_of(what: str, value: Any, allowed: Any) -> Any:
    if value not in allowed:
        raise MachineError(f"{what} {value!r}: expected one of {', '.join(map(str, allowed))}")
    return value


def with_text(bundle: Any, words: str) -> Any:
    """A widget's representation, with `words` for those who cannot show it."""
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    if data is not None:
        data["text/plain"] = words
    return bundle
