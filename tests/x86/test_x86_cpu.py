"""The processor's accesses: rights, faults and their codes, CR2, accessed and dirty bits, and what is left alone."""

import random

import pytest

from efimm.trace import Access, Fault, LoadCr3, TlbFlush, Trace
from efimm.x86 import Cpu, GeneralProtection, PageFault, PhysMemory

ROOT, PUD, PMD, PTE, PAGE = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000
VA = (300 - 512 << 39 | 6 << 30 | 7 << 21 | 8 << 12) & (1 << 64) - 1
P, RW, US, A, D, NX = 1, 2, 4, 0x20, 0x40, 1 << 63
READ, WRITE, FETCH = "read", "write", "fetch"
WP, NXE = 1 << 16, 1 << 11


@pytest.fixture
def cpu():
    cpu = Cpu(PhysMemory(), Trace())
    cpu.cr3 = ROOT
    return cpu


def access(cpu, kind, va=VA):
    """Do it; the error code of the page fault, or None when it worked."""
    try:
        if kind == READ:
            cpu.read(va, 8)
        elif kind == WRITE:
            cpu.write(va, b"modified")
        else:
            cpu.fetch(va)
    except PageFault as fault:
        return fault.error_code
    return None


def test_the_processor_starts_as_a_64_bit_kernel_sees_it():
    """CR0.PE, WP and PG; CR4.PAE; EFER.LME, LMA and NXE (SDM 3A, 4.1)."""
    cpu = Cpu(PhysMemory(), Trace())

    assert 1 | 1 << 16 | 1 << 31 == cpu.cr0
    assert cpu.cr4 & 1 << 5
    assert 0xD00 == cpu.efer & 0xD00
    assert (0, 0) == (cpu.cpl, cpu.cr2)


# rights: (bits of the leaf, CPL, access, CR0.WP) -> error code, None for no fault; all other levels allow everything

RIGHTS = [
    (0, 0, READ, True, None),
    (0, 0, WRITE, True, 0x03),
    (0, 0, WRITE, False, None),
    (0, 0, FETCH, True, None),
    (RW, 0, WRITE, True, None),
    (NX, 0, FETCH, True, 0x11),
    (NX, 0, READ, True, None),
    (NX, 0, WRITE, False, None),
    (RW, 3, READ, True, 0x05),
    (RW, 3, WRITE, True, 0x07),
    (RW, 3, FETCH, True, 0x15),
    (US, 3, READ, True, None),
    (US, 3, WRITE, True, 0x07),
    (US, 3, WRITE, False, 0x07),
    (US | RW, 3, WRITE, True, None),
    (US | RW | NX, 3, WRITE, True, None),
    (US | RW | NX, 3, FETCH, True, 0x15),
    (US, 3, FETCH, True, None),
]


@pytest.mark.parametrize(("bits", "cpl", "kind", "wp", "code"), RIGHTS)
@pytest.mark.parametrize("level", range(4))
def test_a_right_that_one_level_lacks_is_lacking(cpu, chain, level, bits, cpl, kind, wp, code):
    entries = [target | P | RW | US for target in (PUD, PMD, PTE, PAGE)]
    entries[level] = entries[level] & ~(RW | US) | bits
    chain(cpu.memory, VA, *entries)
    cpu.cpl = cpl
    cpu.cr0 = cpu.cr0 if wp else cpu.cr0 & ~WP

    assert code == access(cpu, kind)


def test_rights_agree_with_the_rule_for_random_entries_at_all_levels(chain):
    """SDM 3A, 4.6: user mode needs US everywhere; writes need RW everywhere, in the kernel only with WP; no NX."""
    rng = random.Random(20120620)
    faults = 0
    for _ in range(1500):
        cpu = Cpu(PhysMemory(), Trace())
        cpu.cr3, cpu.cpl = ROOT, rng.choice([0, 3])
        wp = rng.random() < 0.7
        cpu.cr0 = cpu.cr0 if wp else cpu.cr0 & ~WP
        flags = [sum(bit for bit in (RW, US) if rng.random() < 0.85) | (rng.random() < 0.08) * NX for _ in range(4)]
        chain(cpu.memory, VA, *(to | P | more for to, more in zip((PUD, PMD, PTE, PAGE), flags, strict=True)))
        kind = rng.choice([READ, WRITE, FETCH])
        us, rw, nx = (all(f & US for f in flags), all(f & RW for f in flags), any(f & NX for f in flags))
        bad = cpu.cpl == 3 and not us
        bad = bad or (kind == WRITE and not rw and (wp or cpu.cpl == 3)) or (kind == FETCH and nx)
        code = 1 | (kind == WRITE) * 2 | (cpu.cpl == 3) * 4 | (kind == FETCH) * 16
        faults += bad

        assert (code if bad else None) == access(cpu, kind)
    assert 300 < faults < 1200, "both outcomes have to be common"


# error codes


