"""The walk, bit by bit as SDM volume 3A chapter 4 has it; page tables as acts; and taking acts back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efimm.trace import Enter, EntryWrite, Leave, Printk, Trace, rewind
from efimm.x86 import LONG4, PageTable, PhysMemory, Walk, walk

ROOT, PUD, PMD, PTE = 0x1000, 0x2000, 0x3000, 0x4000
TABLE = 0x67
VA = (5 << 39) | (6 << 30) | (7 << 21) | (8 << 12) | 0x9AB
NX = 1 << 63
GIB, MIB2 = 1 << 30, 1 << 21


@pytest.fixture
def memory():
    return PhysMemory()


def look(memory, va=VA, **cpu):
    """(physical address, problem, level at which the walk ended)."""
    found = walk(memory, ROOT, va, **cpu)
    return found.pa, found.problem, found.steps[-1].level.name if found.steps else ""


# translations


def test_a_4_kib_page_is_found_through_four_levels(memory, chain):
    chain(memory, VA, PUD | TABLE, PMD | TABLE, PTE | TABLE, 0xABC_DEF0_1000 | 0x63)
    found = walk(memory, ROOT, VA)

    assert 0xABC_DEF0_19AB == found.pa
    assert [("pgd", 0x1000, 5), ("pud", 0x2000, 6), ("pmd", 0x3000, 7), ("pte", 0x4000, 8)] == [
        (step.level.name, step.table, step.index) for step in found.steps
    ]
    assert [0x2067, 0x3067, 0x4067, 0xABC_DEF0_1063] == [step.entry for step in found.steps]
    assert found.page_size == 4096


def test_a_2_mib_page_takes_21_bits_of_the_address(memory, chain):
    chain(memory, VA, PUD | TABLE, PMD | TABLE, 0x80_0020_0000 | 0xE3)

    assert (0x80_0020_0000 + (8 << 12) + 0x9AB, "", "pmd") == look(memory)
    assert MIB2 == walk(memory, ROOT, VA).page_size


def test_a_1_gib_page_takes_30_bits_of_the_address(memory, chain):
    chain(memory, VA, PUD | TABLE, 0x80_4000_0000 | 0xE3)

    assert (0x80_4000_0000 + (7 << 21) + (8 << 12) + 0x9AB, "", "pud") == look(memory)
    assert GIB == walk(memory, ROOT, VA).page_size


def test_bit_7_of_a_4_kib_page_is_pat_and_no_size(memory, chain):
    chain(memory, VA, PUD | TABLE, PMD | TABLE, PTE | TABLE, 0x5000 | 0xE3)

    assert (0x59AB, "", "pte") == look(memory)


@pytest.mark.parametrize("va", [0, 0x7FFF_FFFF_FFFF, 0xFFFF_8000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF])
def test_each_index_is_nine_bits_at_both_ends_of_the_halves(memory, chain, va):
    chain(memory, va, PUD | TABLE, PMD | TABLE, PTE | TABLE, 0x7000 | 1)

    assert (0x7000 + (va & 0xFFF), "", "pte") == look(memory, va)
    edge = 511 if va & 1 else 0
    assert [edge, edge, edge] == [step.index for step in walk(memory, ROOT, va).steps[1:]]


@pytest.mark.parametrize("bits", [0x18, 0xFFF, 0xFFF0_0000_0000_0018])
def test_the_low_and_high_bits_of_cr3_are_no_address(memory, chain, bits):
    chain(memory, VA, PUD | TABLE, 0xE3)

    assert walk(memory, ROOT, VA).pa == walk(memory, ROOT | bits, VA).pa is not None


# addresses that are none


@pytest.mark.parametrize(
    "va",
    [
        0x8000_0000_0000,
        0xFFFF_7FFF_FFFF_FFFF,
        0x0001_0000_0000_0000,
        0x7FFF_8000_0000_0000,
        0xFFFE_8000_0000_0000,
        1 << 63,
    ],
)
def test_an_address_that_is_not_canonical_reads_no_table(memory, chain, va):
    chain(memory, va, PUD | TABLE, PMD | TABLE, PTE | TABLE, 0x7000 | 0x67)
    found = walk(memory, ROOT, va)

    assert (None, "not canonical", (), None, 0) == (found.pa, found.problem, found.steps, found.last, found.page_size)


def test_an_address_beyond_64_bits_is_not_canonical():
    assert [False, False] == [LONG4.is_canonical(va) for va in (1 << 64, -1)]


# what a clear P bit hides, and what a set one does not


@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("garbage", [0, 2, NX, 0x000F_FFFF_FFFF_F000, (1 << 64) - 2, 0x80, 0xFFFF_F000 | 0x80])
def test_not_present_hides_every_other_bit(memory, chain, depth, garbage):
    tables = [PUD | TABLE, PMD | TABLE, PTE | TABLE]
    chain(memory, VA, *tables[:depth], garbage)

    expected = None, "not present", ("pgd", "pud", "pmd", "pte")[depth]
    assert expected == look(memory) == look(memory, maxphyaddr=36, nxe=False)


LEAVES = {"pgd": None, "pud": 0x8000_0000 | 0xE3, "pmd": 0x20_0000 | 0xE3, "pte": 0x5000 | 0x63}


def with_bit(level, bit, leaf):
    """A walk that ends in a page, with `bit` added to the entry of `level`, which is a page itself or a table."""
    names = ["pgd", "pud", "pmd", "pte"]
    entries = [PUD | TABLE, PMD | TABLE, PTE | TABLE, 0x5000 | 0x63]
    depth = names.index(level)
    if leaf:
        entries[depth:] = [LEAVES[level] or 0]
    entries[depth] |= 1 << bit
    return entries


PLACES = [("pgd", False), ("pud", False), ("pmd", False), ("pud", True), ("pmd", True), ("pte", True)]


@pytest.mark.parametrize(("level", "leaf"), PLACES)
@pytest.mark.parametrize("maxphyaddr", [36, 40, 46, 52])
def test_address_bits_above_maxphyaddr_are_reserved_at_every_level(chain, level, leaf, maxphyaddr):
    for bit in range(34, 52):
        memory = PhysMemory()
        chain(memory, VA, *with_bit(level, bit, leaf))
        found = walk(memory, ROOT, VA, maxphyaddr=maxphyaddr)
        is_reserved = bit >= maxphyaddr

        assert is_reserved == (found.problem == "reserved bit"), bit
        if is_reserved:
            assert (level, None) == (found.steps[-1].level.name, found.pa)


@pytest.mark.parametrize(("level", "leaf"), PLACES)
def test_bits_52_to_62_are_ignored_at_every_level(chain, level, leaf):
    plain = PhysMemory()
    entries = with_bit(level, 0, leaf)
    chain(plain, VA, *entries)
    for bit in (9, 10, 11, *range(52, 63)):
        memory = PhysMemory()
        chain(memory, VA, *with_bit(level, bit, leaf))

        assert look(plain) == look(memory, maxphyaddr=40, nxe=False), bit


@pytest.mark.parametrize(("level", "leaf"), PLACES)
def test_nx_is_a_right_with_nxe_and_a_reserved_bit_without(memory, chain, level, leaf):
    chain(memory, VA, *with_bit(level, 63, leaf))

    with_nxe = walk(memory, ROOT, VA, nxe=True)
    assert ("", False) == (with_nxe.problem, with_nxe.executable)
    assert (None, "reserved bit", level) == look(memory, nxe=False)


def test_ps_is_reserved_in_the_top_level(memory, chain):
    chain(memory, VA, PUD | TABLE | 0x80, PMD | TABLE, PTE | TABLE, 0x5000 | 0x63)

    assert (None, "reserved bit", "pgd") == look(memory)


@pytest.mark.parametrize(("level", "first_free"), [("pud", 30), ("pmd", 21)])
def test_address_bits_inside_a_large_page_are_reserved_but_for_pat(chain, level, first_free):
    for bit in range(12, 34):
        memory = PhysMemory()
        chain(memory, VA, *with_bit(level, bit, leaf=True))
        expected = "reserved bit" if 13 <= bit < first_free else ""

        assert expected == walk(memory, ROOT, VA).problem, bit


@pytest.mark.parametrize(("level", "page"), [("pud", GIB), ("pmd", MIB2)])
def test_pat_of_a_large_page_is_no_part_of_its_address(memory, chain, level, page):
    entries = with_bit(level, 12, leaf=True)
    chain(memory, VA, *entries)
    base = entries[-1] & 0x000F_FFFF_FFFF_0000

    assert base + VA % page == walk(memory, ROOT, VA).pa


def test_an_upper_levels_reserved_bit_is_met_before_a_hole_below(memory, chain):
    chain(memory, VA, PUD | TABLE, PMD | TABLE | 1 << 51, 0)

    assert (None, "reserved bit", "pud") == look(memory, maxphyaddr=46)
    assert (None, "not present", "pmd") == look(memory_with_hole(chain), maxphyaddr=46)


def memory_with_hole(chain):
    memory = PhysMemory()
    chain(memory, VA, PUD | TABLE, PMD | TABLE, 0x000F_FFFF_FFFF_F080)
    return memory


# rights


@settings(max_examples=300)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=4, max_size=4))
def test_rights_are_taken_over_all_levels(levels):
    memory = PhysMemory()
    for (rw, us, nx), table, index, target in zip(
        levels, (ROOT, PUD, PMD, PTE), (5, 6, 7, 8), (PUD, PMD, PTE, 0x5000), strict=True
    ):
        entry = target | 1 | rw * 2 | us * 4 | nx * NX
        memory.write(table + 8 * index, entry.to_bytes(8, "little"))
    found = walk(memory, ROOT, VA)

    assert found.pa == 0x59AB
    assert all(rw for rw, _, _ in levels) == found.writable
    assert all(us for _, us, _ in levels) == found.user
    assert (not any(nx for _, _, nx in levels)) == found.executable


def test_a_walk_is_silent_and_total(memory, chain):
    places = chain(memory, VA, PUD | 1, PMD | 1, PTE | 1, 0x5000 | 1)
    before = [memory.read(place, 8) for place in places]
    frames = memory.frames_in_use
    for va in (VA, 0, 1 << 63, 0xFFFF_FFFF_FFFF_FFFF, VA + (1 << 39)):
        assert isinstance(walk(memory, ROOT, va), Walk)

    assert before == [memory.read(place, 8) for place in places]
    assert frames == memory.frames_in_use


def test_a_table_that_points_at_itself_is_walked_four_times(memory):
    memory.write_u64(ROOT + 8 * 511, ROOT | 0x63)
    top = (1 << 64) - 4096

    assert (ROOT, [ROOT] * 4) == (walk(memory, ROOT, top).pa, [s.table for s in walk(memory, ROOT, top).steps])


# tables as acts


def test_writing_an_entry_is_one_event_with_the_old_and_the_new_value(memory):
    trace = Trace()
    table = PageTable(memory, ROOT, "some table", trace)
    table[272] = 0x1196063
    table[272] = 0
    table[272] = 0

    assert [
        EntryWrite("some table", 272, 0, 0x1196063),
        EntryWrite("some table", 272, 0x1196063, 0),
        EntryWrite("some table", 272, 0, 0),
    ] == trace.events


def test_an_entry_goes_to_its_eight_bytes_and_no_others(memory):
    table = PageTable(memory, ROOT, "t", Trace())
    memory.write(ROOT, b"\xff" * 4096)
    table[511] = 0x0102_0304_0506_0708

    assert b"\xff" * 4088 + bytes([8, 7, 6, 5, 4, 3, 2, 1]) == memory.read(ROOT, 4096)
    assert bytes(4096) == memory.read(ROOT + 4096, 4096)


def test_filling_is_one_event_and_an_arithmetic_progression_of_bytes(memory):
    trace = Trace()
    table = PageTable(memory, ROOT, "t", trace)
    table[4] = 0x77
    table.fill(4, 508, 0x8000_0001_0000_01E3, GIB)

    assert [EntryWrite("t", 4, 0x77, 0x8000_0001_0000_01E3, 508, GIB)] == trace.events[1:]
    expected = [0x8000_0001_0000_01E3 + k * GIB for k in range(508)]
    assert [0] * 4 + expected == [int(entry) for entry in table]


def test_reading_a_table_is_silent(memory):
    trace = Trace()
    table = PageTable(memory, ROOT, "t", trace)
    table[3] = 0x5063
    trace.events.clear()

    assert (0x5063, {3: 0x5063}, 512, 512) == (table[3], table.slots(), len(list(table)), len(table))
    assert [] == trace.events


@pytest.mark.parametrize("index", [-1, 512, 1 << 40])
def test_an_index_outside_the_table_is_an_error_and_no_event(memory, index):
    trace = Trace()
    table = PageTable(memory, ROOT, "t", trace)
    with pytest.raises(IndexError, match="0 to 511"):
        table[index] = 1
    with pytest.raises(IndexError, match="0 to 511"):
        table[index]

    assert [] == trace.events


def test_filling_beyond_the_end_of_the_table_is_an_error(memory):
    with pytest.raises(IndexError):
        PageTable(memory, ROOT, "t", Trace()).fill(510, 4, 7, 0)

    assert bytes(16) == memory.read(ROOT + 4096, 16)


def test_an_entry_says_what_it_means():
    memory = PhysMemory()
    table = PageTable(memory, ROOT, "t", Trace())
    table[0] = 0x8000_0080_0000_01E3
    table[1] = 0x8000_0080_0000_01E2

    assert (True, 0x80_0000_0000, "P RW A D PS G NX") == (table[0].present, table[0].address, table[0].flags)
    assert (False, "not present") == (table[1].present, str(table[1])[-11:])


# the past


@settings(max_examples=150)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), max_size=30), st.integers(0, 30))
def test_rewinding_gives_the_table_as_it_was(writes, moment):
    memory, trace = PhysMemory(), Trace()
    tables = [PageTable(memory, pa, name, trace) for pa, name in ((ROOT, "one"), (PUD, "two"))]
    snapshot = {}
    seen = 0
    for count, (which, index, value) in enumerate(writes):
        if count == moment:
            snapshot, seen = tables[0].slots(), len(trace.events)
        tables[which][index] = value
        trace.printk("noise")
    if moment >= len(writes):
        snapshot, seen = tables[0].slots(), len(trace.events)

    now = tables[0].slots()
    assert snapshot == rewind("one", now, trace.events[seen:])
    assert tables[0].slots() == now, "rewinding computes; it changes nothing"


def test_rewinding_to_power_on_gives_an_empty_table(memory):
    trace = Trace()
    table = PageTable(memory, ROOT, "t", trace)
    for index, value in ((0, 1), (272, 5), (0, 2), (272, 0), (0, 3)):
        table[index] = value

    assert {} == rewind("t", table.slots(), iter(trace.events))
    assert {0: 2, 272: 5} == rewind("t", table.slots(), trace.events[3:])


def test_a_step_that_an_exception_cuts_short_is_never_left():
    trace = Trace()
    with pytest.raises(ZeroDivisionError), trace.span("kernel", "outer"), trace.span("firmware", "inner"):
        raise ZeroDivisionError

    assert [Enter("kernel", "outer"), Enter("firmware", "inner")] == trace.events


def test_steps_that_end_are_left_from_the_inside_out():
    trace = Trace()
    with trace.span("a", "1"), trace.span("b", "2"):
        trace.printk("x")

    assert [Enter("a", "1"), Enter("b", "2"), Printk("x"), Leave("b", "2"), Leave("a", "1")] == trace.events


def test_a_record_is_kept_even_when_its_block_raises():
    trace = Trace()
    trace.printk("before")

    def break_off():
        trace.printk("inside")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), trace.record() as story:
        break_off()
    trace.printk("after")

    assert [Printk("inside")] == story
    assert ["before", "inside", "after"] == trace.console
