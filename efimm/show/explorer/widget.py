"""The page-walk explorer: type an address, choose a mode and an access, and see what every bit says.

Its tables are those of a processor, a booted kernel, a memory made by hand, or real ones; without any, small sample
tables of every mode.  Each change asks Python once and gets a picture and its text twin back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any

import traitlets

from ...linux import Linux
from ...machines import number
from ...run import Outcome
from ...x86 import (
    LEGACY,
    LEGACY_4K,
    LONG4,
    LONG5,
    PAE,
    PAGING_OFF,
    Cpu,
    PageTable,
    PagingMode,
    PhysMemory,
    TlbEntry,
    Walk,
    walk,
)
from ...x86.cpu import CR0_WP, CR4_SMAP, CR4_SMEP, FETCH, READ, WRITE, Request
from ...x86.memory import PAGE_SIZE, PHYSICAL_BITS
from ...x86.modes import ADDRESS_MASK, NX, PS, RW, US, A, D, G, P
from ..drawing.frames import Widget, one_of, script
from ..drawing.pack import Packer
from .explained import Explained, describe, explain
from .scene import cell_rows, draw

MODES = (LONG4, LONG5, PAE, LEGACY, LEGACY_4K, PAGING_OFF)

CODE, DATA, READ_ONLY = 0x40_1000, 0x40_2000, 0x40_3000
LARGE, WRONG = 0xC0_0000, 0x140_0000
_FIRST_TABLE = 0x1_0000


def sample_tables() -> tuple[PhysMemory, dict[str, tuple[int, PagingMode]]]:
    """A memory, and a top-level table for each mode, by the mode's name: its address and the mode.

    Each set maps the same: user code, user data and a kernel page that is read-only, a large page (where the mode has
    them), and a page with a reserved bit (where an entry has one).  Everything else is a hole.
    """
    memory, tables = PhysMemory(), {}
    free = iter(range(_FIRST_TABLE, 0x10_0000, PAGE_SIZE))
    for mode in MODES:
        root = next(free) if mode.levels else 0
        tables[mode.name] = root, mode
        for va, depth, leaf in _leaves(mode) if mode.levels else ():
            map_page(memory, mode, root, va, depth, leaf, free)
    return memory, tables


def _leaves(mode: PagingMode) -> Iterator[tuple[int, int, int]]:
    """(address, number of the level, entry) of each page."""
    last = len(mode.levels) - 1
    nx = NX if mode.entry_bytes == 8 else 0
    yield CODE, last, 0x123_4000 | P | US | A
    yield DATA, last, 0x123_5000 | P | RW | US | A | D | nx
    yield READ_ONLY, last, 0x123_6000 | P | A | G | nx
    large = next((depth for depth in range(last, -1, -1) if mode.levels[depth].may_be_large), None)
    if large is not None:
        must_be_0 = 1 << 20 if mode.entry_bytes == 8 else 1 << 21
        yield LARGE, large, 0x80_0000 | P | RW | A | D | PS | G
        yield WRONG, large, 0x80_0000 | P | RW | PS | must_be_0


def map_page(
    memory: PhysMemory, mode: PagingMode, root: int, va: int, depth: int, leaf: int, free: Iterator[int]
) -> None:
    """Write `leaf` for `va` at level number `depth`; tables that are missing on the way come from `free`."""
    table = root
    for at, level in enumerate(mode.levels[: depth + 1]):
        place = table + mode.entry_bytes * level.index(va)
        entry = memory.read_word(place, mode.entry_bytes)
        if at == depth:
            entry = leaf
        elif not entry & P:
            entry = next(free) | P | (RW | US | A if level.has_rights else 0)
        memory.write(place, entry.to_bytes(mode.entry_bytes, "little"))
        table = entry & ADDRESS_MASK


CR3 = "CR3"
_KERNEL_TABLES = ("swapper_pg_dir", "initial_page_table", "trampoline_pgd")


@dataclass(frozen=True)
class Root:
    """A top-level table: where it is, and the mode it was made for."""

    pa: int
    mode: PagingMode


@dataclass(frozen=True)
class Source:
    """A memory with its top-level tables by name.  With a `cpu`, the table named CR3 is the one it uses now."""

    memory: PhysMemory
    roots: Mapping[str, Root]
    cpu: Cpu | None = None
    maxphyaddr: int = PHYSICAL_BITS

    def request(self) -> Request:
        """A kernel's read, with the processor's switches as they are now."""
        cpu = self.cpu
        if cpu is None:
            return Request()
        smep, smap = bool(cpu.cr4 & CR4_SMEP), bool(cpu.cr4 & CR4_SMAP) and not cpu.ac
        return Request("read", cpu.cpl == 3, bool(cpu.cr0 & CR0_WP), cpu.registers.nxe, smep, smap)

    def walk(self, va: int, root: str, mode: PagingMode, maxphyaddr: int, *, nxe: bool) -> Walk:
        """What a processor in `mode` finds for `va` in the table named `root`, now."""
        pa = self.roots[root].pa
        pdptes: tuple[int, ...] = ()
        if self.cpu is not None and root == CR3:
            pa, pdptes = self.cpu.cr3, self.cpu.pdptes
        return walk(self.memory, pa, va, mode, maxphyaddr=maxphyaddr, nxe=nxe, pdptes=pdptes)

    def cached(self, va: int, root: str, mode: PagingMode) -> TlbEntry | None:
        """What the TLB holds for `va`; only the table in CR3, in the mode that the processor is in, has one."""
        if self.cpu is None or root != CR3 or mode is not self.cpu.mode:
            return None
        return self.cpu.tlb.lookup(va)


def source_of(what: Any, root: int | Mapping[str, int] | None = None, mode: PagingMode | None = None) -> Source:
    """The tables of `what`: a Cpu, a Linux, an Outcome, (memory, roots, mode) as `load_tables` gives them, a
    PhysMemory with a `root` (an address, or several by name), or None for the sample tables.

    Raises TypeError for anything else, and for a memory without a root.
    """
    if what is None:
        memory, tables = sample_tables()
        return Source(memory, {name: Root(*table) for name, table in tables.items()})
    if isinstance(what, tuple):
        memory, roots, its_mode = what
        return Source(memory, _roots(roots, mode or its_mode))
    if isinstance(what, PhysMemory):
        if root is None:
            raise TypeError("a memory needs a root: the physical address of its top-level table")
        return Source(what, _roots(root, mode or LONG4))
    return _of_a_processor(what)


def _of_a_processor(what: Any) -> Source:
    linux = what.linux if isinstance(what, Outcome) else what
    cpu = linux.cpu if isinstance(linux, Linux) else linux
    if not isinstance(cpu, Cpu):
        raise TypeError(f"{type(what).__name__}: expected a Cpu, a Linux, an Outcome, a PhysMemory, or loaded tables")
    source = Source(cpu.memory, {CR3: Root(cpu.cr3, cpu.mode)}, cpu, cpu.maxphyaddr)
    if not isinstance(linux, Linux):
        return source
    tables = [(name, getattr(linux, name, None)) for name in _KERNEL_TABLES]
    named = {table.pa: name for name, table in reversed(tables) if isinstance(table, PageTable)}
    roots = {name: Root(pa, cpu.mode) for pa, name in reversed(named.items())}
    return replace(source, roots={**source.roots, **roots})


def _roots(roots: int | Mapping[str, int], mode: PagingMode) -> dict[str, Root]:
    named = roots if isinstance(roots, Mapping) else {f"table at {roots:#x}": roots}
    return {name: Root(pa, mode) for name, pa in named.items()}


_MODES: dict[str, PagingMode] = {mode.name: mode for mode in MODES}
_MAXPHYADDR = (32, 36, 39, 40, 46, 48, 52)
_SWITCHES = ("wp", "nxe", "smep", "smap")
_HEX = re.compile(r"(?=.*[a-f])[0-9a-f]+|0[0-9a-f]{3,}")
_ASKING = ("address", "table", "mode", "access", "user", *_SWITCHES, "maxphyaddr", "again")


class Explorer(Widget):
    """One address through the tables, bit by bit; made by `explorer`.

    Set: `address` (a number, or text as people write it), `table` (a name), `mode` (a name), `access` ("read", "write",
    "fetch"), `user`, the switches `wp`, `nxe`, `smep`, `smap`, `maxphyaddr` (bits), and `again` (count it up to look
    into the tables once more).
    Read: `explained`, the walk as data; `choices`, the names of tables and modes.
    Observe: all that can be set.

    `print(view)` gives the walk as text.  `shown` is what the browser gets.
    """

    _esm = script("explorer")

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
        return "\n\n".join(filter(None, (self.shown.get("problem"), self.shown.get("twin"))))

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
        return one_of("mode", proposal["value"], _MODES)

    @traitlets.validate("table")
    def _a_table(self, proposal: Any) -> Any:
        return one_of("table", proposal["value"], self._source.roots)

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
    """What the browser draws: the scene, packed, the cells that can be pointed at, and the twin."""
    scene, twin, packer = draw(found), describe(found), Packer()
    rows = [(row.name, [[*astuple(cell)] for cell in row.cells]) for row in cell_rows(found)]
    good = found.kind == "page" and found.served is None
    shown = {"problem": "", "verdict": found.verdict, "good": good, "rows": [*map(list, rows)], "twin": twin}
    return {"scene": packer.pack(scene, ""), **packer.pools(scene.width), **shown}


def _va(text: str) -> int:
    """The address in `text`: decimal, 0x..., or hex as a console prints it (with a letter, or with leading zeros)."""
    plain = text.strip().lower().replace("_", "").replace("`", "")
    value = int(plain, 16) if _HEX.fullmatch(plain) else number(plain)
    if value is None:
        raise ValueError(f"{text!r}: expected an address, such as 0x8000001234, ffff880000000000 or 512G")
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{text!r}: an address has at most 64 bits")
    return value
