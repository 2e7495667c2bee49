"""Three ways that mainline did not keep: RHEL 6's private table, the sync of December 2012, and hpa's offset of 2^46.

What is expected follows from the code that each kernel's module names, and from arithmetic on addresses.
"""

import pytest

import efimm
from efimm.linux import KernelError
from efimm.linux.direct_map import arch_add_memory
from efimm.trace import Enter, LoadCr3, writes
from efimm.uefi import EfiMemoryDescriptor
from efimm.x86 import mapped_ranges, walk

GIB, SLOT = 1 << 30, 512 << 30
PCD, NX = 1 << 4, 1 << 63
RUNTIME_CODE = 5


def outcome(kernel, ram="1T", **options):
    return efimm.run(efimm.machine(ram, **options), kernel)


def runtime_regions(linux):
    return [md for md in linux.memmap if md.runtime]


# rhel6


def test_rhel6_never_asks_the_firmware_to_switch_and_its_tables_stay_physical():
    found = outcome("rhel6")
    services = [event.step for event in found.trace.events if isinstance(event, Enter) and event.actor == "firmware"]
    table = found.linux.firmware.layout.runtime_table
    pointers = [found.linux.memory.read_u64(table + 24 + 8 * k) for k in range(14)]

    assert ["GetTime"] == services
    assert (None, 0, 0) == (found.status, found.buffer_pa, found.pointer)
    assert all(any(md.physical_start <= pa < md.end for md in runtime_regions(found.linux)) for pa in pointers)


