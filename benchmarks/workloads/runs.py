"""The batch walk over tables that are not stored: the direct map of a booted machine with the most RAM."""

from __future__ import annotations

import numpy as np

import efimm
from efimm.linux import Linux
from efimm.linux.layout import PAGE_OFFSET
from efimm.machines import PAGE_SIZES

from .. import subject
from ..clock import Sample, in_turns, work
from ..image import U64
from ..report import Section, at_most, relative
from .contest import WrongError
from .plan import Plan


def section(plan: Plan) -> Section:
    """Random addresses of the direct map by each page size, against numpy.take of as many words from 29 MiB."""
    words = np.arange(29 << 17, dtype=np.uint64)
    places = np.random.default_rng(3).integers(0, len(words), plan.lazy_batch)
    samples: dict[str, Sample] = {"take": work(lambda: words.take(places))}
    for size in PAGE_SIZES:
        linux = efimm.boot(efimm.machine(plan.rams[-1], page_size=size), "3.5")
        samples[size] = _walk(linux, _addresses(linux, plan.lazy_batch))
    timings = in_turns(samples, plan.rounds)
    rows = tuple(relative(f"by {size} pages", timings[size], timings["take"], at_most(10)) for size in PAGE_SIZES)
    title = f"{plan.lazy_batch:,} addresses of a booted {plan.rams[-1]}: against numpy.take of as many words"
    return Section(title, rows)


def _addresses(linux: Linux, count: int) -> U64:
    """Physical addresses of RAM from 4 GiB on (or from 0, where there is less)."""
    end = linux.machine.highest_ram
    low = 4 << 30 if end > 4 << 30 else 0
    return np.random.default_rng(4).integers(low, end >> 21 << 21, count, np.uint64)


def _walk(linux: Linux, pas: U64) -> Sample:
    memory, root = linux.memory, linux.swapper_pg_dir.pa
    vas = pas + np.uint64(PAGE_OFFSET)
    found, mapped = subject.arrays(memory, root, vas)
    if not mapped.all() or not np.array_equal(found, pas):
        raise WrongError("efimm: the direct map does not lead to physical memory; nothing is measured")
    return work(lambda: subject.arrays(memory, root, vas))
