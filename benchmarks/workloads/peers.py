"""The same addresses to everybody: efimm, its peers, and `numpy.take` of as many words, in turns in one process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from .. import subject
from ..addresses import Addresses
from ..clock import Sample, Timing, in_turns, work
from ..image import Image
from ..peers import Absent, Ready
from ..report import Row, Section, Target, at_least, at_most, relative
from .contest import Contest
from .plan import Plan

TAKE, ARRAYS, LISTS = "numpy.take", "efimm, array to array", "efimm, list to list"
_TAKE_TARGETS = {"hit": at_most(5.5), "mix": at_most(6.5)}


def take(image: Image, count: int) -> Sample:
    """The yardstick: `count` words at random places of the table pages, which lie in one array for this."""
    words = image.words[image.pfns].ravel()
    places = np.random.default_rng(3).integers(0, len(words), count)
    return work(lambda: words.take(places))


def sections(plan: Plan, contest: Contest) -> Iterator[Section]:
    """Hit, mix, and what faults cost."""
    best = {}
    for name, questions in (("hit", contest.hit), ("mix", contest.mix)):
        timings = in_turns(_samples(contest, questions), plan.rounds)
        title = f"{len(questions):,} addresses, {name}"
        target = _TAKE_TARGETS[name]
        yield Section(f"{title}: against numpy.take of as many words", tuple(_against_take(timings, target)))
        rows = tuple(_against_efimm(contest, timings, ARRAYS, judged=name == "hit"))
        yield Section(f"{title}: each peer (list to list) against efimm, array to array", rows)
        rows = tuple(_against_efimm(contest, timings, LISTS, judged=False))
        yield Section(f"{title}: the same times against efimm, list to list", rows)
        best[name] = timings[ARRAYS]
    yield Section("What faults cost", (relative("efimm, mix / hit", best["mix"], best["hit"], at_most(1.4)),))


def _samples(contest: Contest, questions: Addresses) -> dict[str, Sample]:
    memory, root = contest.memory, contest.image.root
    asked = questions.va.tolist()

    def ask(peer: Ready) -> Sample:
        return work(lambda: peer.translate(asked))

    return {
        TAKE: take(contest.image, len(questions)),
        ARRAYS: work(lambda: subject.arrays(memory, root, questions.va)),
        LISTS: work(lambda: subject.lists(memory, root, asked)),
    } | {f"{k}": ask(peer) for k, peer in enumerate(contest.peers) if isinstance(peer, Ready)}


def _against_take(timings: Mapping[str, Timing], target: Target) -> Iterator[Row]:
    yield Row(TAKE, timings[TAKE])
    yield relative(ARRAYS, timings[ARRAYS], timings[TAKE], target)
    yield relative(LISTS, timings[LISTS], timings[TAKE])


def _against_efimm(contest: Contest, timings: Mapping[str, Timing], base: str, *, judged: bool) -> Iterator[Row]:
    for k, peer in enumerate(contest.peers):
        if isinstance(peer, Absent):
            yield Row(peer.title, note=peer.reason)
        else:
            target = at_least(peer.peer.times) if judged else None
            yield relative(peer.title, timings[f"{k}"], timings[base], target)
