"""The 32-bit kernel: its tables against those of real kernels, and a call that is made without paging.

Source of what is expected: arch/x86/kernel/head_32.S, setup.c, mm/init_32.c, platform/efi/efi_32.c and
efi_stub_32.S, v3.5; real tables of Debian's 6.1 (our own captures, QEMU 7.2) where a test says so; UEFI 2.10.
"""

from functools import cache

import pytest
from captures import TABLES, opened, text_of

import efimm
from efimm.linux import Linux32
from efimm.linux.i386.direct_map import set_memory_uc
from efimm.linux.i386.layout import PAGE_OFFSET
from efimm.linux.i386.vmalloc import ioremap, vmalloc_fault, vmalloc_sync_all
from efimm.linux.smp import SpinLock
from efimm.linux.state import Mm
from efimm.trace import LoadCr3, writes
from efimm.uefi import EfiMemoryDescriptor, read_map
from efimm.x86 import LEGACY, PAE, PAGING_OFF, PageTable, load_tables, walk

pytest.importorskip("numpy")
MIB, GIB = 1 << 20, 1 << 30
P, RW, US, A, D, PS, G, NX = 1, 2, 4, 0x20, 0x40, 0x80, 0x100, 1 << 63
ARCHES = ["i386", "i386-pae"]


def booted(arch, ram="4G", kernel="3.5"):
    linux = efimm.boot(efimm.machine(ram, arch=arch), kernel)
    assert isinstance(linux, Linux32)
    return linux


def process(linux, pa):
    """A process that was made when the vmalloc area was still empty."""
    pgd = PageTable(linux.memory, pa, f"pgd@{pa:#x}", linux.trace, linux.layout.mode)
    mm = Mm(pgd, SpinLock("page_table_lock", linux.trace))
    linux.pgd_list.add(mm)
    return mm


@pytest.fixture(params=ARCHES)
def arch(request):
    return request.param


# address space


@pytest.mark.parametrize(("arch", "lowmem"), [("i386", 887), ("i386-pae", 889)])
def test_low_memory_ends_where_the_console_says(arch, lowmem):
    # "887MB LOWMEM available." is what two-level 3.x kernels print on any larger machine (recalled).
    linux = booted(arch)
    assert f"{lowmem}MB LOWMEM available." in linux.trace.console
    assert linux.high_memory == PAGE_OFFSET + (linux.max_low_pfn << 12)


@pytest.mark.parametrize(("arch", "end"), [("i386", 4 * GIB), ("i386-pae", 64 * GIB)])
def test_ram_beyond_what_the_tables_can_address_is_left_out(arch, end):
    assert booted(arch, "1T").max_pfn << 12 == end


def test_all_low_memory_is_mapped_at_page_offset_and_nothing_behind(arch):
    linux = booted(arch)
    for pa in (0, 0x3FF000, 4 * MIB, 16 * MIB, 400 * MIB, (linux.max_low_pfn << 12) - 1):
        assert linux.cpu.walk(PAGE_OFFSET + pa).pa == pa
    assert linux.cpu.walk(PAGE_OFFSET + (linux.max_low_pfn << 12)).pa is None
    assert linux.cpu.walk(0x100_0000).pa is None  # swapper_pg_dir has no identity map


def test_the_first_large_page_is_mapped_by_small_ones_and_text_stays_executable(arch):
    linux = booted(arch)
    large = 4 * MIB if arch == "i386" else 2 * MIB
    sizes = [linux.cpu.walk(PAGE_OFFSET + pa).page_size for pa in (0, large - 1, large, 16 * MIB)]
    assert sizes == [4096, 4096, large, large]
    assert linux.cpu.walk(PAGE_OFFSET + 0x100_0000).executable
    assert linux.cpu.walk(PAGE_OFFSET + 400 * MIB).executable == (arch == "i386")  # two levels have no NX


# initial_page_table


def test_two_levels_enter_each_early_table_twice():
    initial = booted("i386").initial_page_table
    low = [initial[k] & ~(A | D) for k in range(1024) if initial[k] and k < 768]
    assert len(low) >= 7
    assert all(entry & 0xFFF == P | RW | US for entry in low)
    assert walk(initial.memory, initial.pa, 0x100_0000, LEGACY).pa == 0x100_0000


def test_pae_has_one_pmd_table_behind_two_entries():
    linux = booted("i386-pae")
    initial = linux.initial_page_table
    assert [bool(initial[k]) for k in range(4)] == [True, False, False, True]
    assert initial[0] & ~0xFFF == initial[3] & ~0xFFF == linux.swapper_pg_dir[3] & ~0xFFF


