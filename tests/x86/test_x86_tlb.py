"""What the processor remembers of its page tables, and what makes it forget (SDM 3A, 4.10, recalled)."""

import pytest

from efimm.trace import TlbFlush, Trace
from efimm.x86 import LEGACY, LONG4, LONG5, PAE, Cpu, GeneralProtection, PageFault, PhysMemory

P, RW, US, A, D, PS, G = 1, 2, 4, 0x20, 0x40, 0x80, 0x100
TOP, OTHER_TOP = 0x1_0000, 0x9_0000
PAGE, OTHER_PAGE = 0x4_5000, 0x6_7000
VA = 0x12_3000
CR4_PSE, CR4_PGE, CR4_SMEP, CR4_SMAP = 1 << 4, 1 << 7, 1 << 20, 1 << 21
MODES = [LEGACY, PAE, LONG4, LONG5]


class Machine:
    """A processor whose tables map VA by a page of the smallest size, in any mode."""

    def __init__(self, mode, flags=RW):
        self.mode = mode
        self.cpu = Cpu(PhysMemory(), Trace(), mode=mode)
        for top in (TOP, OTHER_TOP):
            self.map(top, PAGE | P | flags)
        self.cpu.memory.write(PAGE, b"one page")
        self.cpu.memory.write(OTHER_PAGE, b"or other")
        self.cpu.write_cr3(TOP)

    def map(self, top, leaf):
        """Make `leaf` the last entry on the way to VA from the table at `top`."""
        for k, level in enumerate(self.mode.levels):
            last = k + 1 == len(self.mode.levels)
            link = top + (k + 1 << 12) | P | (RW | US if level.has_rights else 0)
            self.put(top + (k << 12), level.index(VA), leaf if last else link)

    def put(self, table, index, entry):
        size = self.mode.entry_bytes
        self.cpu.memory.write(table + size * index, entry.to_bytes(size, "little"))

    def leaf(self):
        last = self.cpu.walk(VA).last
        assert last is not None
        return last.entry


@pytest.fixture(params=MODES, ids=lambda mode: mode.name)
def mode(request):
    return request.param


def test_a_used_translation_survives_a_change_of_the_tables(mode):
    machine = Machine(mode)
    assert machine.cpu.read(VA, 8) == b"one page"
    machine.map(TOP, OTHER_PAGE | P)

    assert machine.cpu.walk(VA).pa == OTHER_PAGE
    assert machine.cpu.read(VA, 8) == b"one page"
    [(entry, found)] = machine.cpu.stale()
    assert (entry.pa, found.pa) == (PAGE, OTHER_PAGE)

    machine.cpu.invlpg(VA + 0xFFF)
    assert machine.cpu.read(VA, 8) == b"or other"
    assert machine.cpu.stale() == []


def test_what_was_never_used_is_not_remembered(mode):
    machine = Machine(mode)
    assert len(machine.cpu.tlb) == 0
    machine.map(TOP, OTHER_PAGE | P)
    assert machine.cpu.read(VA, 8) == b"or other"


def test_no_translation_is_remembered_where_there_was_none(mode):
    machine = Machine(mode)
    machine.map(TOP, 0)
    with pytest.raises(PageFault):
        machine.cpu.read(VA, 1)
    machine.map(TOP, PAGE | P)
    assert machine.cpu.read(VA, 8) == b"one page"


@pytest.mark.parametrize("is_global", [False, True])
def test_a_new_cr3_forgets_all_but_global_pages(mode, is_global):
    machine = Machine(mode, RW | G if is_global else RW)
    machine.map(OTHER_TOP, 0)
    machine.cpu.read(VA, 1)
    machine.cpu.write_cr3(OTHER_TOP)

    assert machine.cpu.walk(VA).pa is None
    if is_global:
        assert machine.cpu.read(VA, 8) == b"one page"
    else:
        with pytest.raises(PageFault):
            machine.cpu.read(VA, 8)


def test_the_toggle_of_pge_forgets_global_pages_too(mode):
    machine = Machine(mode, RW | G)
    machine.map(OTHER_TOP, 0)
    machine.cpu.read(VA, 1)
    machine.cpu.write_cr3(OTHER_TOP)
    machine.cpu.write_cr4(machine.cpu.cr4 & ~CR4_PGE)
    machine.cpu.write_cr4(machine.cpu.cr4 | CR4_PGE)
    with pytest.raises(PageFault):
        machine.cpu.read(VA, 1)


def test_invlpg_forgets_a_global_page(mode):
    machine = Machine(mode, RW | G)
    machine.cpu.read(VA, 1)
    machine.map(TOP, 0)
    machine.cpu.invlpg(VA)
    with pytest.raises(PageFault):
        machine.cpu.read(VA, 1)


def test_without_pge_the_g_bit_means_nothing(mode):
    machine = Machine(mode, RW | G)
    machine.cpu.write_cr4(machine.cpu.cr4 & ~CR4_PGE)
    machine.cpu.read(VA, 1)
    machine.cpu.write_cr3(TOP)
    assert len(machine.cpu.tlb) == 0


