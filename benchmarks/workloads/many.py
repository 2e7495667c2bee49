"""How the batch walk grows with the number of addresses, and what its first call costs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from .. import addresses, subject
from ..clock import Sample, Timing, fresh_work, in_turns, work
from ..report import Row, Section, at_least, at_most, duration, relative
from .contest import Contest, check
from .peers import take
from .plan import Plan


def sections(plan: Plan, contest: Contest) -> Iterator[Section]:
    """Larger and larger batches; then calls for which nothing is prepared."""
    yield _growth(plan, contest)
    yield _first_calls(plan, contest)


def _growth(plan: Plan, contest: Contest) -> Section:
    counts = plan.batches
    timings = in_turns(dict(chain.from_iterable(_pair(contest, count) for count in counts)), plan.rounds)
    rows = []
    for count in counts:
        walked, taken = timings[f"efimm {count}"], timings[f"take {count}"]
        rate = f"{count / walked.best / 1e6:.1f} M/s"
        rows.append(relative(f"{count:>10,} addresses, {rate}", walked, taken, at_most(5.5)))
    few, many = (_per_address(timings[f"efimm {count}"], count) for count in (counts[0], counts[-1]))
    speeds = few.best / many.best, few.median / many.median
    rows.append(Row(f"speed at {counts[-1]:,} / {counts[0]:,}", None, *speeds, at_least(0.8)))
    return Section("Larger batches, hit: against numpy.take of as many words", tuple(rows))


def _pair(contest: Contest, count: int) -> list[tuple[str, Sample]]:
    questions = addresses.hit(contest.image.leaves, count)
    check(contest.memory, contest.image.root, questions)
    walk = work(lambda: subject.arrays(contest.memory, contest.image.root, questions.va))
    return [(f"take {count}", take(contest.image, count)), (f"efimm {count}", walk)]


def _per_address(timing: Timing, count: int) -> Timing:
    return Timing(tuple(seconds / count for seconds in timing.seconds))


def _first_calls(plan: Plan, contest: Contest) -> Section:
    image, memory, vas = contest.image, contest.memory, contest.hit.va
    at = image.root + 8 * 300
    samples = {
        "warm": work(lambda: subject.arrays(memory, image.root, vas)),
        "new": fresh_work(lambda: subject.load(image), lambda new: subject.arrays(new, image.root, vas)),
        "written": fresh_work(
            lambda: memory.write_u64(at, memory.read_u64(at)), lambda _: subject.arrays(memory, image.root, vas)
        ),
    }
    timings = in_turns(samples, plan.rounds)
    rows = (
        Row("the tables were seen before", timings["warm"]),
        relative("a memory never seen before", timings["new"], timings["warm"]),
        relative("one entry was written", timings["written"], timings["warm"]),
    )
    title = f"The first call after a change, {len(vas):,} addresses (set-up before it: {duration(contest.setup)})"
    return Section(title, rows)
