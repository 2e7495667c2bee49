"""Building the direct map of machines from 1 GiB to 64 TiB: its tables alone, within a boot, and the whole boot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from time import process_time

import efimm
from efimm.linux import direct_map
from efimm.linux.layout import PAGE_KERNEL
from efimm.linux.tables import Extent, new_tables
from efimm.machines import PAGE_SIZES, Machine, parse_size
from efimm.x86 import PhysMemory

from ..clock import Sample, Timing, fresh_work, in_turns, quiet, stopwatch
from ..report import Row, Section, at_most
from .plan import Plan

MOST = at_most(200, "us")
GROWTH = at_most(1.5)
TABLES, INIT = "populate_direct_map", "kernel_physical_mapping_init"


def sections(plan: Plan) -> Iterator[Section]:
    """The same work alone, and at three places of a boot."""
    alone = {
        (ram, size): _tables_alone(parse_size(ram), shift) for size, shift in PAGE_SIZES.items() for ram in plan.rams
    }
    yield _section(plan, "Direct map: new_tables for one extent from address 0", alone)
    machines = {(ram, size): efimm.machine(ram, page_size=size) for size in PAGE_SIZES for ram in plan.rams}
    for function, meaning in ((TABLES, "the tables"), (INIT, "with sync and flush")):
        title = f"Direct map: {function} ({meaning}), all its calls in one boot of 3.5"
        yield _section(plan, title, {name: in_boot(machine, function) for name, machine in machines.items()})
    boots = {name: whole_boot(machine) for name, machine in machines.items()}
    yield _section(plan, "efimm.boot of 3.5, all of it", boots, judged=False)


def in_boot(machine: Machine, function: str) -> Sample:
    """The time that one boot spends in a function of direct_map.py; what comes of the boot afterwards is ignored."""

    def sample() -> float:
        with quiet(), stopwatch(direct_map, function) as spent, suppress(efimm.MachineError):
            efimm.boot(machine, "3.5")
        return sum(spent)

    return sample


def whole_boot(machine: Machine) -> Sample:
    """The time of one boot."""

    def sample() -> float:
        with quiet():
            start = process_time()
            efimm.boot(machine, "3.5")
            return process_time() - start

    return sample


class TablePages:
    """Page frames for tables, one after the other, from beyond all RAM."""

    def __init__(self) -> None:
        self.next = 1 << 50

    def __call__(self, count: int) -> int:
        """The physical address of `count` pages in a row."""
        first, self.next = self.next, self.next + count * 4096
        return first


def _tables_alone(ram: int, shift: int) -> Sample:
    extents = [Extent(0, ram, 0, PAGE_KERNEL, shift)]
    return fresh_work(PhysMemory, lambda memory: new_tables(memory, TablePages(), 1, extents, 0, ram))


def _section(plan: Plan, title: str, samples: dict[tuple[str, str], Sample], *, judged: bool = True) -> Section:
    """Each size of RAM by each page size, and the growth from the smallest size to the largest.

    RAM of more than 2 GiB lies in two places, so a boot makes twice the calls: the growth from the second size on has
    a row of its own.
    """
    timings = in_turns({" ".join(name): sample for name, sample in samples.items()}, 2 * plan.rounds)
    rows: list[Row] = []
    small, medium, *_, large = plan.rams
    for size in PAGE_SIZES:
        target = MOST if judged else None
        rows += [Row(f"{ram} by {size} pages", timings[f"{ram} {size}"], target=target) for ram in plan.rams]
        for start in (small, medium):
            what = f"{large} / {start}, {size} pages"
            rows.append(_growth(what, timings[f"{large} {size}"], timings[f"{start} {size}"], judged))
    return Section(title, tuple(rows))


def _growth(what: str, large: Timing, small: Timing, judged: bool) -> Row:
    ratios = large.best / small.best, large.median / small.median
    return Row(what, None, *ratios, GROWTH if judged else None)