def test_the_identity_map_ends_early_with_two_levels_and_covers_low_memory_with_pae():
    two, three = booted("i386"), booted("i386-pae")
    for linux, expected in ((two, None), (three, 400 * MIB)):
        assert walk(linux.memory, linux.initial_page_table.pa, 400 * MIB, linux.layout.mode).pa == expected


def test_a_new_vmalloc_slot_reaches_initial_page_table_only_with_pae():
    for arch, expected in (("i386", None), ("i386-pae", 0x8_0000_0000 - 0x1000)):
        linux = booted(arch)
        linux.vmalloc_next = 0xFC00_0000  # a part of the area that no early mapping touched
        va = ioremap(linux, 0x8_0000_0000 - 0x1000 if arch == "i386-pae" else 0xFE00_0000, 0x1000)
        assert linux.cpu.walk(va).pa is not None
        assert walk(linux.memory, linux.initial_page_table.pa, va, linux.layout.mode).pa == expected


def test_hpas_plan_keeps_both_halves_of_initial_page_table():
    linux = booted("i386", kernel="hpa-sync")
    swapper, initial = linux.swapper_pg_dir, linux.initial_page_table
    assert [initial[k] for k in range(768, 1024)] == [swapper[k] for k in range(768, 1024)]
    assert [initial[k] for k in range(256)] == [swapper[k + 768] for k in range(256)]
    linux.vmalloc_next = 0xFC00_0000
    va = ioremap(linux, 0xFE00_0000, 0x1000)
    assert walk(linux.memory, initial.pa, va, LEGACY).pa == 0xFE00_0000
    assert writes(booted("i386-pae", kernel="hpa-sync").trace.events, "initial_page_table")[2:] == []


def test_since_4_4_the_kernels_entries_are_copied_to_slot_0_too_but_only_once():
    """f5f3497cad8c, which mends what hpa asked for in part: a later entry reaches neither half."""
    linux = booted("i386", kernel="4.6")
    swapper, initial = linux.swapper_pg_dir, linux.initial_page_table
    assert [initial[k] for k in range(256)] == [initial[k + 768] for k in range(256)]
    missing = [k for k in range(768, 1024) if swapper[k] and not initial[k]]
    assert missing == [linux.high_memory + (8 << 20) >> 22]  # the HPET's page, mapped when vmalloc had opened
    assert [k for k in range(768, 1024) if initial[k] not in (0, swapper[k])] == []


@pytest.mark.parametrize(("kernel", "kinds"), [("3.5", {3, 4, 5, 6, 11}), ("3.14", {5, 6, 11}), ("6.1", {5, 6, 11})])
def test_since_3_14_only_runtime_regions_are_passed(arch, kernel, kinds):
    linux = efimm.run(efimm.machine("4G", arch=arch), kernel).linux
    array = linux.new_memmap - PAGE_OFFSET
    assert {linux.memory.read(array + 48 * k, 1)[0] for k in range(linux.memmap_count)} == kinds


# processes


def test_a_process_learns_of_a_vmalloc_slot_by_a_fault_or_by_a_sync():
    linux = booted("i386")
    lazy, eager = process(linux, 0x300_0000), process(linux, 0x300_1000)
    linux.vmalloc_next = 0xFC00_0000
    va = ioremap(linux, 0xFE00_0000, 0x1000)
    assert walk(linux.memory, lazy.pgd.pa, va, LEGACY).pa is None
    assert vmalloc_fault(linux, lazy, va)
    assert walk(linux.memory, lazy.pgd.pa, va, LEGACY).pa == 0xFE00_0000
    assert not vmalloc_fault(linux, lazy, PAGE_OFFSET + 400 * MIB)  # the direct map is never repaired
    vmalloc_sync_all(linux)
    assert walk(linux.memory, eager.pgd.pa, va, LEGACY).pa == 0xFE00_0000


def test_a_split_of_a_large_page_is_written_into_every_process_at_once_and_initial_page_table_keeps_the_old_one():
    linux = booted("i386")
    mm = process(linux, 0x300_0000)
    slot = PAGE_OFFSET + 400 * MIB >> 22
    mm.pgd[slot] = before = linux.swapper_pg_dir[slot]
    set_memory_uc(linux, PAGE_OFFSET + 400 * MIB + 0x5000, 1)
    after = linux.swapper_pg_dir[slot]
    assert before & PS
    assert not after & PS
    assert (mm.pgd[slot], linux.initial_page_table[slot]) == (after, before)
    uncached = [bool(linux.cpu.walk(PAGE_OFFSET + 400 * MIB + k * 0x1000).entries[-1] & 0x10) for k in (4, 5, 6)]
    assert uncached == [False, True, False]


# the call


