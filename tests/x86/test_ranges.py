"""What tables map, as ranges: against a walk of every page, and at a cost that does not grow with the pages."""

import random
import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import efimm
from efimm.linux.layout import PAGE_OFFSET
from efimm.x86 import LEGACY, LEGACY_4K, LONG4, LONG5, PAE, PAGING_OFF, MappedRange, PhysMemory, mapped_ranges, walk
from efimm.x86.memory import TableRun

ROOT, GIB = 0x1_0000, 1 << 30
NX = 1 << 63


def tables(rng, mode, pages):
    """A few tables in layers, each leading to the next, with entries that often continue each other."""
    memory = PhysMemory()
    size = mode.entry_bytes
    entries = 4096 // size
    per_level = [[ROOT]] + [[ROOT + (depth * pages + k + 1 << 12) for k in range(pages)] for depth in range(1, 5)]
    for depth, level in enumerate(mode.levels):
        for table in per_level[depth]:
            words, k = [0] * entries, 0
            count = 1 << level.bits
            while k < count:
                length = min(rng.choice([1, 1, 2, 7, 40]), count - k)
                flags = rng.choice([0, 1, 3, 5, 7, 7, 7]) | rng.choice([0, 0x20, 0x60]) * level.has_rights
                flags |= NX * rng.randrange(2) if size == 8 and level.has_rights else 0
                leaf = level.shift == 12 or (level.may_be_large and rng.random() < 0.3)
                large = 0x80 if leaf and level.shift > 12 else 0
                start = rng.randrange(1 << 10) * level.span if leaf else rng.choice(per_level[depth + 1])
                for j in range(length):
                    step = level.span if leaf else 0
                    words[k + j] = (start + j * step | flags | large) & (1 << 8 * size) - 1 if flags & 1 else 0
                k += length
            memory.write(table, struct.pack(f"<{entries}{'Q' if size == 8 else 'I'}", *words))
    return memory


@pytest.mark.parametrize("mode", [LEGACY, LEGACY_4K, PAE, LONG4, LONG5], ids=lambda mode: mode.name)
@given(seed=st.integers(0, 1 << 30))
@settings(max_examples=8)
def test_every_range_is_what_a_walk_finds_at_its_ends_and_holes_are_holes(mode, seed):
    rng = random.Random(seed)
    memory = tables(rng, mode, 2)
    try:
        ranges = mapped_ranges(memory, ROOT, mode, limit=100_000)
    except ValueError:
        return  # too many to hold; told in one line
    some = ranges if len(ranges) < 400 else rng.sample(ranges, 400)
    for found in some:
        for va in (found.va, found.end - 1, rng.randrange(found.va, found.end)):
            answer = walk(memory, ROOT, va, mode)
            assert answer.pa == found.pa + va - found.va
            assert (answer.writable, answer.user, answer.executable) == (found.writable, found.user, found.executable)
    for before, after in pairwise(ranges):
        assert before.end <= after.va
        if before.end < after.va and mode.is_canonical(before.end):
            assert walk(memory, ROOT, before.end, mode).pa is None
        if before.end == after.va and (before.rights == after.rights):
            assert before.pa + before.size != after.pa


@pytest.mark.parametrize("page_size", ["4K", "2M", "1G"])
@pytest.mark.parametrize("ram", ["1G", "64G", "1T", "64T"])
def test_the_direct_map_is_two_ranges_of_ram_at_any_size(ram, page_size):
    linux = efimm.boot(efimm.machine(ram, page_size=page_size), "3.5")
    ranges = mapped_ranges(linux.memory, linux.swapper_pg_dir.pa, contiguous=True, maxphyaddr=46)
    direct = [r for r in ranges if PAGE_OFFSET <= r.va < PAGE_OFFSET + (64 << 40)]
    assert all(r.pa == r.va - PAGE_OFFSET for r in direct)
    low = linux.max_low_pfn << 12
    covered = sum(r.size for r in direct)
    assert covered == low + max(0, (linux.max_pfn << 12) - 4 * GIB)
    assert direct[0].executable  # the first GiB, as the kernel image brought it
    assert not direct[-1].executable or ram == "1G"


def test_pages_of_a_run_that_became_bytes_split_and_join_again():
    linux = efimm.boot(efimm.machine("64T", page_size="4K"), "3.5")
    before = mapped_ranges(linux.memory, linux.swapper_pg_dir.pa)
    linux.cpu.write(PAGE_OFFSET + (40 << 40), b"sets accessed and dirty bits on the way")
    assert mapped_ranges(linux.memory, linux.swapper_pg_dir.pa) == before
    leaf = linux.cpu.walk(PAGE_OFFSET + (40 << 40)).last
    linux.memory.write_u64(leaf.pa, leaf.entry & ~2)
    after = mapped_ranges(linux.memory, linux.swapper_pg_dir.pa)
    assert len(after) == len(before) + 2
    read_only = MappedRange(PAGE_OFFSET + (40 << 40), 4096, 40 << 40, writable=False, user=False, executable=False)
    assert read_only in after


def test_a_table_that_leads_to_itself_is_told_in_one_line_and_in_no_time():
    memory = PhysMemory()
    memory.write(ROOT, struct.pack("<512Q", *[ROOT | 3] * 512))
    with pytest.raises(ValueError, match="more than 1048576 ranges"):
        mapped_ranges(memory, ROOT)
    [everything, upper] = mapped_ranges(memory, ROOT, contiguous=False)
    assert (everything.size, upper.va) == (1 << 47, (1 << 64) - (1 << 47))


def test_runs_whose_entries_do_not_continue_each_other():
    memory = PhysMemory()
    memory.write_u64(ROOT, 0x2_0003)
    memory.add_tables([TableRun(0x20, 1, 3, 6, 0x83, 0)])
    assert [(r.va // GIB, r.pa) for r in mapped_ranges(memory, ROOT)] == [(3, 0), (4, 0), (5, 0)]


def test_paging_off_is_one_range():
    [all_of_it] = mapped_ranges(PhysMemory(), 0, PAGING_OFF)
    assert (all_of_it.va, all_of_it.size, all_of_it.pa, all_of_it.rights) == (0, 1 << 32, 0, "rwxu")


def test_ranges_say_themselves():
    found = MappedRange(0x1000, 0x2000, 0x5000, writable=True, user=False, executable=False)
    assert str(found) == "0x0000000000001000-0x0000000000003000 -> 0x5000 rw--"


@pytest.mark.parametrize("as_run", [False, True])
def test_pages_beyond_the_last_physical_address_are_not_mapped(as_run):
    memory = PhysMemory()
    memory.write_u64(0x1000, 0x2003)
    first = (1 << 40) - (4 << 30) | 0x83
    if as_run:
        memory.add_tables([TableRun(2, 1, 0, 8, first, 1 << 30)])
    else:
        for index in range(8):
            memory.write_u64(0x2000 + 8 * index, first + (index << 30))
    found = mapped_ranges(memory, 0x1000, maxphyaddr=40)
    assert [(r.va, r.size, r.pa) for r in found] == [(0, 4 << 30, (1 << 40) - (4 << 30))]
    assert [walk(memory, 0x1000, index << 30, maxphyaddr=40).problem for index in (3, 4)] == ["", "reserved bit"]
