"""How much is measured: everything, or what a minute allows."""

from __future__ import annotations

from dataclasses import dataclass

from .. import image


@dataclass(frozen=True, slots=True)
class Plan:
    """The image, the number of addresses that every peer is asked, the batch sizes, and how many rounds of each."""

    rounds: int
    size: image.Size = image.FULL
    addresses: int = 100_000
    batches: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    lazy_batch: int = 1_000_000
    rams: tuple[str, ...] = ("1G", "64G", "1T", "64T")
    nodes: tuple[int, ...] = (256, 2048)
    processes: tuple[int, int] = (2_000, 10_000)


FULL = Plan(rounds=9)
QUICK = Plan(rounds=3)