def test_the_call_is_made_on_initial_page_table_with_paging_off(arch):
    found = efimm.run(efimm.machine("4G", arch=arch), "3.5")
    linux = found.linux
    assert found.verdict == "success"
    assert (linux.call_mode, linux.call_cr3) == (PAGING_OFF, linux.initial_page_table.pa)
    loads = [event.new for event in linux.trace.events if isinstance(event, LoadCr3)]
    assert loads[-2:] == [linux.initial_page_table.pa, linux.swapper_pg_dir.pa]
    assert linux.cpu.mode is (LEGACY if arch == "i386" else PAE)


def test_a_kernel_address_is_a_silent_failure(arch):
    found = efimm.run(efimm.machine("4G", arch=arch), "va-patch")
    assert found.pointer == found.buffer_pa + PAGE_OFFSET
    assert (found.status, found.verdict) == (0, "wrong-memory")
    before = efimm.boot(efimm.machine("4G", arch=arch), "va-patch")
    table = before.firmware.layout.runtime_table
    assert before.memory.read(table, 0x50) != b""
    assert before.memory.read(table + 24, 56) == found.linux.memory.read(table + 24, 56)  # not one pointer moved
    assert any("GetTime" in line for line in found.linux.trace.console)


def test_runtime_regions_above_low_memory_get_their_addresses_in_the_vmalloc_area(arch):
    linux = efimm.run(efimm.machine("4G", arch=arch), "3.5").linux
    high = [md for md in linux.memmap if md.runtime and md.physical_start >= linux.max_low_pfn << 12]
    assert high
    for md in high:
        assert linux.high_memory + (8 << 20) <= md.virtual_start < linux.layout.vmalloc_end
        assert linux.cpu.walk(md.virtual_start).pa == md.physical_start


@pytest.mark.parametrize(
    ("arch", "kernel", "reachable"),
    [
        ("i386", "3.5", False),
        ("i386", "3.14", False),
        ("i386", "4.6", True),
        ("i386", "hpa-sync", True),
        ("i386-pae", "3.5", True),
        ("i386-pae", "hpa-sync", True),
    ],
)
def test_the_gdt_at_its_physical_address_is_reachable_only_with_a_complete_identity_map(arch, kernel, reachable):
    # f5f3497cad8c (2015): a two-level kernel's GDT may lie outside the early map, and a read of it then faults.
    linux = efimm.run(efimm.machine("4G", arch=arch), kernel).linux
    assert isinstance(linux, Linux32)
    assert linux.gdt_at_call is not None
    assert (linux.gdt_at_call.pa is not None) == reachable


def test_a_buffer_in_high_memory_is_refused():
    with pytest.raises(efimm.MachineError, match="32-bit kernel"):
        efimm.run(efimm.machine("4G", arch="i386", buffer=0x5000_0000), "3.5")


def test_a_kernel_without_a_32_bit_build_is_refused():
    from dataclasses import replace

    kernel = replace(efimm.KERNELS["3.5"], i386=None)
    with pytest.raises(efimm.MachineError, match="no 32-bit build"):
        efimm.boot(efimm.machine("4G", arch="i386"), kernel)


# real kernels: Debian's 6.1, against the model's

# What is not the same, and why.  Everything else has to be.
DIFFERENCES = {
    "where low memory ends": "6.1 keeps 12 MiB more addresses for itself than 3.5, whose layout this is",
    "addresses in the vmalloc area": "they follow from that, and from what drivers have mapped by then",
    "the slot of the first 4 MiB, and those above the vmalloc area": "their tables lie where that build has room",
    "text slots that are stale": "6.1 makes its text read-only in swapper_pg_dir alone; the model's stays writable",
}
FIRST_LARGE, COMMON_END = 769, 986  # slots of 4 MiB leaves in the direct map of both


@cache
def real_tables(name):
    return load_tables(TABLES / name)


def top(memory, root, mode):
    size = mode.entry_bytes
    return [memory.read_word(root + size * k, size) & ~(A | D) for k in range(1 << mode.levels[0].bits)]


@cache
def modelled(arch):
    """6.1 on the memory map that a real 32-bit 6.1 printed: OVMF, 2 GiB."""
    return efimm.run(efimm.machine(map=read_map(opened(TABLES / "e3-i386-legacy-efi" / "dmesg.txt")), arch=arch), "6.1")


def halves(name):
    """swapper_pg_dir and initial_page_table of a real kernel, then of the model, without accessed and dirty bits."""
    memory, roots, mode = real_tables(name)
    linux = modelled("i386").linux
    tables = [linux.swapper_pg_dir.pa, linux.initial_page_table.pa]
    real = [top(memory, roots[root], mode) for root in ("swapper_pg_dir", "initial_page_table")]
    return (*real, *(top(linux.memory, table, mode) for table in tables))