@pytest.mark.parametrize("name", ["ovmf-vm-12gib", "hp-superdome2-3tib", "dell-r630-64gib"])
def test_rhel6s_table_has_the_runtime_regions_one_page_more_each_and_nothing_else_below(name):
    """`pfn <= end_pfn` is the loop's condition."""
    linux = efimm.run(efimm.machine(map=name), "rhel6").linux
    expected = {
        page
        for md in runtime_regions(linux)
        for page in range(md.physical_start, -(-md.end // 4096) * 4096 + 4096, 4096)
    }
    low = [found for found in mapped_ranges(linux.memory, linux.efi_pgd.pa) if found.va < 1 << 47]

    assert all(found.va == found.pa for found in low)
    assert expected == {page for found in low for page in range(found.va, found.end, 4096)}


def test_rhel6_lets_only_code_be_executed_and_does_not_cache_devices():
    linux = outcome("rhel6").linux
    for md in runtime_regions(linux):
        leaf = walk(linux.memory, linux.efi_pgd.pa, md.physical_start).last
        assert leaf is not None
        assert (leaf.level.name, bool(leaf.entry & NX)) == ("pte", md.type != RUNTIME_CODE)
        assert bool(leaf.entry & PCD) == (not md.attribute & 8)


def test_rhel6_has_the_kernels_half_as_it_was_and_switches_to_it_for_each_call():
    found = outcome("rhel6")
    linux = found.linux

    assert [linux.efi_pgd[k] for k in range(272, 512)] == [linux.swapper_pg_dir[k] for k in range(272, 512)]
    loads = [event.new for event in found.trace.events if isinstance(event, LoadCr3)]
    assert [linux.efi_pgd.pa, linux.swapper_pg_dir.pa] == loads[-2:]
    assert [] == [slot for slot in linux.swapper_pg_dir.slots() if slot < 256]


def test_rhel6_leaves_global_entries_in_the_tlb():
    """Only CR3 is written, and its pages are global: the firmware's stay reachable where no table maps them."""
    linux = outcome("rhel6").linux
    clock = linux.firmware.layout.image("PcRtc").buffer

    assert linux.cpu.walk(clock).pa is None
    assert linux.cpu.read(clock, 8) == linux.memory.read(clock, 8)
    linux.cpu.flush_tlb_all()
    with pytest.raises(efimm.PageFault):
        linux.cpu.read(clock, 8)


# 3.8-rc


@pytest.mark.parametrize(
    ("ram", "synced", "missed"), [("256G", set(), set()), ("900G", {273}, set()), ("1T", {273}, {274})]
)
def test_the_sync_of_december_2012_fills_the_kernels_half_alone_and_may_miss_the_last_slot(ram, synced, missed):
    """From 4 GiB on it goes by whole slots: 4, 516 and 1028 GiB; 1 TiB of RAM ends at 1026, in slot 274."""
    linux = efimm.boot(efimm.machine(ram), "3.8-rc")
    slots = {slot for slot in linux.trampoline_pgd.slots() if slot < 400}

    assert {0, 272} | synced == slots
    assert {272} | synced | missed == {slot for slot in linux.swapper_pg_dir.slots() if slot < 400}
    assert linux.trampoline_pgd[0] == linux.trampoline_pgd[272] == linux.swapper_pg_dir[272]


def test_what_it_was_made_for_works_firmware_that_keeps_physical_addresses():
    """185034e72d59: GetTime of ASUS machines, which 3.5 and 3.8 cannot call."""
    verdicts = {
        kernel: outcome(kernel, "256G", firmware="physical-clock").verdict for kernel in ("3.5", "3.8-rc", "3.8")
    }

    assert {"3.5": "wrong-memory", "3.8-rc": "success", "3.8": "wrong-memory"} == verdicts


@pytest.mark.parametrize(("ram", "verdict"), [("256G", "success"), ("900G", "success"), ("1T", "wrong-memory")])
def test_a_later_call_runs_on_trampoline_pgd_and_needs_its_arguments_there(ram, verdict):
    """With an array below 512 GiB, which the switch finds; GetTime's own buffer lies at the top of RAM."""
    found = outcome("3.8-rc", ram, buffer=0x12345000)
    loads = [event.new for event in found.trace.events if isinstance(event, LoadCr3)]

    assert (verdict, 0) == (found.verdict, found.status)
    assert found.linux.trampoline_pgd.pa == loads[-2 if verdict == "success" else -1]


# hpa-offset


@pytest.mark.parametrize("ram", ["4G", "1T", "64T"])
def test_slots_128_to_255_lead_where_the_direct_map_leads(ram):
    linux = efimm.boot(efimm.machine(ram), "hpa-offset")
    direct = {slot - 272: entry for slot, entry in linux.swapper_pg_dir.slots().items() if 272 <= slot < 400}
    table = linux.trampoline_pgd.slots()

    assert direct == {slot - 128: entry for slot, entry in table.items() if 128 <= slot < 256}
    assert direct == {slot: entry for slot, entry in table.items() if slot < 128}


@pytest.mark.parametrize("name", ["ovmf-vm-12gib", "hp-superdome2-3tib", "dell-r630-64gib"])
def test_every_region_is_2_to_the_46_above_itself_devices_too(name):
    found = efimm.run(efimm.machine(map=name), "hpa-offset")
    linux = found.linux
    places = range(found.buffer_pa, found.buffer_pa + 48 * linux.memmap_count, 48)
    regions = [EfiMemoryDescriptor.unpack(linux.memory.read(pa, 48)) for pa in places]

    assert found.verdict == "success"
    assert {1 << 46} == {md.virtual_start - md.physical_start for md in regions}
    for md in (md for md in regions if md.runtime):
        ends = (md.virtual_start, md.virtual_start + md.size - 1)
        assert [md.physical_start, md.end - 1] == [walk(linux.memory, linux.trampoline_pgd.pa, va).pa for va in ends]
        assert walk(linux.memory, linux.swapper_pg_dir.pa, md.virtual_start).pa is None, "a process's half"


def test_a_device_above_2_to_the_46_has_no_canonical_place_at_the_offset():
    with pytest.raises(KernelError, match=r"'hpa-offset': 0x800000000000, where it maps something, is not canonical"):
        efimm.run(efimm.machine("64T", firmware="high-device"), "hpa-offset")


def test_memory_added_later_is_at_the_offset_too():
    linux = efimm.boot(efimm.machine("256G"), "hpa-offset")
    arch_add_memory(linux, 4 * SLOT, GIB)
    found = [walk(linux.memory, linux.trampoline_pgd.pa, va + 4 * SLOT).pa for va in (0, 1 << 46)]

    assert [4 * SLOT] * 2 == found
    assert {4, 132, 276} <= {write.index for write in writes(linux.trace.events, "trampoline_pgd")}