def test_the_g_bit_of_a_table_means_nothing():
    machine = Machine(LONG4)
    pmd = machine.cpu.walk(VA).steps[2]
    machine.cpu.memory.write_u64(pmd.pa, pmd.entry | G)
    machine.cpu.read(VA, 1)
    machine.cpu.write_cr3(TOP)
    assert len(machine.cpu.tlb) == 0


def test_a_stale_global_identity_alias_outlives_cr3_and_dies_with_the_toggle():
    # What 3.5's epilog has to undo: slot 0 borrowed the direct map, whose pages are global.
    cpu = Cpu(PhysMemory(), Trace())
    cpu.memory.write_u64(TOP + 8 * 272, 0x2_0000 | P | RW)
    cpu.memory.write_u64(0x2_0000, PS | G | P | RW)
    cpu.write_cr3(TOP)
    cpu.memory.write_u64(TOP, 0x2_0000 | P | RW)
    cpu.memory.write(0x5000, b"low RAM")
    assert cpu.read(0x5000, 7) == b"low RAM"

    cpu.memory.write_u64(TOP, 0)
    cpu.write_cr3(TOP)
    assert cpu.read(0x5000, 7) == b"low RAM"  # an address that no table maps any more
    assert [entry.va for entry, _ in cpu.stale()] == [0]

    cpu.flush_tlb_all()
    with pytest.raises(PageFault):
        cpu.read(0x5000, 7)


def test_a_write_through_a_page_that_was_only_read_sets_its_dirty_bit(mode):
    machine = Machine(mode)
    machine.cpu.read(VA, 1)
    assert machine.leaf() & (A | D) == A
    machine.cpu.write(VA, b"!")
    assert machine.leaf() & (A | D) == A | D


def test_bits_that_software_clears_stay_clear_while_the_translation_is_cached(mode):
    machine = Machine(mode)
    machine.cpu.write(VA, b"!")
    machine.map(TOP, PAGE | P | RW)
    machine.cpu.write(VA, b"!")
    assert not machine.leaf() & (A | D)
    machine.cpu.invlpg(VA)
    machine.cpu.write(VA, b"!")
    assert machine.leaf() & (A | D) == A | D


def test_a_right_that_was_taken_away_still_holds_and_one_that_was_given_holds_at_once(mode):
    machine = Machine(mode)
    machine.cpu.write(VA, b"!")
    machine.map(TOP, PAGE | P)
    machine.cpu.write(VA, b"?")
    machine.cpu.invlpg(VA)
    with pytest.raises(PageFault):
        machine.cpu.write(VA, b"?")
    machine.cpu.read(VA, 1)
    machine.map(TOP, PAGE | P | RW)
    machine.cpu.write(VA, b"?")


def test_a_page_that_was_used_serves_its_accesses_though_a_large_one_is_cached_around_it():
    """The table became a 2 MiB page, without INVLPG; also in a copy, and whatever was used in between."""
    machine = Machine(LONG4)
    cpu = machine.cpu
    assert cpu.read(VA, 8) == b"one page"
    machine.put(TOP + (2 << 12), 0, P | RW | PS)
    cpu.memory.write(VA + 0x1000, b"2 MiB pg")

    assert cpu.read(VA + 0x1000, 8) == b"2 MiB pg"
    other = cpu.copy(cpu.memory, Trace())
    assert len(other.tlb) == len(cpu.tlb) == 2
    for one in (cpu, other):
        assert one.read(VA, 8) == b"one page"
        assert one.read(VA + 0x1000, 8) == b"2 MiB pg"
        assert one.read(VA, 8) == b"one page"


def test_a_copy_remembers_nothing_that_its_own_tlb_has_forgotten():
    machine = Machine(LONG4, flags=RW)
    machine.cpu.read(VA, 8)
    machine.map(TOP, 0)
    other = machine.cpu.copy(machine.cpu.memory, Trace())
    while other.tlb.version < machine.cpu.tlb.version:
        other.invlpg(VA)
    with pytest.raises(PageFault):
        other.read(VA, 8)


def test_a_large_page_is_one_translation():
    cpu = Cpu(PhysMemory(), Trace())
    for table, entry in ((TOP, 0x2_0000), (0x2_0000, 0x3_0000), (0x3_0000, PS)):
        cpu.memory.write_u64(table, entry | P | RW)
    cpu.write_cr3(TOP)
    cpu.read(0x1F_FFFF, 1)
    cpu.read(0x0, 1)
    assert [(entry.va, entry.size) for entry in cpu.tlb] == [(0, 1 << 21)]
    cpu.invlpg(0x10_0000)
    assert len(cpu.tlb) == 0


@pytest.mark.parametrize("bit", [CR4_PSE, CR4_PGE, CR4_SMEP])
def test_these_bits_of_cr4_empty_the_tlb(bit):
    machine = Machine(LEGACY, RW | G)
    machine.cpu.read(VA, 1)
    machine.cpu.write_cr4(machine.cpu.cr4 ^ bit)
    assert len(machine.cpu.tlb) == 0
    assert TlbFlush(global_pages=True) in machine.cpu.trace.events


