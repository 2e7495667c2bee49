"""Machines of thousands of nodes, each with a hole behind it: the tables of all extents made at once, bytes checked."""

from __future__ import annotations

from collections.abc import Sequence

import efimm
from efimm.linux.layout import PAGE_KERNEL
from efimm.linux.tables import Extent, new_tables
from efimm.machines import PAGE_SIZES, Machine
from efimm.uefi.memmap import E820Entry, E820Type, MemoryMap
from efimm.x86 import LONG4, PhysMemory
from efimm.x86.modes import PS

from ..clock import Sample, in_turns, work
from ..report import Row, Section, Target, at_most
from .contest import WrongError
from .direct_map import TABLES, TablePages, in_boot, whole_boot
from .plan import Plan

GIB = 1 << 30
STRIDE, NODE = 32 * GIB, 30 * GIB
_TARGETS = {256: at_most(1000, "us"), 2048: at_most(5000, "us")}


def section(plan: Plan) -> Section:
    """New tables for all nodes, by each page size; then the same machine booted."""
    samples: dict[str, Sample] = {}
    targets: dict[str, Target | None] = {}
    machines = {nodes: uv_machine(nodes) for nodes in plan.nodes}
    for nodes in plan.nodes:
        for size, shift in PAGE_SIZES.items():
            name = f"{nodes:,} extents by {size} pages"
            samples[name], targets[name] = _sample(extents(nodes, shift)), _TARGETS.get(nodes)
        name = f"{nodes:,} nodes: tables in a boot of 3.5"
        samples[name], targets[name] = in_boot(machines[nodes], TABLES), _TARGETS.get(nodes)
    timings = in_turns(samples, plan.rounds)
    rows = [Row(name, timing, target=targets[name]) for name, timing in timings.items()]
    rows += [_boot(plan, nodes, machine) for nodes, machine in machines.items()]
    return Section("Nodes of 30 GiB, 32 GiB apart, as on an SGI UV: tables for all of them", tuple(rows))


def _boot(plan: Plan, nodes: int, machine: Machine) -> Row:
    """The whole boot; where the kernel finds no room to run in, a line that says so."""
    what = f"{nodes:,} nodes: efimm.boot"
    try:
        efimm.boot(machine, "3.5")
    except efimm.MachineError as error:
        return Row(what, note=f"does not boot: {error}")
    return Row(what, in_turns({what: whole_boot(machine)}, plan.rounds)[what])


def extents(nodes: int, shift: int) -> list[Extent]:
    """One extent for each node; its edges are as odd as its page size allows."""
    odd = 1 << shift if shift < 30 else 0
    starts = [STRIDE * k + 3 * odd for k in range(nodes)]
    return [Extent(start, start + NODE - 7 * odd, start, PAGE_KERNEL, shift) for start in starts]


def uv_machine(nodes: int) -> Machine:
    """A machine whose e820 list has RAM in `nodes` places."""
    low = (E820Entry(0, 0xA0000, E820Type.RAM), E820Entry(1 << 20, 2 * GIB, E820Type.RAM))
    first = (E820Entry(4 * GIB, NODE, E820Type.RAM),)
    others = tuple(E820Entry(STRIDE * k, STRIDE * k + NODE, E820Type.RAM) for k in range(1, nodes))
    return efimm.machine(map=MemoryMap("uv", e820=low + first + others, title=f"{nodes} nodes"))


def tables(wanted: Sequence[Extent]) -> tuple[PhysMemory, int]:
    """The tables for `wanted`, from the top level down: a memory, and where the top level is."""
    memory = PhysMemory()
    return memory, new_tables(memory, TablePages(), 0, wanted, 0, wanted[-1].end)


def _sample(wanted: Sequence[Extent]) -> Sample:
    check(*tables(wanted), wanted)
    return work(lambda: tables(wanted))


def check(memory: PhysMemory, root: int, wanted: Sequence[Extent]) -> None:
    """Raise WrongError unless the table pages at both edges of each extent hold what the list of extents says."""
    level = next(level for level in LONG4.levels if level.shift == wanted[0].leaf_shift)
    covers = level.span << level.bits
    for place in sorted({edge // covers * covers for e in wanted for edge in (e.start, e.end - 1)}):
        table = root
        for upper in LONG4.levels[: LONG4.levels.index(level)]:
            table = memory.read_u64(table + 8 * upper.index(place)) & 0x000F_FFFF_FFFF_F000
        expected = b"".join(_entry(va, wanted, level.span).to_bytes(8, "little") for va in _steps(place, level.span))
        if memory.read(table, 4096) != expected:
            raise WrongError(f"the tables for {place:#x} are wrong: nothing is measured")


def _steps(start: int, span: int) -> range:
    return range(start, start + 512 * span, span)


def _entry(va: int, wanted: Sequence[Extent], span: int) -> int:
    """The entry for the page at `va`: a look through the extents that can hold it, and no table."""
    near = wanted[max(0, va // STRIDE - 1) : va // STRIDE + 1]
    extent = next((e for e in near if e.start <= va < e.end), None)
    return extent.pa + va - extent.start | extent.prot | (PS if span > 4096 else 0) if extent else 0