@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize(
    ("cpl", "kind", "nxe", "code"),
    [
        (0, READ, True, 0x00),
        (0, WRITE, True, 0x02),
        (0, FETCH, True, 0x10),
        (0, FETCH, False, 0x00),
        (3, READ, True, 0x04),
        (3, WRITE, True, 0x06),
        (3, FETCH, True, 0x14),
        (3, FETCH, False, 0x04),
    ],
)
def test_a_missing_entry_has_bit_0_clear(cpu, chain, level, cpl, kind, nxe, code):
    entries = [PUD | 7, PMD | 7, PTE | 7, PAGE | 7]
    entries[level] = 0xFFFF_F000 | 0x1E6  # everything but P; without P it does not count
    chain(cpu.memory, VA, *entries[: level + 1])
    cpu.cpl = cpl
    cpu.efer = cpu.efer if nxe else cpu.efer & ~NXE

    assert code == access(cpu, kind)


@pytest.mark.parametrize(
    ("cpl", "kind", "code"), [(0, READ, 0x09), (0, WRITE, 0x0B), (0, FETCH, 0x19), (3, READ, 0x0D), (3, WRITE, 0x0F)]
)
@pytest.mark.parametrize("level", range(4))
def test_a_reserved_bit_has_bits_0_and_3_set(cpu, chain, level, cpl, kind, code):
    entries = [PUD | 7, PMD | 7, PTE | 7, PAGE | 7]
    entries[level] |= 1 << 46
    chain(cpu.memory, VA, *entries)
    cpu.cpl = cpl

    assert code == access(cpu, kind)


def test_nx_without_nxe_is_a_reserved_bit_even_for_a_read(cpu, chain):
    chain(cpu.memory, VA, PUD | 7, PMD | 7, PTE | 7, PAGE | 7 | NX)
    cpu.efer &= ~NXE

    assert [0x09, 0x0B, 0x09] == [access(cpu, kind) for kind in (READ, WRITE, FETCH)]


# what a fault tells


def test_cr2_and_the_event_name_the_address_and_the_entry(cpu, chain):
    chain(cpu.memory, VA, PUD | 7, PMD | 7, 0xBAD0_0000)
    with pytest.raises(PageFault) as caught:
        cpu.read(VA + 0x123, 8)

    fault = caught.value
    assert VA + 0x123 == cpu.cr2 == fault.cr2
    assert ("pmd", 7, 0, READ) == (fault.level, fault.index, fault.error_code, fault.kind)
    assert [Fault(READ, VA + 0x123, 0, "pmd", 7, 0xBAD0_0000)] == cpu.trace.events


def test_an_access_that_works_leaves_cr2_alone(cpu, chain):
    chain(cpu.memory, VA, PUD | 7, PMD | 7, PTE | 7, PAGE | 7)
    cpu.cr2 = 0x1234
    cpu.read(VA, 1)

    assert cpu.cr2 == 0x1234


@pytest.mark.parametrize("kind", [READ, WRITE, FETCH])
@pytest.mark.parametrize("va", [1 << 47, 1 << 60, 0xFFFF_7FFF_FFFF_F000, 0x8000_0000_0000_0000])
def test_an_address_that_is_not_canonical_is_a_gp_and_no_pf(cpu, kind, va):
    cpu.cr2 = 0x1234
    with pytest.raises(GeneralProtection):
        access(cpu, kind, va)

    assert (0x1234, []) == (cpu.cr2, cpu.trace.events)


# page crossing


def two_pages(cpu, chain, second):
    chain(cpu.memory, VA, PUD | 7, PMD | 7, PTE | 7, PAGE | 7)
    cpu.memory.write(PAGE + 0xFF8, b"firstpag")
    return chain(cpu.memory, VA + 0x1000, PUD | 7, PMD | 7, PTE | 7, second)


def test_a_read_across_two_pages_joins_what_lies_apart(cpu, chain):
    two_pages(cpu, chain, 0x9000 | 7)
    cpu.memory.write(0x9000, b"second")

    assert b"pagsec" == cpu.read(VA + 0xFFD, 6)
    expected = [Access(READ, VA + 0xFFD, 3, PAGE + 0xFFD), Access(READ, VA + 0x1000, 3, 0x9000)]
    assert expected == cpu.trace.events


def test_a_write_across_two_pages_lands_in_both(cpu, chain):
    two_pages(cpu, chain, 0x9000 | 7)
    cpu.write(VA + 0xFFC, b"12345678")

    assert (b"1234", b"5678") == (cpu.memory.read(PAGE + 0xFFC, 4), cpu.memory.read(0x9000, 4))


@pytest.mark.parametrize("second", [0, 0x9000 | 5 | 1 << 46])
def test_a_read_that_crosses_into_a_bad_page_faults_at_the_second_page(cpu, chain, second):
    two_pages(cpu, chain, second)

    assert (9 if second else 0) == access(cpu, READ, VA + 0xFFC)
    assert VA + 0x1000 == cpu.cr2


