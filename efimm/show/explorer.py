"""The page-walk explorer: type an address, choose a mode and an access, and see what every bit says.

Each change asks Python once and gets a picture and its text twin back.  Without a browser the same traits can be set
from Python: `view.address = "0x1000"; print(view)`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import anywidget
import traitlets

from ..exercises.answers import number
from ..x86 import LONG4, PagingMode
from ..x86.rights import FETCH, READ, WRITE, Request
from .explained import Explained, explain
from .mimebundle import with_text
from .sample import CODE, MODES
from .shapes import PATTERNS
from .svg import STATIC, script
from .walk_scene import cell_rows, draw
from .walk_source import Source, source_of
from .walk_twin import describe

_MODES: dict[str, PagingMode] = {mode.name: mode for mode in MODES}
_MAXPHYADDR = (32, 36, 39, 40, 46, 48, 52)
_SWITCHES = ("wp", "nxe", "smep", "smap")
_HEX = re.compile(r"(?=.*[a-f])[0-9a-f]+|0[0-9a-f]{3,}")
_ASKING = ("address", "table", "mode", "access", "user", *_SWITCHES, "maxphyaddr", "again")


class Explorer(anywidget.AnyWidget):
    """The explorer with its controls; made by `explorer`.

    `address` may be set to a number or to text; `access` is "read", "write" or "fetch".  `walk` and `explained` are
    what is shown.  `again` counts requests to look into the tables once more.
    """

    _esm = script("explorer")
    _css = STATIC / "picture.css"

    kind = traitlets.Unicode("explorer").tag(sync=True)
    choices = traitlets.Dict().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)
    address = traitlets.Any("0x0").tag(sync=True)
    table = traitlets.Unicode().tag(sync=True)
    mode = traitlets.Unicode(LONG4.name).tag(sync=True)
    access = traitlets.Enum((READ, WRITE, FETCH), READ).tag(sync=True)
    user = traitlets.Bool(False).tag(sync=True)
    wp = traitlets.Bool(True).tag(sync=True)
    nxe = traitlets.Bool(True).tag(sync=True)
    smep = traitlets.Bool(False).tag(sync=True)
    smap = traitlets.Bool(False).tag(sync=True)
    maxphyaddr = traitlets.Int(52).tag(sync=True)
    again = traitlets.Int(0).tag(sync=True)

    def __init__(self, source: Source, **traits: Any) -> None:
        self._source = source
        sizes = sorted({*_MAXPHYADDR, source.maxphyaddr})
        choices = {"tables": list(source.roots), "modes": list(_MODES), "maxphyaddr": sizes}
        super().__init__(choices=choices, **traits)
        self._look()

    @property
    def explained(self) -> Explained:
        """What is shown, as data."""
        return self._explain(_va(self.address))

    def __repr__(self) -> str:
        return describe(self.explained)

    def _repr_mimebundle_(self, **arguments: Any) -> Any:
        return with_text(super()._repr_mimebundle_(**arguments), repr(self))

    def _explain(self, va: int) -> Explained:
        mode, source = _MODES[self.mode], self._source
        nxe = self.nxe and mode.entry_bytes == 8
        request = Request(self.access, self.user, self.wp, nxe, self.smep, self.smap)
        found = source.walk(va, self.table, mode, self.maxphyaddr, nxe=nxe)
        cached = source.cached(va, self.table, mode)
        return explain(found, request, maxphyaddr=self.maxphyaddr, cached=cached)

    @traitlets.validate("address")
    def _as_text(self, proposal: Any) -> str:
        value = proposal["value"]
        return f"{value:#x}" if isinstance(value, int) else str(value)

    @traitlets.validate("mode")
    def _a_mode(self, proposal: Any) -> Any:
        return _one_of("mode", proposal["value"], _MODES)

    @traitlets.validate("table")
    def _a_table(self, proposal: Any) -> Any:
        return _one_of("table", proposal["value"], self._source.roots)

    @traitlets.observe("mode")
    def _table_for_the_mode(self, _change: Any) -> None:
        """A mode brings its own table where there is one; without one, the same bytes are read in another way."""
        roots = self._source.roots
        if self.table and roots[self.table].mode is not _MODES[self.mode]:
            self.table = next((name for name, root in roots.items() if root.mode.name == self.mode), self.table)

    @traitlets.observe("table")
    def _mode_for_the_table(self, _change: Any) -> None:
        self.mode = self._source.roots[self.table].mode.name

    @traitlets.observe(*_ASKING)
    def _look(self, _change: Any = None) -> None:
        if not self.table:
            return
        try:
            found = self._explain(_va(self.address))
        except ValueError as error:
            self.shown = {**self.shown, "problem": str(error)}
            return
        self.shown = _packed(found)


def explorer(
    what: Any = None,
    address: int | str = CODE,
    *,
    root: int | Mapping[str, int] | None = None,
    mode: PagingMode | None = None,
    access: str = READ,
    user: bool = False,
    table: str | None = None,
    **switches: Any,
) -> Explorer:
    """The page-walk explorer on the tables of `what`.

    `what` is a Cpu, a booted Linux, an Outcome, a PhysMemory with its `root`, or what `load_tables` gives; without it,
    small sample tables of every mode.  `table` is the name of the table to begin with; `switches` are `wp`, `nxe`,
    `smep`, `smap` and `maxphyaddr`, else as the processor has them.  Raises TypeError for other things.
    """
    source = source_of(what, root, mode)
    first = table or next(iter(source.roots))
    as_is = source.request()
    registers = {name: getattr(as_is, name) for name in _SWITCHES} | {"maxphyaddr": source.maxphyaddr}
    view = Explorer(source, address=address, access=access, user=user, **(registers | switches))
    view.table = first
    view.mode = (mode or source.roots[first].mode).name
    return view


def _packed(found: Explained) -> dict[str, Any]:
    """What the browser draws: the scene in the form of `drawScene`, the cells that can be pointed at, and the twin."""
    scene = draw(found)
    return {
        "problem": "",
        "verdict": found.verdict,
        "good": found.kind == "page" and found.served is None,
        "scene": [scene.height, scene.title, scene.description, list(range(len(scene.shapes)))],
        "width": scene.width,
        "patterns": {role: list(pattern) for role, pattern in PATTERNS.items()},
        "shapes": [shape.plain() for shape in scene.shapes],
        "rows": [
            [row.name, [[cell.x, cell.y, cell.width, cell.height, cell.meaning] for cell in row.cells]]
            for row in cell_rows(found)
        ],
        "twin": describe(found),
    }


def _va(text: str) -> int:
    """The address in `text`: decimal, 0x..., or hex as a console prints it (with a letter, or with leading zeros)."""
    plain = text.strip().lower().replace("_", "").replace("`", "")
    value = int(plain, 16) if _HEX.fullmatch(plain) else number(plain)
    if value is None:
        raise ValueError(f"{text!r}: expected an address, such as 0x8000001234, ffff880000000000 or 512G")
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{text!r}: an address has at most 64 bits")
    return value


def _one_of(what: str, value: Any, allowed: Any) -> Any:
    if value not in allowed:
        raise ValueError(f"{what} {value!r}: expected one of {', '.join(map(str, allowed))}")
    return value
