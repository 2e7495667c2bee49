"""The image, the addresses, and all who are asked: whoever gives a wrong answer is not timed."""

from __future__ import annotations

from dataclasses import dataclass
from time import process_time

from efimm.x86 import PhysMemory

from .. import addresses, subject
from ..addresses import Addresses
from ..image import Image
from ..peers import PEERS, Absent, Peer, Ready, start
from ..report import Row, Section, duration
from .plan import Plan


class WrongError(Exception):
    """efimm gave a wrong answer: there is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Contest:
    """Who takes part: efimm with its memory, and the peers that could be started and were right."""

    image: Image
    hit: Addresses
    mix: Addresses
    memory: PhysMemory
    setup: float
    peers: tuple[Ready | Absent, ...]

    @classmethod
    def of(cls, image: Image, plan: Plan) -> Contest:
        """Everybody given `image`, and asked all addresses once; raises WrongError where efimm is wrong."""
        hit, mix = addresses.hit(image.leaves, plan.addresses), addresses.mix(image.leaves, plan.addresses)
        began = process_time()
        memory = subject.load(image)
        setup = process_time() - began
        for questions in (hit, mix):
            check(memory, image.root, questions)
            check_lists(memory, image.root, questions)
        return cls(image, hit, mix, memory, setup, tuple(_examined(peer, image, (hit, mix)) for peer in PEERS))

    def who_is_right(self) -> Section:
        """Set-up time and correctness of each."""
        image, count = self.image, len(self.hit)
        sizes = ", ".join(
            f"{int((image.leaves.shift == s).sum()):,} {n}" for s, n in ((12, "4K"), (21, "2M"), (30, "1G"))
        )
        rows = [
            Row("the image", note=f"{len(image.memory) >> 20} MiB, {len(image.pfns):,} tables; {sizes} pages"),
            Row("efimm", note=f"0 wrong, set-up {duration(self.setup)}: x86.batch.translate"),
        ]
        for peer in self.peers:
            if isinstance(peer, Absent):
                rows.append(Row(peer.title, note=peer.reason))
            else:
                rows.append(Row(peer.title, note=f"0 wrong, set-up {duration(peer.setup)}: {peer.peer.how}"))
        return Section(
            f"Who is right: {count:,} mapped addresses (hit), and {count:,} with 20 % faults (mix)", tuple(rows)
        )


def check(memory: PhysMemory, root: int, questions: Addresses) -> None:
    """Raise WrongError unless efimm answers all `questions` right, given as an array."""
    _complain(questions.wrong(*subject.arrays(memory, root, questions.va)), questions)


def check_lists(memory: PhysMemory, root: int, questions: Addresses) -> None:
    """Raise WrongError unless efimm answers all `questions` right, given as a list."""
    _complain(questions.wrong_in(subject.lists(memory, root, questions.va.tolist())), questions)


def _complain(wrong: int, questions: Addresses) -> None:
    if wrong:
        raise WrongError(f"efimm: {wrong:,} of {len(questions):,} translations are wrong; nothing is measured")


def _examined(peer: Peer, image: Image, asked: tuple[Addresses, ...]) -> Ready | Absent:
    """The peer, started and right about all that is asked; else why not."""
    ready = start(peer, image)
    if isinstance(ready, Absent):
        return ready
    try:
        wrong = sum(questions.wrong_in(ready.translate(questions.va.tolist())) for questions in asked)
    except Exception as error:  # as in `start`: whatever it raises is the reason
        return Absent(peer, f"{type(error).__name__}: {error}")
    return Absent(peer, f"{wrong:,} of {sum(map(len, asked)):,} are wrong: not timed") if wrong else ready
