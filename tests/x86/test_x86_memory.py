"""Physical memory: bytes in frames, and table runs that must be indistinguishable from bytes."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efimm.linux.tables import TableArea
from efimm.x86.memory import PhysMemory, TableRun

PAGE = 4096
LAST = (1 << 52) - PAGE


def eager(run):
    """The run's pages entry by entry, as its definition says, without any of its methods."""
    size = run.entry_bytes
    entries = (
        run.first + (g - run.low) * run.step if run.low <= g < run.high else 0 for g in range(run.count * PAGE // size)
    )
    return b"".join(entry.to_bytes(size, "little") for entry in entries)


@st.composite
def runs(draw):
    size = draw(st.sampled_from([8, 8, 4]))
    count = draw(st.integers(1, 4))
    places = count * PAGE // size
    low = draw(st.integers(0, places))
    high = draw(st.integers(low, places))
    step = draw(st.sampled_from([0, 1, 0x1000, 0x4000_0000 if size == 8 else 0x8000]))
    first = draw(st.integers(0, (1 << 8 * size) - 1 - step * max(high - low, 1)))
    return TableRun(draw(st.integers(0, (1 << 40) - count)), count, low, high, first, step, size)


def test_memory_that_was_never_written_is_zero_and_costs_nothing():
    memory = PhysMemory()

    assert bytes(3 * PAGE) == memory.read((1 << 51) + 5, 3 * PAGE)
    assert memory.read_u64(LAST) == 0
    assert memory.frames_in_use == 0


def test_a_write_takes_one_frame_for_each_page_it_touches_and_no_other():
    memory = PhysMemory()
    memory.write(2 * PAGE - 1, b"ab")
    memory.write(LAST, b"z")

    assert memory.frames_in_use == 3
    assert b"\0ab\0" == memory.read(2 * PAGE - 2, 4)
    assert b"a" + bytes(1) != memory.read(2 * PAGE - 1, 2)


def test_an_empty_write_takes_no_frame():
    memory = PhysMemory()
    memory.write(PAGE, b"")

    assert memory.frames_in_use == 0
    assert memory.read(PAGE, 0) == b""


@pytest.mark.parametrize(("pa", "size"), [(-1, 1), (1 << 52, 1), ((1 << 52) - 4, 5), (-8, 8)])
def test_an_address_outside_52_bits_is_refused_and_nothing_is_stored(pa, size):
    memory = PhysMemory()
    with pytest.raises(ValueError, match="52 bits"):
        memory.read(pa, size)
    with pytest.raises(ValueError, match="52 bits"):
        memory.write(pa, bytes(size))

    assert memory.frames_in_use == 0


def test_the_last_byte_of_52_bits_can_be_written():
    memory = PhysMemory()
    memory.write((1 << 52) - 1, b"\x7f")

    assert 0x7F << 56 == memory.read_u64((1 << 52) - 8)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 5 * PAGE), st.binary(min_size=1, max_size=2 * PAGE)), max_size=6))
def test_memory_is_one_long_row_of_bytes(writes):
    base = 0x12_3456_7000
    memory, flat = PhysMemory(), bytearray(8 * PAGE)
    for at, data in writes:
        memory.write(base + at, data)
        flat[at : at + len(data)] = data

    assert bytes(flat) == memory.read(base, len(flat))


def test_words_are_little_endian():
    memory = PhysMemory()
    memory.write_u64(0x1008, 0x1122_3344_5566_7788)

    assert bytes.fromhex("8877665544332211") == memory.read(0x1008, 8)
    memory.write(0x1008, bytes(range(8)))
    assert 0x0706_0504_0302_0100 == memory.read_u64(0x1008)


@settings(max_examples=150)
@given(runs(), st.data())
def test_a_table_run_reads_like_its_bytes(run, data):
    memory = PhysMemory()
    memory.add_tables([run])
    expected, base = eager(run), run.first_pfn * PAGE
    start = data.draw(st.integers(0, len(expected) - 1))
    end = data.draw(st.integers(start, len(expected)))

    assert expected == memory.read(base, len(expected))
    assert expected[start:end] == memory.read(base + start, end - start)
    aligned = start & ~7
    assert int.from_bytes(expected[aligned : aligned + 8], "little") == memory.read_u64(base + aligned)
    assert memory.frames_in_use == 0, "reading must not turn a run into bytes"


