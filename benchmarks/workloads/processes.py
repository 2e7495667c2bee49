"""A machine of 64 TiB with thousands of processes: what it costs to bring ten new kernel entries to all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import efimm
from efimm.linux import Linux
from efimm.linux.layout import V3_5_LAYOUT, pgd_address
from efimm.linux.page_alloc import alloc_pages
from efimm.linux.pgtable import pgd_alloc

from ..clock import Sample, fresh_work, in_turns, work
from ..report import Row, Section, at_most
from .contest import WrongError
from .plan import Plan

MOST = at_most(100_000, "us")
SYNCS = 10
RAM = "64T"


def section(plan: Plan) -> Section:
    """Boot, ten syncs and one call of the firmware; how that grows with the processes; and what making one costs.

    The processes are made before the clock runs, in a kernel of their own: a boot has none yet.
    """
    small, large = plan.processes
    samples: dict[str, Sample] = {f"{count:,} processes": _syncs(count) for count in plan.processes}
    samples["making a process"] = work(lambda: booted(small), small)
    samples["boot alone"] = work(lambda: efimm.boot(efimm.machine(RAM), "3.5"))
    check(small)
    timings = in_turns(samples, plan.rounds)
    rows = [Row(name, timing) for name, timing in timings.items()]
    rows[1] = Row(rows[1].what, rows[1].timing, target=MOST)
    less, more = timings[f"{small:,} processes"], timings[f"{large:,} processes"]
    growth = large / small
    ratios = more.best / less.best / growth, more.median / less.median / growth
    rows.append(Row(f"{large:,} / {small:,}, a process", None, *ratios, at_most(1.5)))
    return Section(f"A booted {RAM}: boot, {SYNCS} syncs of pgd_list and one call of the firmware", tuple(rows))


def booted(processes: int) -> Linux:
    """A kernel with that many processes."""
    linux = efimm.boot(efimm.machine(RAM), "3.5")
    for number in range(processes):
        pgd_alloc(linux, f"p{number}")
    return linux


def sync(linux: Linux) -> None:
    """Ten new top-level entries of the vmalloc area, each brought to every process."""
    for slot in new_slots():
        linux.kernel.pgd_populate(linux, slot, alloc_pages(linux, 1), 1)
        linux.kernel.sync_global_pgds(linux, pgd_address(slot), pgd_address(slot))


def new_slots() -> Iterator[int]:
    """Their indexes."""
    first = V3_5_LAYOUT.region("vmalloc").slots.start + 10
    return iter(range(first, first + SYNCS))


def check(processes: int) -> None:
    """Raise WrongError unless every process has every entry afterwards."""
    linux = booted(processes)
    sync(linux)
    for mm in linux.pgd_list:
        if any(mm.pgd[slot] != linux.swapper_pg_dir[slot] or not mm.pgd[slot] for slot in new_slots()):
            raise WrongError(f"efimm: {mm.pgd.name} lacks an entry after the sync; nothing is measured")


def _syncs(processes: int) -> Sample:
    def run(linux: Linux) -> None:
        fresh = efimm.boot(efimm.machine(RAM), "3.5")
        sync(linux)
        with suppress(efimm.PageFault):  # at 64 TiB, 3.5's call is the bug itself
            efimm.efi_enter_virtual_mode(fresh)

    return fresh_work(lambda: booted(processes), run)
