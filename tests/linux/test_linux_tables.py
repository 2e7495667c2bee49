"""New page tables for many ranges at once, against tables that are filled entry by entry."""

import random
import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efimm.linux.tables import Extent, new_tables
from efimm.x86 import PhysMemory, walk

TABLES = 0x1000_0000
PROT = 0x8000_0000_0000_0163
LINK = 0x067
KIB4, MIB2, GIB = 1 << 12, 1 << 21, 1 << 30


def build(extents, start, end):
    """The tables as the kernel makes them, and how many pages they take."""
    memory = PhysMemory()
    taken = 0

    def alloc(count):
        nonlocal taken
        taken += count
        return TABLES + (taken - count) * KIB4

    first = new_tables(memory, alloc, 1, extents, start, end)
    assert first == TABLES
    return memory, taken


def eager(extents, start, end):
    """The same tables, each filled by itself: first all that lead to PMD tables, then those, then the PTE tables."""
    shift = extents[0].leaf_shift
    numbers = {30: list(range(start >> 39, -(-end >> 39)))}
    for level in (21, 12):
        if level >= shift:
            used = {n for e in extents for n in range(e.start >> level + 9, (e.end - 1 >> level + 9) + 1)}
            numbers[level] = sorted(used)
    pages = [(level, number) for level, used in numbers.items() for number in used]
    place = {page: TABLES + k * KIB4 for k, page in enumerate(pages)}
    words = {pa: [0] * 512 for pa in place.values()}
    for level, number in pages[len(numbers[30]) :]:
        words[place[level + 9, number >> 9]][number & 511] = place[level, number] | LINK
    for extent in extents:
        for table in range(extent.start >> shift + 9, (extent.end - 1 >> shift + 9) + 1):
            low, high = max(extent.start, table << shift + 9), min(extent.end, table + 1 << shift + 9)
            entries = range(extent.pa + low - extent.start, extent.pa + high - extent.start, 1 << shift)
            index, flags = low >> shift & 511, PROT | (0x80 if shift > 12 else 0)
            words[place[shift, table]][index : index + len(entries)] = [pa | flags for pa in entries]
    return words


def same_bytes(extents, start, end):
    memory, taken = build(extents, start, end)
    expected = eager(extents, start, end)
    assert len(expected) == taken
    for pa, words in expected.items():
        assert struct.pack("<512Q", *words) == memory.read(pa, KIB4), hex(pa)
    return taken


@st.composite
def ranges(draw):
    shift = draw(st.sampled_from([12, 21, 30]))
    start = draw(st.integers(0, 600))
    cuts = sorted(draw(st.sets(st.integers(start, start + 2000), min_size=2, max_size=12)))
    extents = [
        Extent(low << shift, high << shift, (low << shift) + draw(st.sampled_from([0, GIB])), PROT, shift)
        for low, high in pairwise(cuts)
        if draw(st.booleans())
    ]
    return extents, start << shift, (start + 2001) << shift


@given(ranges())
@settings(max_examples=60)
def test_the_bytes_are_those_of_an_eager_build(case):
    extents, start, end = case
    if extents:
        same_bytes(extents, start, end)


@pytest.mark.parametrize(("shift", "ram"), [(12, 3 * GIB), (21, 700 * GIB), (30, 3000 * GIB)])
def test_one_range_is_a_handful_of_runs(shift, ram):
    extents = [Extent(0, ram, 0, PROT, shift)]
    taken = same_bytes(extents, 0, ram)
    memory, _ = build(extents, 0, ram)
    assert memory.frames_in_use == 0
    assert len(memory.lazy_tables) == {12: 3, 21: 2, 30: 1}[shift]
    assert taken > len(memory.lazy_tables) or shift == 30


def test_ranges_that_meet_in_a_table_and_go_on_over_several():
    for shift in (12, 21):
        cuts = [3, 500, 700, 512 * 5 + 1, 512 * 5 + 2, 512 * 9, 512 * 12, 512 * 12 + 7]
        extents = [Extent(a << shift, b << shift, (a << shift) + GIB, PROT, shift) for a, b in pairwise(cuts)]
        for chosen in (extents, extents[::2], extents[1::2]):
            same_bytes(chosen, 0, 512 * 13 << shift)


@pytest.mark.nightly
def test_2048_nodes_of_a_large_machine_every_page():
    # An SGI UV has its RAM in nodes with holes between them: here 2,048 nodes of 28 to 31 GiB, 64 TiB of addresses.
    rng = random.Random(2012)
    nodes = [(k * 32 * GIB, k * 32 * GIB + rng.randint(28, 31) * GIB) for k in range(2048)]
    for shift in (21, 30):
        same_bytes([Extent(a, b, a, PROT, shift) for a, b in nodes], 0, 64 << 40)


def test_small_pages_of_a_large_machine_where_they_can_be_looked_at():
    # 64 TiB by 4 KiB pages are 128 GiB of tables: none becomes bytes, and a walk finds every page.
    memory, taken = build([Extent(0, 64 << 40, 0, PROT, 12)], 0, 64 << 40)
    assert taken == 128 + (128 << 9) + (128 << 18)
    memory.write_u64(0x5000, TABLES | LINK)  # a top-level table of one entry, whose slot the walk starts in
    rng = random.Random(64)
    for va in [0, (1 << 39) - 1, *(rng.randrange(1 << 39) for _ in range(200))]:
        assert va == walk(memory, 0x5000, va).pa
    assert memory.frames_in_use == 1