@pytest.mark.parametrize("second", [0, 0x9000 | P | US])
def test_a_write_that_crosses_into_a_bad_page_stores_nothing_at_all(cpu, chain, second):
    two_pages(cpu, chain, second)

    assert (3 if second else 2) == access(cpu, WRITE, VA + 0xFFC)
    assert VA + 0x1000 == cpu.cr2
    assert b"firstpag" == cpu.memory.read(PAGE + 0xFF8, 8)
    assert bytes(8) == cpu.memory.read(0x9000, 8)


def test_a_write_without_the_right_stores_nothing_and_leaves_the_page_entry_alone(cpu, chain):
    places = chain(cpu.memory, VA, PUD | 7, PMD | 7, PTE | 7, PAGE | P | US)
    assert access(cpu, WRITE) == 3

    assert bytes(8) == cpu.memory.read(PAGE, 8)
    # The tables on the way were used, and say so; the page was not.
    used = [PUD | 7 | A, PMD | 7 | A, PTE | 7 | A, PAGE | 5]
    assert used == [cpu.memory.read_u64(place) for place in places]


# accessed and dirty


@pytest.mark.parametrize(("kind", "leaf_bits"), [(READ, A), (WRITE, A | D), (FETCH, A)])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_an_access_marks_every_entry_used_and_a_write_the_page_dirty(cpu, chain, kind, leaf_bits, depth):
    leaf = {2: 0x4000_0000 | 0x87, 3: 0x20_0000 | 0x87, 4: PAGE | 7}[depth]
    entries = [*[PUD | 7, PMD | 7, PTE | 7][: depth - 1], leaf]
    places = chain(cpu.memory, VA, *entries)
    assert access(cpu, kind) is None

    expected = [entry | A for entry in entries[:-1]] + [leaf | leaf_bits]
    assert expected == [int.from_bytes(cpu.memory.read(place, 8), "little") for place in places]


def test_marking_leaves_every_other_bit_alone(cpu, chain):
    odd = NX | 0x7FF << 52 | 0xE18
    places = chain(cpu.memory, VA, PUD | 7 | odd, PMD | 7 | odd, PTE | 7 | odd, PAGE | 0x187 | odd)
    cpu.write(VA, b"x")

    expected = [PUD | 7 | odd | A, PMD | 7 | odd | A, PTE | 7 | odd | A, PAGE | 0x187 | odd | A | D]
    assert expected == [cpu.memory.read_u64(place) for place in places]


def test_looking_marks_nothing_and_tells_nobody(cpu, chain):
    places = chain(cpu.memory, VA, PUD | 7, PMD | 7, PTE | 7, PAGE | 7)
    cpu.cr2 = 0x1234
    for va in (VA, VA + 0x1000, 0, 1 << 60):
        cpu.walk(va)

    assert ([], 0x1234) == (cpu.trace.events, cpu.cr2)
    assert [PUD | 7, PMD | 7, PTE | 7, PAGE | 7] == [cpu.memory.read_u64(place) for place in places]


def test_a_bit_set_through_one_alias_shows_in_the_other(cpu, chain):
    """Two top-level entries that lead to the same table: the entry below is one entry."""
    chain(cpu.memory, VA, PUD | 7, PMD | 7, PTE | 7, PAGE | 7)
    alias = VA & (1 << 39) - 1
    cpu.memory.write_u64(ROOT, PUD | 3)
    cpu.write(alias, b"x")

    assert PAGE | 7 | A | D == cpu.walk(VA).steps[-1].entry
    assert [PUD | 3 | A, PUD | 7] == [cpu.walk(va).steps[0].entry for va in (alias, VA)]


def test_an_access_is_one_event_with_both_addresses(cpu, chain):
    chain(cpu.memory, VA, PUD | 7, PMD | 7, PTE | 7, PAGE | 7)
    cpu.write_u64(VA + 8, 0x1122_3344_5566_7788)

    assert 0x1122_3344_5566_7788 == cpu.read_u64(VA + 8)
    assert PAGE == cpu.fetch(VA)
    events = [Access(WRITE, VA + 8, 8, PAGE + 8), Access(READ, VA + 8, 8, PAGE + 8), Access(FETCH, VA, 1, PAGE)]
    assert events == cpu.trace.events


# control registers


def test_loading_cr3_changes_the_table_in_force_and_flushes_what_is_not_global(cpu, chain):
    chain(cpu.memory, VA, PUD | 7, PMD | 7, PTE | 7, PAGE | 7)
    cpu.write_cr3(0x8000)

    assert [LoadCr3(ROOT, 0x8000), TlbFlush(global_pages=False)] == cpu.trace.events
    assert access(cpu, READ) == 0


def test_flushing_everything_toggles_pge_and_leaves_it_on(cpu):
    before = cpu.cr4
    cpu.flush_tlb_all()

    assert [TlbFlush(global_pages=True)] == cpu.trace.events
    assert before == cpu.cr4