def test_smap_leaves_the_tlb_alone_and_counts_at_once():
    machine = Machine(LONG4, RW | US)
    machine.cpu.read(VA, 1)
    machine.cpu.write_cr4(machine.cpu.cr4 | CR4_SMAP)
    assert len(machine.cpu.tlb) == 1
    with pytest.raises(PageFault) as fault:
        machine.cpu.read(VA, 1)
    assert fault.value.error_code == 1
    machine.cpu.ac = True
    machine.cpu.read(VA, 1)


def test_without_paging_smep_and_smap_have_no_pages_to_guard():
    machine = Machine(LEGACY)
    machine.cpu.write_cr4(machine.cpu.cr4 | CR4_SMEP | CR4_SMAP)
    machine.cpu.write_cr0(machine.cpu.cr0 & ~(1 << 31))
    machine.cpu.memory.write(VA, b"physical")
    assert machine.cpu.read(VA, 8) == b"physical"
    assert machine.cpu.fetch(VA) == VA


def test_paging_off_translates_nothing_and_remembers_nothing():
    machine = Machine(LEGACY, RW | G)
    machine.cpu.read(VA, 1)
    machine.cpu.write_cr0(machine.cpu.cr0 & ~(1 << 31))
    assert len(machine.cpu.tlb) == 0
    machine.cpu.memory.write(VA, b"physical")
    assert machine.cpu.read(VA, 8) == b"physical"
    assert len(machine.cpu.tlb) == 0
    machine.cpu.write_cr0(machine.cpu.cr0 | 1 << 31)
    assert machine.cpu.read(VA, 8) == b"one page"


def test_pae_keeps_its_four_entries_from_the_cr3_load():
    machine = Machine(PAE)
    machine.put(TOP, PAE.levels[0].index(VA), 0)
    assert machine.cpu.read(VA, 8) == b"one page"
    machine.cpu.write_cr3(TOP)
    with pytest.raises(PageFault) as fault:
        machine.cpu.read(VA, 8)
    assert (fault.value.level, fault.value.error_code) == ("pgd", 0)


@pytest.mark.parametrize("bit", [1, 2, 5, 6, 7, 8, 46, 52, 62, 63])
def test_a_bad_pdpte_is_refused_at_the_cr3_load(bit):
    machine = Machine(PAE)
    machine.put(OTHER_TOP, 3, P | 1 << bit)
    with pytest.raises(GeneralProtection, match="PDPTE 3"):
        machine.cpu.write_cr3(OTHER_TOP)
    assert machine.cpu.cr3 == TOP
    machine.put(OTHER_TOP, 3, 1 << bit)  # not present: the processor ignores it
    machine.cpu.write_cr3(OTHER_TOP)


@pytest.mark.parametrize("bit", [3, 4, 9, 10, 11, 12, 45])
def test_other_bits_of_a_pdpte_are_no_trouble(bit):
    machine = Machine(PAE)
    machine.put(OTHER_TOP, 3, P | 1 << bit)
    machine.cpu.write_cr3(OTHER_TOP)


def test_pae_has_its_table_on_any_32_bytes():
    machine = Machine(PAE)
    entries = machine.cpu.memory.read(TOP, 32)
    machine.cpu.memory.write(0x7_0A60, entries)
    machine.cpu.write_cr3(0x7_0A60)
    assert machine.cpu.read(VA, 8) == b"one page"
    assert machine.cpu.walk(VA).steps[0].pa == 0x7_0A60


@pytest.mark.parametrize(
    ("mode", "act"),
    [
        (LONG4, lambda cpu: cpu.write_cr4(cpu.cr4 & ~(1 << 5))),
        (LONG4, lambda cpu: cpu.write_cr4(cpu.cr4 | 1 << 12)),
        (LONG5, lambda cpu: cpu.write_cr4(cpu.cr4 & ~(1 << 12))),
        (LONG4, lambda cpu: cpu.write_efer(cpu.efer & ~(1 << 8))),
        (PAE, lambda cpu: cpu.write_efer(cpu.efer | 1 << 8)),
        (LEGACY, lambda cpu: cpu.write_cr0(cpu.cr0 & ~1)),
        (LONG4, lambda cpu: cpu.write_cr3(1 << 46)),
        (LEGACY, lambda cpu: cpu.write_cr3(1 << 32)),
    ],
)
def test_a_register_value_that_is_refused_changes_nothing(mode, act):
    machine = Machine(mode)
    before = machine.cpu.registers, machine.cpu.cr3
    with pytest.raises(GeneralProtection):
        act(machine.cpu)
    assert before == (machine.cpu.registers, machine.cpu.cr3)


def test_the_way_into_long_mode():
    cpu = Cpu(PhysMemory(), Trace(), mode=LEGACY)
    cpu.write_cr0(cpu.cr0 & ~(1 << 31))
    cpu.write_cr4(cpu.cr4 | 1 << 5)
    cpu.write_efer(cpu.efer | 1 << 8)
    assert not cpu.efer & 1 << 10
    cpu.write_cr0(cpu.cr0 | 1 << 31)
    assert cpu.efer & 1 << 10
    assert cpu.mode is LONG4
