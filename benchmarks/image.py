"""The image that every walker is given: 256 MiB of physical memory, with page tables at random places in it.

The mapping list comes first: a direct map with a hole, a vmalloc-like area whose pages lie anywhere, and many small
user regions.  The tables are written from it, and it alone says what an address translates to.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

SEED = 2012
SHIFTS = (39, 30, 21, 12)
P, RW, US, A, D, PS, G, NX = 1, 2, 4, 1 << 5, 1 << 6, 1 << 7, 1 << 8, 1 << 63
LOW_48 = (1 << 48) - 1
PAGE_OFFSET, VMALLOC_START = 0x8800_0000_0000, 0xC900_0000_0000  # without their sign extension
GIB = 1 << 30
IGNORED = sum(1 << bit for bit in (9, 10, 11, *range(52, 59)))


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to map: whole GiBs of the direct map, GiBs of vmalloc, user regions and their pages."""

    memory: int = 256 << 20
    direct_1g: int = 88
    direct_2m: int = 3072 + 89
    vmalloc_pages: int = 1 << 20
    regions: int = 2600
    region_pages: int = 458_320

    @property
    def ram(self) -> int:
        """End of the physical addresses that are mapped; most of this RAM is not in the image, the tables all are."""
        return (self.direct_1g + 2) * GIB + (self.direct_2m << 21)


FULL = Size()
SMALL = Size(8 << 20, 4, 700, 3000, 40, 5000)


@dataclass(frozen=True, slots=True)
class Leaves:
    """The mapping list: page number k is at `va[k]` (48 bits), maps `pa[k]`, and has `1 << shift[k]` bytes."""

    va: U64
    pa: U64
    shift: I64

    def __len__(self) -> int:
        return len(self.va)


@dataclass(frozen=True, slots=True)
class Image:
    """Physical memory, as a buffer and as words by frame; where its table pages are, the first of them the root."""

    memory: mmap.mmap
    words: U64
    leaves: Leaves
    pfns: I64

    @property
    def root(self) -> int:
        """The physical address of the top-level table, the value for CR3."""
        return int(self.pfns[0]) << 12


def build(size: Size = FULL, seed: int = SEED) -> Image:
    """The image of `size`, the same one for the same `seed`."""
    rng = np.random.default_rng(seed)
    leaves = _mapping_list(size, rng)
    memory = mmap.mmap(-1, size.memory)
    words: U64 = np.frombuffer(memory, np.uint64).reshape(-1, 512)
    free = rng.permutation(len(words) - 1) + 1  # frame 0 holds no table
    return Image(memory, words, leaves, _write_tables(words, leaves, free, rng))


def _mapping_list(size: Size, rng: np.random.Generator) -> Leaves:
    parts = [*_direct_map(size), _vmalloc(size, rng), _user_regions(size, rng)]
    va, pa, shift = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(va)
    return Leaves(va[order], pa[order], shift[order])


_Columns = tuple[U64, U64, I64]


def _pages(va: U64, pa: U64, shift: int) -> _Columns:
    return va, pa, np.full(len(va), shift)


def _direct_map(size: Size) -> list[_Columns]:
    """All RAM at PAGE_OFFSET: small pages, 2 MiB pages to 1 GiB, 1 GiB pages but for a hole at 3 GiB, 2 MiB pages."""
    giants = np.delete(np.arange(1, size.direct_1g + 2), 2) * GIB
    top = (size.direct_1g + 2) * GIB
    ranges = (
        (np.arange(512) << 12, 12),
        (np.arange(1, 512) << 21, 21),
        (giants, 30),
        (top + (np.arange(size.direct_2m) << 21), 21),
    )
    return [_pages((pa + PAGE_OFFSET).astype(np.uint64), pa.astype(np.uint64), shift) for pa, shift in ranges]


def _anywhere(size: Size, count: int, rng: np.random.Generator) -> U64:
    return rng.integers(0, size.ram >> 12, count, np.uint64) << np.uint64(12)


def _vmalloc(size: Size, rng: np.random.Generator) -> _Columns:
    va = VMALLOC_START + (np.arange(size.vmalloc_pages, dtype=np.uint64) << np.uint64(12))
    return _pages(va, _anywhere(size, len(va), rng), 12)


def _user_regions(size: Size, rng: np.random.Generator) -> _Columns:
    """Regions of a few to a few hundred pages; each is alone in half a GiB, and these lie in an eighth of the slots."""
    gibs = rng.choice(32 * 512, size.regions * 11 // 13, replace=False)
    slots = rng.choice(256, 32, replace=False)
    halves = rng.choice(2 * len(gibs), size.regions, replace=False)
    gib = gibs[halves // 2]
    lengths = 1 + rng.multinomial(size.region_pages - size.regions, rng.dirichlet(np.ones(size.regions)))
    room = (GIB >> 13) - lengths
    first = (slots[gib // 512] << 27) + (gib % 512 << 18) + (halves % 2 << 17) + rng.integers(0, room)
    inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    va = (np.repeat(first, lengths) + inside).astype(np.uint64) << np.uint64(12)
    return _pages(va, _anywhere(size, len(va), rng), 12)


def _write_tables(words: U64, leaves: Leaves, free: I64, rng: np.random.Generator) -> I64:
    """Write the tables for `leaves` into frames of `free`, from the pages up; the frames used, the root's first."""
    below: U64 = np.empty(0, np.uint64)  # what the tables of the level below cover: an address without its low bits
    below_pfns: I64 = np.empty(0, np.int64)
    used: list[I64] = []
    for shift in reversed(SHIFTS):
        here = leaves.shift == shift
        pages = leaves.pa[here] | _flags(int(here.sum()), shift, rng)
        links = below_pfns.astype(np.uint64) << np.uint64(12) | np.uint64(P | RW | US | A)
        places = np.concatenate([leaves.va[here] >> np.uint64(shift), below])
        tables = np.unique(places >> np.uint64(9))
        pfns, free = free[: len(tables)], free[len(tables) :]
        rows = pfns[np.searchsorted(tables, places >> np.uint64(9))]
        words[pfns] = _not_present(len(pfns), rng)
        words[rows, places & np.uint64(511)] = np.concatenate([pages, links])
        below, below_pfns = tables, pfns
        used.insert(0, pfns)
    return np.concatenate(used)


def _flags(count: int, shift: int, rng: np.random.Generator) -> U64:
    """P and A, PS where it belongs, and at random the bits that a walk must not trip over."""
    odd = np.uint64(RW | US | D | G | NX | IGNORED)
    must = np.uint64(P | A | (PS if shift > 12 else 0))
    return rng.integers(0, 1 << 64, count, np.uint64) & odd | must


def _not_present(count: int, rng: np.random.Generator) -> U64:
    """Tables without a present entry: a quarter of the entries is not zero, as swap entries are not."""
    rubbish = rng.integers(0, 1 << 64, (count, 512), np.uint64) & ~np.uint64(P)
    return np.where(rng.random((count, 512)) < 0.25, rubbish, np.uint64(0))
