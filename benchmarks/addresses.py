"""The addresses that are asked for, and what the mapping list says about each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .image import I64, LOW_48, SHIFTS, U64, Leaves

SHARES = {12: 0.60, 21: 0.25, 30: 0.15}  # of the hits, by page size
FAULTS = 0.20  # of `mix`, the same number at each level


@dataclass(frozen=True, slots=True)
class Addresses:
    """Virtual addresses, and what is right for each.

    `fault_shift` is 0 where the address is mapped, to `pa`; else it is the shift of the level whose entry is missing.
    """

    va: U64
    pa: U64
    fault_shift: I64

    def __len__(self) -> int:
        return len(self.va)

    def wrong(self, pas: U64, mapped: NDArray[np.bool_]) -> int:
        """How many answers are wrong: a physical address, or whether there is one."""
        right = mapped == (self.fault_shift == 0)
        return int(np.count_nonzero(~(right & ((pas == self.pa) | ~mapped))))

    def wrong_in(self, answers: list[int | None]) -> int:
        """The same for a list with None where there is no translation."""
        mapped = np.array([answer is not None for answer in answers])
        return self.wrong(np.array([answer or 0 for answer in answers], np.uint64), mapped)


def hit(leaves: Leaves, count: int, seed: int = 1) -> Addresses:
    """`count` addresses that are mapped, by SHARES, in random order."""
    rng = np.random.default_rng(seed)
    return _shuffled(_hits(leaves, count, rng), rng)


def mix(leaves: Leaves, count: int, seed: int = 2) -> Addresses:
    """`count` addresses of which FAULTS are not mapped, an equal number ending at each level."""
    rng = np.random.default_rng(seed)
    each = int(count * FAULTS) // len(SHIFTS)
    parts = [_hits(leaves, count - each * len(SHIFTS), rng), *(_misses(leaves, s, each, rng) for s in SHIFTS)]
    return _shuffled(_joined(parts), rng)


def _hits(leaves: Leaves, count: int, rng: np.random.Generator) -> Addresses:
    wanted = rng.choice(list(SHARES), count, p=list(SHARES.values()))
    chosen = np.empty(count, np.int64)
    for shift in SHARES:
        places = np.flatnonzero(wanted == shift)
        chosen[places] = rng.choice(np.flatnonzero(leaves.shift == shift), len(places))
    offset = rng.integers(0, 1 << 30, count, np.uint64) & (np.uint64(1) << wanted.astype(np.uint64)) - np.uint64(1)
    return Addresses(_canonical(leaves.va[chosen] + offset), leaves.pa[chosen] + offset, np.zeros(count, np.int64))


def _misses(leaves: Leaves, shift: int, count: int, rng: np.random.Generator) -> Addresses:
    """Addresses whose walk reaches the level of `shift`, and finds nothing there that the mapping list put there."""
    present = np.unique(leaves.va[leaves.shift <= shift] >> np.uint64(shift))
    tables = np.unique(present >> np.uint64(9))
    found: U64 = np.empty(0, np.uint64)
    while len(found) < count:
        entries = rng.choice(tables, 2 * count) << np.uint64(9) | rng.integers(0, 512, 2 * count, np.uint64)
        known = present[np.minimum(np.searchsorted(present, entries), len(present) - 1)] == entries
        found = np.concatenate([found, entries[~known]])
    va = found[:count] << np.uint64(shift) | rng.integers(0, 1 << shift, count, np.uint64)
    return Addresses(_canonical(va), np.zeros(count, np.uint64), np.full(count, shift))


def _canonical(va: U64) -> U64:
    return np.where(va >> np.uint64(47), va | ~np.uint64(LOW_48), va)


def _joined(parts: list[Addresses]) -> Addresses:
    return Addresses(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("va", "pa", "fault_shift")))


def _shuffled(addresses: Addresses, rng: np.random.Generator) -> Addresses:
    order = rng.permutation(len(addresses))
    return Addresses(addresses.va[order], addresses.pa[order], addresses.fault_shift[order])
