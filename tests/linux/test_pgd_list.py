"""pgd_list: who is on it, who learns of a new kernel entry, when, and who never does."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

import efimm
from efimm.linux import Linux32
from efimm.linux.direct_map import arch_add_memory
from efimm.linux.fault import kernel_fault, read_as, vmalloc_fault, vmalloc_sync_all
from efimm.linux.i386.direct_map import set_memory_uc
from efimm.linux.i386.vmalloc import ioremap as ioremap_32
from efimm.linux.pgtable import pgd_alloc, pgd_free, stale_slots
from efimm.linux.vmalloc import ioremap
from efimm.trace import Lock, writes
from efimm.x86 import PageFault, PageTable, walk

GIB, TIB, LINE = 1 << 30, 1 << 40, 512 << 30
PAGE_OFFSET, VMALLOC, VMEMMAP = 0xFFFF_8800_0000_0000, 0xFFFF_C900_0000_0000, 0xFFFF_EA00_0000_0000
DEVICE = 0xFEC0_0000


def boot(ram="4G", kernel="3.5"):
    return efimm.boot(efimm.machine(ram), kernel)


def boot_32(arch, *, xen=False):
    linux = efimm.boot(efimm.machine("4G", arch=arch), "3.5")
    assert isinstance(linux, Linux32)
    if xen:  # pv_info.shared_kernel_pmd is 0 there
        linux.layout = replace(linux.layout, shared_kernel_pmd=False)
    return linux


def new_vmalloc_slot(linux, number=1):
    """The address of a device that is mapped `number` top-level entries into the vmalloc area."""
    linux.vmalloc_next = VMALLOC + number * LINE
    return ioremap(linux, DEVICE, 4096)


# x86-64: eagerly, lazily, never


def test_added_memory_reaches_processes_at_once_and_the_trampoline_never():
    linux = boot()
    mm = pgd_alloc(linux, "init")
    arch_add_memory(linux, LINE, GIB)

    assert read_as(linux, mm, PAGE_OFFSET + LINE) == bytes(8)
    assert mm.pgd[273] == linux.swapper_pg_dir[273] != 0
    assert 273 in stale_slots(linux)["trampoline_pgd"]
    assert "init's pgd" not in stale_slots(linux)


def test_hpas_trampoline_is_kept_up_to_date():
    linux = boot(kernel="hpa-sync")
    arch_add_memory(linux, LINE, GIB)
    new_vmalloc_slot(linux)

    assert stale_slots(linux) == {}


def test_memory_beyond_32_tib_brings_a_new_vmemmap_entry_to_every_process():
    """64 bytes of struct page a page: 32 TiB of RAM fill one top-level entry of vmemmap, which is 468."""
    linux = boot("64G")
    mm = pgd_alloc(linux, "init")
    assert not mm.pgd[469]
    arch_add_memory(linux, 33 * TIB, GIB)

    struct_page = VMEMMAP + (33 * TIB >> 12) * 64
    assert walk(linux.memory, mm.pgd.pa, struct_page).pa is not None
    assert mm.pgd[469] == linux.swapper_pg_dir[469] != 0


def test_the_vmalloc_area_is_learnt_by_a_fault():
    linux = boot()
    mm = pgd_alloc(linux, "init")
    va = new_vmalloc_slot(linux)
    assert stale_slots(linux)["init's pgd"] == [403]
    assert walk(linux.memory, mm.pgd.pa, va).pa is None

    cr3 = linux.cpu.cr3
    assert read_as(linux, mm, va) == linux.memory.read(DEVICE, 8)
    assert "init's pgd" not in stale_slots(linux)
    assert linux.cpu.cr3 == cr3


def test_or_by_a_sync_of_the_whole_area():
    linux = boot()
    first, second = pgd_alloc(linux, "a"), pgd_alloc(linux, "b")
    va = new_vmalloc_slot(linux, 40)
    vmalloc_sync_all(linux)

    for mm in (first, second):
        assert walk(linux.memory, mm.pgd.pa, va).pa == DEVICE


@pytest.mark.parametrize("va", [PAGE_OFFSET, VMEMMAP, 0x1000])
def test_what_lies_outside_the_vmalloc_area_is_never_repaired(va):
    linux = boot()
    mm = pgd_alloc(linux, "init")
    mm.pgd[va >> 39 & 511] = 0

    with pytest.raises(PageFault):
        read_as(linux, mm, va)
    assert not mm.pgd[va >> 39 & 511]


def test_an_address_that_init_mm_does_not_map_either_is_no_repair():
    linux = boot()
    mm = pgd_alloc(linux, "init")
    va = new_vmalloc_slot(linux)

    assert not vmalloc_fault(linux, mm, VMALLOC + 50 * LINE)
    assert not vmalloc_fault(linux, mm, va + 0x10_0000)
    assert mm.pgd[403], "the kernel copies the entry before it looks further down"


def test_a_process_whose_entry_leads_elsewhere_is_a_bug():
    linux = boot()
    mm = pgd_alloc(linux, "init")
    va = new_vmalloc_slot(linux)
    mm.pgd[403] = 0x123_4067

    with pytest.raises(AssertionError, match="BUG_ON"):
        vmalloc_fault(linux, mm, va)


@pytest.mark.parametrize("code", [1, 4, 8])
def test_a_fault_with_rights_users_or_reserved_bits_in_it_is_not_about_a_missing_entry(code):
    linux = boot()
    mm = pgd_alloc(linux, "init")
    va = new_vmalloc_slot(linux)
    fault = PageFault(walk(linux.memory, mm.pgd.pa, va), "read", code)

    assert not kernel_fault(linux, mm, fault)
    assert kernel_fault(linux, mm, PageFault(fault.walk, "read", 0))


def test_a_dead_process_is_not_synced():
    linux = boot()
    mm, other = pgd_alloc(linux, "a"), pgd_alloc(linux, "b")
    pgd_free(linux, mm)
    arch_add_memory(linux, LINE, GIB)

    assert list(linux.pgd_list) == [other]
    assert not mm.pgd[273]
    with pytest.raises(KeyError):
        linux.pgd_list.page_get_mm(mm.pgd)
    assert linux.pgd_list.page_get_mm(other.pgd) is other


@pytest.mark.parametrize("processes", [0, 1, 100, 1000])
def test_a_sync_looks_at_each_process_once_and_writes_each_once(processes):
    linux = boot()
    for number in range(processes):
        pgd_alloc(linux, f"p{number}")
    with linux.trace.record() as story:
        arch_add_memory(linux, LINE, GIB)

    written = sum(len(writes(story, f"p{number}'s pgd")) for number in range(min(processes, 20)))
    taken = [event.name for event in story if isinstance(event, Lock) and event.taken]
    assert written == min(processes, 20)
    assert sum(name.startswith("p") and name.endswith("page_table_lock") for name in taken) == 2 * processes
    assert taken.count("pgd_lock") == 2  # once for the direct map, once for vmemmap, where nothing is new


def test_ten_thousand_processes_fit_and_learn():
    linux = boot("64T")
    mms = [pgd_alloc(linux, f"p{number}") for number in range(10_000)]
    before = linux.memory.frames_in_use
    va = new_vmalloc_slot(linux)
    vmalloc_sync_all(linux)

    assert linux.memory.frames_in_use <= before + 10
    assert {walk(linux.memory, mm.pgd.pa, va).pa for mm in mms[::500]} == {DEVICE}
    assert set(stale_slots(linux)) == {"trampoline_pgd"}


# i386


def test_only_tables_with_copies_of_kernel_entries_are_on_the_list():
    """SHARED_KERNEL_PMD: PAE, unless under Xen."""
    lengths = {}
    for arch, xen in (("i386", False), ("i386-pae", False), ("i386-pae", True)):
        linux = boot_32(arch, xen=xen)
        mm = pgd_alloc(linux, "init")
        lengths[arch, xen] = len(linux.pgd_list)
        assert walk(linux.memory, mm.pgd.pa, 0xC100_0000, linux.layout.mode).pa == 0x100_0000
        pgd_free(linux, mm)
        assert not len(linux.pgd_list)

    assert lengths == {("i386", False): 1, ("i386-pae", False): 0, ("i386-pae", True): 1}


def test_a_pae_process_shares_the_kernels_table_and_under_xen_has_a_copy():
    native, xen = boot_32("i386-pae"), boot_32("i386-pae", xen=True)
    for linux, same in ((native, True), (xen, False)):
        mm = pgd_alloc(linux, "init")
        assert (mm.pgd[3].address == linux.swapper_pg_dir[3].address) == same
        assert all(mm.pgd[index].present for index in range(4)), "all four are filled at once"
        assert len({mm.pgd[index].address for index in range(4)}) == 4


@pytest.mark.parametrize(
    ("arch", "xen", "stale"), [("i386", False, True), ("i386-pae", False, False), ("i386-pae", True, True)]
)
def test_a_new_32_bit_vmalloc_entry_is_learnt_by_a_fault_or_by_a_sync(arch, xen, stale):
    linux = boot_32(arch, xen=xen)
    lazy, eager = pgd_alloc(linux, "a"), pgd_alloc(linux, "b")
    linux.vmalloc_next = 0xFC00_0000
    va = ioremap_32(linux, DEVICE, 4096)

    def found(mm):
        return walk(linux.memory, mm.pgd.pa, va, linux.layout.mode).pa

    assert (found(lazy), found(eager)) == ((None, None) if stale else (DEVICE, DEVICE))
    assert ("a's pgd" in stale_slots(linux)) == stale
    assert read_as(linux, lazy, va, 4) == linux.memory.read(DEVICE, 4)
    assert (found(lazy), found(eager)) == (DEVICE, None if stale else DEVICE)
    vmalloc_sync_all(linux)
    assert found(eager) == DEVICE


@pytest.mark.parametrize(("arch", "xen"), [("i386", False), ("i386-pae", False), ("i386-pae", True)])
def test_a_split_large_page_is_replaced_in_every_process_at_once(arch, xen):
    linux = boot_32(arch, xen=xen)
    mm = pgd_alloc(linux, "init")
    page = 0xC000_0000 + (400 << 20) + 0x5000
    set_memory_uc(linux, page, 1)

    for address, uncached in ((page, True), (page + 4096, False)):
        found = walk(linux.memory, mm.pgd.pa, address, linux.layout.mode)
        assert (found.page_size, bool(found.entries[-1] & 0x10)) == (4096, uncached)
    stale = stale_slots(linux)
    if arch == "i386":
        assert page >> 22 in stale["initial_page_table"], "which is not on the list"
    assert "init's pgd" not in stale


# any order of acts: what a process knows is what it was told


class Processes(RuleBasedStateMachine):
    """Entries of the direct map and the vmalloc area appear, processes come, go, look; two sets each are the judge."""

    alive = Bundle("alive")

    def __init__(self):
        super().__init__()
        self.linux = boot("1G")
        self.knows = {}
        self.direct, self.vmalloc = {272}, {402}
        self.names = iter(range(1000))

    @rule(target=alive)
    def fork(self):
        mm = pgd_alloc(self.linux, f"p{next(self.names)}")
        self.knows[mm.pgd.name] = self.direct | self.vmalloc
        return mm

    @rule(mm=consumes(alive))
    def exit(self, mm):
        pgd_free(self.linux, mm)
        del self.knows[mm.pgd.name]

    @rule(slot=st.integers(1, 60))
    def add_memory(self, slot):
        if 272 + slot not in self.direct:
            arch_add_memory(self.linux, slot * LINE, 128 << 20)
            self.direct.add(272 + slot)
            for slots in self.knows.values():
                slots.add(272 + slot)

    @rule(number=st.integers(1, 60))
    def map_device(self, number):
        if 402 + number not in self.vmalloc:
            new_vmalloc_slot(self.linux, number)
            self.vmalloc.add(402 + number)

    @rule(mm=alive, number=st.integers(0, 60))
    def look(self, mm, number):
        there = 402 + number in self.vmalloc  # the HPET's page in the first slot, the device's in another
        assert vmalloc_fault(self.linux, mm, VMALLOC + number * LINE) == there
        if there:
            self.knows[mm.pgd.name].add(402 + number)

    @rule()
    def sync_all(self):
        vmalloc_sync_all(self.linux)
        for slots in self.knows.values():
            slots.update(self.vmalloc)

    @invariant()
    def each_process_has_exactly_what_it_was_told(self):
        for mm in self.linux.pgd_list:
            assert {slot for slot in mm.pgd.slots() if 272 <= slot < 466} == self.knows[mm.pgd.name], mm.pgd.name
        behind = {
            name: sorted((self.direct | self.vmalloc) - slots)
            for name, slots in self.knows.items()
            if (self.direct | self.vmalloc) - slots
        }
        assert {k: v for k, v in stale_slots(self.linux).items() if k != "trampoline_pgd"} == behind


Processes.TestCase.settings = settings(max_examples=25, stateful_step_count=25)
TestProcesses = Processes.TestCase


# the table's own memory of its page


def test_two_views_of_one_table_see_each_others_writes_and_table_runs_become_bytes():
    linux = boot()
    one, two = (PageTable(linux.memory, 0x3000_0000, name, linux.trace) for name in ("one", "two"))
    assert one[3] == 0
    one[3] = 5
    two[3] = 7
    assert (one[3], two.setdefault(3, 9), one.setdefault(4, 11), two[4]) == (7, 7, 11, 11)
    linux.memory.write_u64(0x3000_0020, 0)
    assert one[4] == two[4] == 0
    for write in (lambda: one.setdefault(4, 0x13), lambda: one.__setitem__(4, 0x15), lambda: one.fill(4, 1, 0x17, 0)):
        before = linux.memory.version
        write()
        assert linux.memory.version > before, "what was made of the bytes is out of date"
    for index in (-1, 512):
        with pytest.raises(IndexError):
            one[index] = 1
        with pytest.raises(IndexError):
            one.setdefault(index, 1)
        with pytest.raises(IndexError):
            one[index]