@settings(max_examples=100)
@given(runs(), st.data())
def test_a_write_turns_one_run_page_into_bytes_and_leaves_the_others(run, data):
    memory = PhysMemory()
    memory.add_tables([run])
    expected, base = bytearray(eager(run)), run.first_pfn * PAGE
    at = data.draw(st.integers(0, len(expected) - 8)) & ~7
    memory.write_u64(base + at, 0xDEAD_BEEF_0000_0001)
    expected[at : at + 8] = (0xDEAD_BEEF_0000_0001).to_bytes(8, "little")

    assert memory.frames_in_use == 1
    assert bytes(expected) == memory.read(base, len(expected))
    written = run.first_pfn + at // PAGE
    pages = range(run.first_pfn, run.first_pfn + run.count)
    assert [None if pfn == written else run for pfn in pages] == [memory.run_at(pfn) for pfn in pages]


def test_a_run_ends_where_it_ends_whatever_order_runs_were_added_in():
    shuffled = [TableRun(10 * k + 5, 3, 0, 3 * 512, (k << 30) | 1, 0x1000) for k in range(50)]
    random.Random(1).shuffle(shuffled)
    memory = PhysMemory()
    for run in shuffled:
        memory.add_tables([run])

    for k in range(50):
        first = 10 * k + 5
        assert [0, (k << 30) | 1] == [memory.read_u64((first - 1) * PAGE), memory.read_u64(first * PAGE)]
        assert [(k << 30 | 1) + 1535 * 0x1000, 0] == [memory.read_u64((first + 3) * PAGE + d) for d in (-8, 0)]


def test_a_read_may_cross_from_bytes_into_a_run_and_out_again():
    memory = PhysMemory()
    memory.write(2 * PAGE - 4, b"head")
    memory.add_tables([TableRun(2, 1, 0, 512, 0x0101_0101_0101_0101, 0)])
    memory.write(3 * PAGE, b"tail")

    assert b"head" + b"\1" * PAGE + b"tail" == memory.read(2 * PAGE - 4, PAGE + 8)
    assert memory.frames_in_use == 2


@settings(max_examples=60)
@given(st.data())
def test_tables_that_are_replaced_by_a_run_read_like_bytes_written_over_bytes(data):
    """Six tables of an area with a hole, another six as a run; a mirror of plain bytes is changed alongside."""
    area = TableArea(0x100, 6, [(10, 13), (20, 23)], [(10 << 9, 11 << 9, 0x1003, 0x1000), (5700, 6656, 0x83, 0x200000),
                                                      (10300, 11000, 0x7003, 0x1000)])  # fmt: skip
    memory = PhysMemory()
    memory.add_tables([area, TableRun(0x106, 6, 100, 3000, 0x8000_0000_0000_0001, 0x1000)])
    mirror = bytearray(memory.read(0x100 * PAGE, 12 * PAGE))
    written = set()
    for _ in range(data.draw(st.integers(1, 8))):
        page = data.draw(st.integers(0, 11))
        count = data.draw(st.integers(1, 12 - page))
        if written & set(range(page, page + count)):
            memory.write_u64((0x100 + page) * PAGE + 8, count)
            mirror[page * PAGE + 8 : page * PAGE + 16] = count.to_bytes(8, "little")
            written.add(page)
            continue
        run = TableRun(0x100 + page, count, 0, count * 512, 0x4000_0000_0063 + page, 0x1000)
        memory.replace_tables(run)
        mirror[page * PAGE : (page + count) * PAGE] = eager(run)
        if data.draw(st.booleans()):
            memory.write_u64((0x100 + page) * PAGE, 1)
            mirror[page * PAGE : page * PAGE + 8] = (1).to_bytes(8, "little")
            written.add(page)

        assert bytes(mirror) == memory.read(0x100 * PAGE, 12 * PAGE)
        words = [int.from_bytes(mirror[at : at + 8], "little") for at in range(0, len(mirror), 4000)]
        assert words == [memory.read_u64(0x100 * PAGE + at) for at in range(0, len(mirror), 4000)]
        for pfn in range(0x100, 0x10C):
            found = memory.run_from(pfn)
            if found is not None:
                at = (pfn - 0x100) * PAGE
                assert eager(found) == bytes(mirror[at : at + found.count * PAGE])
