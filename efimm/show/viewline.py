"""A view of the slider as the command that shows the same: a line for a mail, from which the view can be restored."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from ..machines import MachineError, parse_address, parse_size
from ..maps.errors import shortened

_OPTIONS = ("--kernel", "--ram", "--map", "--buffer", "--page-size")


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


def short_size(size: int) -> str:
    """A size as the command takes it: "1T", "513G", "1.5G"; in bytes where that is not exact."""
    if size % (1 << 40) == 0:
        return f"{size >> 40}T"
    short = f"{size / (1 << 30):g}G"
    return short if "e" not in short and parse_size(short) == size else str(size)
