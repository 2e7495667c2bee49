"""Looking at one page of a table that is not stored: 64 TiB by 4 KiB pages would be 128 GiB of tables."""

from __future__ import annotations

import random

import efimm
from efimm.x86 import PageTable

from ..clock import in_turns, work
from ..report import Row, Section, at_most
from .contest import WrongError
from .plan import Plan

LOOKS = 200
MOST = at_most(25, "us")


def section(plan: Plan) -> Section:
    """One table page as bytes, and as a dictionary of its entries."""
    linux = efimm.boot(efimm.machine(plan.rams[-1], page_size="4K"), "3.5")
    memory, trace = linux.memory, linux.trace
    run = max(memory.lazy_tables, key=lambda run: run.count)
    rng = random.Random(LOOKS)
    places = [run.first_pfn + rng.randrange(run.count) << 12 for _ in range(LOOKS)]
    tables = [PageTable(memory, place, "pte", trace) for place in places]
    if any(memory.read(place, 4096) != _one_by_one(tables[k]) for k, place in enumerate(places)):
        raise WrongError("a table page read at once is not its entries one by one")
    timings = in_turns(
        {
            "PhysMemory.read of its 4096 bytes": work(lambda: [memory.read(place, 4096) for place in places], LOOKS),
            "PageTable.slots()": work(lambda: [table.slots() for table in tables], LOOKS),
        },
        plan.rounds,
    )
    title = f"One of {run.count:,} table pages viewed, {plan.rams[-1]} by 4K pages"
    return Section(title, tuple(Row(name, timing, target=MOST) for name, timing in timings.items()))


def _one_by_one(table: PageTable) -> bytes:
    return b"".join(table.memory.read_u64(table.pa + 8 * index).to_bytes(8, "little") for index in range(512))