@pytest.mark.parametrize("name", ["e1-i386-legacy", "e3-i386-legacy-efi"])
def test_initial_page_table_is_the_stale_copy_that_it_is_in_a_real_kernel(name):
    """Both halves were filled once, with the same; what came later is missing, and what changed later is as it was."""
    swapper, initial, our_swapper, our_initial = halves(name)
    for kernel, copy in ((swapper, initial), (our_swapper, our_initial)):
        assert copy[:256] == copy[768:]
        assert copy[256:768] == [0] * 512
        missing = [k for k in range(768, 1024) if kernel[k] and not copy[k]]
        assert missing, "vmalloc's slots came later"
        assert missing == [*range(missing[0], missing[0] + len(missing))]
    changed = [k for k in range(768, 1024) if initial[k] and swapper[k] != initial[k]]
    assert len(changed) == 4
    assert all(initial[k] & RW and initial[k] & PS for k in changed), "text, writable in the copy"
    assert [k for k in range(768, 1024) if our_initial[k] and our_swapper[k] != our_initial[k]] == []


@pytest.mark.parametrize("name", ["e1-i386-legacy", "e3-i386-legacy-efi"])
def test_the_copy_has_the_same_entries_for_low_memory(name):
    _, initial, _, our_initial = halves(name)
    for base in (0, 768):
        slots = slice(base + FIRST_LARGE - 768, base + COMMON_END - 768)
        assert [entry | A | D for entry in initial[slots]] == [entry | A | D for entry in our_initial[slots]]


def test_the_regions_of_a_real_32_bit_kernel_are_passed_and_only_swapper_pg_dir_knows_their_addresses():
    memory, roots, mode = real_tables("e3-i386-legacy-efi")
    rows = [line.split() for line in text_of(TABLES / "e3-i386-legacy-efi" / "runtime-map.txt").splitlines()]
    real_regions = [tuple(int(field, 0) for field in row[1:]) for row in rows]
    found = modelled("i386")
    places = range(found.buffer_pa, found.buffer_pa + 48 * found.linux.memmap_count, 48)
    regions = [EfiMemoryDescriptor.unpack(found.linux.memory.read(pa, 48)) for pa in places]
    linux = found.linux
    assert isinstance(linux, Linux32)

    assert found.verdict == "success"
    assert [(kind, pa, pages, attribute) for kind, pa, _, pages, attribute in real_regions] == [
        (md.type, md.physical_start, md.number_of_pages, md.attribute) for md in regions
    ]
    ours = [(md.physical_start, md.virtual_start) for md in regions]
    theirs = [(pa, va) for _, pa, va, _, _ in real_regions]
    tables = linux.swapper_pg_dir.pa, linux.initial_page_table.pa
    for held, (swapper, initial), pairs in (
        (memory, (roots["swapper_pg_dir"], roots["initial_page_table"]), theirs),
        (linux.memory, tables, ours),
    ):
        for pa, va in pairs:
            assert walk(held, swapper, va, mode).pa == pa
            assert walk(held, initial, va, mode).pa is None, "a copy that is too old"
            assert {walk(held, root, pa, mode).pa for root in (swapper, initial)} == {None}, "paging is off in the call"


def test_a_real_pae_kernels_two_entries_lead_to_one_table_and_so_do_the_models():
    memory, roots, mode = real_tables("e2-i386-pae")
    linux = modelled("i386-pae").linux
    assert isinstance(linux, Linux32)
    ours = linux.memory, linux.swapper_pg_dir.pa, linux.initial_page_table.pa
    for held, swapper, initial in ((memory, roots["swapper_pg_dir"], roots["initial_page_table"]), ours):
        kernel, copy = top(held, swapper, mode), top(held, initial, mode)
        assert [entry & 0xFFF for entry in copy] == [P, 0, 0, P]
        assert copy[0] == copy[3] == kernel[3]
        assert kernel[:3] == [0, 0, 0]


def test_without_pae_a_device_above_4_gib_is_mapped_where_32_bits_of_its_address_lead():
    """Nobody notices before its registers are used, which this firmware of 32 bits never does."""
    wrapped, whole = (
        efimm.run(efimm.machine("4G", arch=arch, firmware="high-device"), "3.5") for arch in ("i386", "i386-pae")
    )
    for found, pa in ((wrapped, lambda start: start & 0xFFFF_FFFF), (whole, lambda start: start)):
        device = max(found.linux.memmap, key=lambda md: md.physical_start)
        assert device.physical_start > 1 << 32
        assert found.linux.cpu.walk(device.virtual_start).pa == pa(device.physical_start)
        assert found.verdict == "success"
