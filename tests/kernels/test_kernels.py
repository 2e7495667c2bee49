"""The kernels of the story beside each other: what each differs in, and what becomes of the call where they differ.

The rows of the oracle table of the reference facts (section 11) that concern x86-64 are here; expected values are
arithmetic on addresses, or what a source of that kernel says.
"""

from dataclasses import replace
from itertools import pairwise

import pytest

import efimm
from efimm.linux.direct_map import init_memory_mapping
from efimm.run import at_call, enter
from efimm.scenarios import after_kexec
from efimm.trace import EntryWrite, LoadCr3, writes

LINE, GIB = 512 << 30, 1 << 30

CHANGES = {
    ("va-patch", "3.5"): ["memmap_pointer", "i386.memmap_pointer"],
    ("hpa-sync", "3.5"): [
        *("setup_real_mode", "pgd_populate", "sync_global_pgds", "efi_call_phys"),
        *("i386.sync_initial_page_table", "i386.set_kernel_pgd"),
    ],
    ("rhel6", "3.5"): ["efi_enter_virtual_mode", "efi_alloc_page_tables", "efi_call_phys", "efi_call_virt"],
    ("3.8-rc", "3.5"): ["init_mem_mapping", "setup_real_mode", "sync_global_pgds", "efi_call_virt"],
    ("3.8", "3.5"): ["init_mem_mapping", "efi_call_phys"],
    ("3.14", "3.8"): [
        "setup_arch",
        "init_mem_mapping",
        "setup_real_mode",
        "sync_global_pgds",
        "efi_enter_virtual_mode",
        "efi_alloc_page_tables",
        "efi_map_regions",
        "efi_setup_page_tables",
        "efi_call_phys",
        "efi_call_virt",
        "efi_runtime_update_mappings",
        "efi_runtime_map",
        "i386.efi_map_regions",
    ],
    ("4.6", "3.14"): [
        *("efi_reserve_boot_services", "efi_enter_virtual_mode"),
        *("efi_alloc_page_tables", "efi_map_regions", "efi_call_phys", "efi_call_virt"),
        "i386.sync_initial_page_table",
    ],
    ("old-map", "4.6"): [
        *("setup_real_mode", "efi_enter_virtual_mode", "efi_alloc_page_tables", "efi_map_regions"),
        *("efi_setup_page_tables", "efi_call_phys", "efi_call_virt"),
        *("efi_runtime_update_mappings", "efi_runtime_map"),
    ],
    ("old-map", "3.8"): [
        *("setup_arch", "efi_reserve_boot_services", "init_mem_mapping", "setup_real_mode", "sync_global_pgds"),
        *("efi_map_regions", "i386.sync_initial_page_table", "i386.efi_map_regions"),
    ],
    ("6.1", "4.6"): [
        *("setup_arch", "efi_reserve_boot_services", "setup_real_mode", "mm_init", "sync_global_pgds"),
        *("efi_enter_virtual_mode", "efi_alloc_page_tables", "efi_map_regions", "efi_setup_page_tables"),
        *("efi_call_phys", "efi_call_virt", "efi_runtime_update_mappings"),
    ],
    ("6.12", "6.1"): ["kernel_map_pages_in_pgd"],
    ("7.3", "6.12"): ["efi_alloc_page_tables", "efi_call_virt"],
    ("hpa-offset", "hpa-sync"): [
        *("setup_real_mode", "sync_global_pgds", "efi_enter_virtual_mode", "efi_alloc_page_tables"),
        *("efi_map_regions", "efi_call_virt"),
    ],
}


def outcome(kernel, ram="1T", **options):
    return efimm.run(efimm.machine(ram, **options), kernel)


@pytest.mark.parametrize(("new", "old"), CHANGES)
def test_a_kernel_differs_in_exactly_the_functions_that_its_history_names(new, old):
    assert CHANGES[new, old] == efimm.KERNELS[new].differs_from(efimm.KERNELS[old])


def test_kernels_stand_in_the_order_of_their_dates():
    orders = [kernel.order for kernel in efimm.KERNELS.values()]

    assert sorted(set(orders)) == orders


# Nathan Zimmer's loop (oracle 9 and 10)


@pytest.mark.parametrize(("ram", "slots"), [("1G", 1), ("509G", 1), ("512G", 2), ("1T", 3), ("1500G", 3), ("64T", 128)])
def test_nathans_loop_borrows_a_slot_for_every_512_gib_that_ram_reaches(ram, slots):
    found = outcome("3.8", ram)
    low = [w for w in writes(found.trace.events, "swapper_pg_dir") if w.index < 256]

    assert found.verdict == "success"
    assert [*range(slots), *range(slots)] == [write.index for write in low], "filled, then given back"
    assert all(write.old == 0 for write in low[:slots])
    assert all(write.new == 0 for write in low[slots:])


@pytest.mark.parametrize("buffer", [0x12345000, 0x7FFFFFF000, 0x7FFFFFFF80, 0x8000001000, 0xFFFFFFF000, 0x10000000000])
def test_nathans_loop_reaches_every_byte_of_ram(buffer):
    assert outcome("3.8", "2T", buffer=buffer).verdict == "success"


def walk_at_call(machine, kernel, va):
    """What the processor would find for `va` when the firmware is entered."""
    return at_call(efimm.boot(machine, kernel), lambda cpu: cpu.walk(va))


def test_nathans_loop_ends_where_ram_ends():
    """A runtime device above all RAM has a kernel address, and no identity map during the call."""
    machine = efimm.machine(map="hp-superdome2-3tib")
    device = next(md.physical_start for md in machine.map.descriptors if md.physical_start > 1 << 43)

    assert efimm.run(machine, "3.8").verdict == "success"
    walk = walk_at_call(machine, "3.8", device)
    assert (None, "pgd", device >> 39, 0) == (walk.pa, walk.last.level.name, walk.last.index, walk.last.entry)


def test_in_3_8_a_hole_above_4_gib_is_not_mapped_and_in_3_5_it_is():
    """The machine of the evidence: RAM below 2 GiB and from 512 GiB on, the rest of e820 reserved."""
    machine, hole = efimm.machine(map="qemu-ovmf-514gib-linux-3.5"), 0x40_0000_0000

    assert walk_at_call(machine, "3.5", hole).pa == hole
    assert walk_at_call(machine, "3.8", hole).pa is None


def test_the_loop_writes_nothing_but_the_top_level():
    """It costs no table: every slot it fills leads to a table that the direct map has."""
    linux = efimm.boot(efimm.machine("2T"), "3.8")
    direct = {index - 272: entry for index, entry in linux.swapper_pg_dir.slots().items() if 272 <= index < 400}
    with linux.trace.record() as story:
        efimm.efi_enter_virtual_mode(linux)
    filled = {
        event.index: event.new
        for event in story
        if isinstance(event, EntryWrite) and event.table == "swapper_pg_dir" and event.index < 256 and event.new
    }

    assert direct == filled


# A table for the firmware: 3.14, 4.6, 6.1 (oracle 11)

OWN_TABLE = ("3.14", "4.6", "6.1", "6.12", "7.3")


@pytest.mark.parametrize("buffer", [0x12345000, 0x7FFFFFF000, 0x8000001000, 0xFFFFF000000, None])
@pytest.mark.parametrize("kernel", OWN_TABLE)
def test_the_array_is_mapped_for_the_call_wherever_it_lies(kernel, buffer):
    found = outcome(kernel, "32T", buffer=buffer)

    assert found.verdict == "success"
    assert found.pointer == found.buffer_pa == (found.buffer_pa if buffer is None else buffer)


@pytest.mark.parametrize("kernel", OWN_TABLE)
def test_no_more_than_the_array_is_identity_mapped_above_512_gib(kernel):
    """113 descriptors of 48 bytes grow through 2 and 4 pages: 4 pages are mapped, executable nowhere."""
    machine = efimm.machine(map="qemu-ovmf-514gib-linux-3.5")
    found = efimm.run(machine, kernel)
    reached = [walk_at_call(machine, kernel, found.buffer_pa + page * 4096) for page in range(-1, 5)]

    assert found.buffer_pa > LINE
    assert [False, True, True, True, True, False] == [walk.pa is not None for walk in reached]
    assert not any(walk.executable for walk in reached if walk.pa is not None)


def regions_of(linux):
    """The descriptors of the array, in its order."""
    pa = linux.new_memmap - linux.layout.page_offset
    count = range(linux.memmap_count)
    return [efimm.uefi.EfiMemoryDescriptor.unpack(linux.memory.read(pa + 48 * k, 48)) for k in count]


@pytest.mark.parametrize("kernel", OWN_TABLE)
@pytest.mark.parametrize("name", ["ovmf-vm-12gib", "hp-superdome2-3tib", "dell-r630-64gib"])
def test_regions_lie_below_minus_4_gib_and_keep_their_offset_in_2_mib(kernel, name):
    regions = regions_of(efimm.run(efimm.machine(map=name), kernel).linux)
    starts = [md.virtual_start for md in regions]

    assert starts == sorted(starts, reverse=True)
    assert starts[0] + regions[0].size <= 0xFFFF_FFFF_0000_0000
    assert starts[-1] >= 0xFFFF_FFEF_0000_0000
    assert all(md.virtual_start % (2 << 20) == md.physical_start % (2 << 20) for md in regions)
    for upper, lower in pairwise(regions):
        gap = upper.virtual_start - lower.virtual_start - lower.size
        assert 0 <= gap < 2 << 20, "each at the first place that fits"


@pytest.mark.parametrize(("kernel", "reverse"), [("3.14", False), ("4.6", True), ("6.1", True)])
def test_since_4_4_the_order_in_memory_is_kept(kernel, reverse):
    """The firmware's parts keep their order when the last region gets the highest address (a5caa209ba9c)."""
    starts = [md.physical_start for md in regions_of(outcome(kernel, "4G").linux)]

    assert starts == sorted(starts, reverse=reverse)


@pytest.mark.parametrize("kernel", OWN_TABLE)
def test_firmware_runs_on_its_table_in_every_call_and_the_kernel_on_its_own_in_between(kernel):
    found = outcome(kernel, "1T")
    linux = found.linux
    loads = [event.new for event in found.trace.events if isinstance(event, LoadCr3)]

    assert linux.efi_pgd.pa == found.linux.call_cr3 != linux.swapper_pg_dir.pa
    assert [linux.efi_pgd.pa, linux.swapper_pg_dir.pa] * 2 == loads[-4:], "SetVirtualAddressMap, then GetTime"
    assert linux.cpu.cr3 == linux.swapper_pg_dir.pa
    assert [] == [slot for slot in linux.swapper_pg_dir.slots() if slot < 256], (
        "the kernel's own lower half stays empty"
    )


@pytest.mark.parametrize("kernel", OWN_TABLE)
def test_firmware_that_keeps_a_physical_address_still_finds_it_in_a_later_call(kernel):
    """The 1:1 map stays, for firmware that touches a device by its physical address after the switch (185034e72d59)."""
    linux = outcome(kernel, "1T").linux
    place = linux.firmware.layout.runtime_table
    with linux.kernel.efi_call_virt(linux):
        assert linux.cpu.walk(place).pa == place
    assert linux.cpu.walk(place).pa is None


def kernels_view(linux, pa):
    """What the kernel's own table has for physical address `pa` in the direct map."""
    return efimm.x86.walk(linux.memory, linux.swapper_pg_dir.pa, linux.layout.phys_to_virt(pa))


def test_in_3_14_what_is_mapped_for_the_firmware_leaks_into_the_kernel_and_in_4_6_it_does_not():
    """trampoline_pgd shares slot 0 with the direct map and slot 511 with kernel text: writable and executable pages."""
    for kernel, leaks in (("3.14", True), ("4.6", False), ("6.1", False)):
        linux = outcome(kernel, "1T").linux
        code = next(md for md in linux.memmap if md.type == 5 and md.runtime)
        window = efimm.x86.walk(linux.memory, linux.swapper_pg_dir.pa, code.virtual_start)
        low = kernels_view(linux, code.physical_start)

        assert [code.physical_start if leaks else None] * 2 == [window.pa, low.pa], kernel
        assert [leaks, leaks] == [walk.pa is not None and walk.writable and walk.executable for walk in (window, low)]


def test_in_3_14_the_kernels_own_view_of_boot_services_becomes_executable():
    """They are RAM and so in the direct map: mapping them 1:1 changes those very entries."""
    for kernel, executable in (("3.14", True), ("4.6", False)):
        linux = outcome(kernel, "4G").linux
        boot_code = next(md for md in linux.memmap if md.type == 3 and md.number_of_pages)
        view = kernels_view(linux, boot_code.physical_start)
        assert (boot_code.physical_start, executable) == (view.pa, view.executable), kernel


def test_clearing_the_arrays_1_to_1_map_in_3_14_would_take_it_from_the_kernel():
    """Why efi_enter_virtual_mode does not: one entry serves both."""
    for kernel, same in (("3.14", True), ("4.6", False)):
        linux = outcome(kernel, "4G", buffer=0x5000_0000).linux
        mine = efimm.x86.walk(linux.memory, linux.efi_pgd.pa, 0x5000_0000).last
        kernels = kernels_view(linux, 0x5000_0000).last
        assert same == ((mine.table, mine.index) == (kernels.table, kernels.index)), kernel


def test_in_3_14_a_high_array_gets_a_slot_of_its_own_and_nothing_leaks():
    linux = outcome("3.14", "1T", buffer=0x8000001000).linux
    tables = [entry & 0x000F_FFFF_FFFF_F000 for entry in linux.swapper_pg_dir.slots().values()]

    assert linux.trampoline_pgd[1].address not in tables


@pytest.mark.parametrize("kernel", OWN_TABLE)
def test_a_hole_and_reserved_memory_are_not_in_the_direct_map(kernel):
    linux = efimm.boot(efimm.machine(map="qemu-ovmf-514gib-linux-3.5"), kernel)
    for pa, mapped in ((0xA0000, True), (0x806000, False), (0x6EEA0000, False), (1 << 32, False), (LINE, True)):
        assert (kernels_view(linux, pa).pa == pa) == mapped, hex(pa)


def test_slots_of_a_table_that_4_6_shares_follow_the_kernel_at_the_next_call():
    linux = outcome("4.6", "4G").linux
    pa = 8 * LINE
    assert init_memory_mapping(linux, pa, pa + GIB)
    assert linux.efi_pgd[280] == 0
    with linux.kernel.efi_call_virt(linux):
        assert linux.cpu.walk(linux.layout.phys_to_virt(pa)).pa == pa
    assert linux.efi_pgd[280] == linux.swapper_pg_dir[280] != 0


def test_6_1_makes_all_slots_of_vmalloc_at_once():
    linux = efimm.boot(efimm.machine("4G"), "6.1")

    assert set(range(402, 466)) <= set(linux.swapper_pg_dir.slots())
    assert {402} == {
        slot for slot in efimm.boot(efimm.machine("4G"), "4.6").swapper_pg_dir.slots() if 402 <= slot < 466
    }


def test_a_device_of_more_than_the_window_gets_no_address():
    """64 GiB: the region is passed with virtual address 0, and what lies below it in the window has none either."""
    small = efimm.machine("4G").map
    device = efimm.uefi.EfiMemoryDescriptor(11, 1 << 44, 0, 64 * GIB >> 12, 1 << 63 | 1)
    machine = efimm.machine(map=replace(small, descriptors=(*small.descriptors, device)))
    found = efimm.run(machine, "3.14")

    assert 0 == regions_of(found.linux)[-1].virtual_start
    assert "[Firmware Warn]: VA address range overflow!" in found.trace.console


@pytest.mark.parametrize(("kernel", "who"), [("4.6", "kernel"), ("6.1", "firmware")])
def test_when_the_last_region_uses_the_window_up_the_first_later_call_goes_wrong(kernel, who):
    """From the last region to the first: no other has an address; get_systab_virt_addr computes with 0 all the same.

    4.6's kernel reads the system table at an offset of 0; 6.1 has mapped page 0, and calls what it finds there.
    """
    small = efimm.machine("4G").map
    device = efimm.uefi.EfiMemoryDescriptor(11, 1 << 44, 0, 64 * GIB >> 12, 1 << 63 | 1)
    found = efimm.run(efimm.machine(map=replace(small, descriptors=(*small.descriptors, device))), kernel)

    assert {0} == {md.virtual_start for md in regions_of(found.linux) if md.physical_start < 1 << 44}
    assert ("wrong-memory", efimm.EfiStatus.EFI_SUCCESS, who) == (found.verdict, found.status, found.who)
    assert found.linux.efi_systab < 4096


def test_a_device_of_more_than_a_gib_gets_entries_with_reserved_bits():
    """1 GiB pages are chosen by the virtual address; the physical one keeps only its offset in 2 MiB."""
    small = efimm.machine("4G").map
    device = efimm.uefi.EfiMemoryDescriptor(11, (1 << 44) + (2 << 20), 0, 3 * GIB >> 12, 1 << 63 | 1)
    machine = efimm.machine(map=replace(small, descriptors=(*small.descriptors, device)))
    linux = efimm.run(machine, "6.1").linux
    start = regions_of(linux)[0].virtual_start
    middle = efimm.x86.walk(linux.memory, linux.efi_pgd.pa, (start // GIB + 1) * GIB)

    assert (None, "reserved bit", "pud") == (middle.pa, middle.problem, middle.last.level.name)


# after kexec


def kexec(kernel, *, hand_on=True):
    """The first kernel, and what became of the second one."""
    firsts = []

    def efi_runtime_map(linux):
        firsts.append(linux)
        return efimm.KERNELS[kernel].efi_runtime_map(linux) if hand_on else ()

    record = replace(efimm.KERNELS[kernel], efi_runtime_map=efi_runtime_map)
    found = after_kexec(efimm.boot(efimm.machine("4G"), record))
    return firsts[0], found


@pytest.mark.parametrize("kernel", OWN_TABLE)
def test_after_kexec_the_regions_are_where_the_kernel_before_had_them(kernel):
    """1fec0533693c; before it, and when nothing is handed on, the firmware is asked again, and refuses."""
    first, found = kexec(kernel)
    second = found.linux

    assert (found.verdict, found.status, second.memmap_count) == ("success", None, 0)
    for md in (md for md in first.memmap if md.runtime):
        assert md.physical_start == efimm.x86.walk(second.memory, second.efi_pgd.pa, md.virtual_start).pa
    assert kexec(kernel, hand_on=False)[1].status == 1 << 63 | 3


def test_after_kexec_hpas_offset_needs_nothing_to_be_told():
    """The firmware's own table shows that it has switched, and every address is 2^46 above the physical one."""
    first, found = kexec("hpa-offset", hand_on=False)
    runtime = [md for md in first.memmap if md.runtime]

    assert (found.verdict, found.status) == ("success", None)
    assert {1 << 46} == {md.virtual_start - md.physical_start for md in runtime}
    with found.linux.efi_call_virt():
        assert all(found.linux.cpu.walk(md.virtual_start).pa == md.physical_start for md in runtime)


@pytest.mark.parametrize("kernel", ["3.5", "va-patch", "hpa-sync", "3.8"])
def test_after_kexec_the_others_ask_again_and_are_refused(kernel):
    assert kexec(kernel)[1].status == 1 << 63 | 3


# KASLR and KPTI: two ways to break a borrowed slot

# The direct map where a real 6.1 kernel had it with KASLR, 448 GiB into slot 280; one GiB into a slot; on a slot.
SHIFTED, BY_A_GIB, ALIGNED = 0xFFFF_8C70_0000_0000, 0xFFFF_8880_4000_0000, 0xFFFF_8900_0000_0000


@pytest.mark.parametrize("buffer", [0x12345000, 0x8000001000, 0xFFF0000000])
@pytest.mark.parametrize(("page_offset", "shift"), [(SHIFTED, 448 * GIB), (BY_A_GIB, GIB), (ALIGNED, 0), (None, 0)])
def test_a_slot_copied_whole_shifts_by_what_page_offset_has_beyond_a_slot(page_offset, shift, buffer):
    """No fault says so where there is RAM: the processor finds other memory (trap 18 of the reference facts)."""
    machine = efimm.machine("1T", kaslr=page_offset, buffer=buffer)
    found = walk_at_call(machine, "old-map", buffer)

    assert found.pa == (buffer - shift if buffer >= shift else None)
    assert efimm.run(machine, "old-map").verdict == ("success" if shift == 0 else "page-fault")


@pytest.mark.parametrize("page_offset", [SHIFTED, BY_A_GIB, ALIGNED])
@pytest.mark.parametrize("kernel", ["6.1", "6.12", "7.3"])
def test_a_table_of_the_firmwares_own_does_not_mind_where_the_direct_map_is(kernel, page_offset):
    assert outcome(kernel, kaslr=page_offset, buffer=0x8000001000).verdict == "success"


def test_with_kaslr_6_1s_trampoline_has_a_1_to_1_map_of_one_gib():
    """As in the capture with KASLR: slot 0 leads to a page of its own, whose only entry is the direct map's."""
    linux = efimm.boot(efimm.machine("4G", kaslr=SHIFTED), "6.1")
    table, kernels = linux.trampoline_pgd[0].address, linux.swapper_pg_dir[280].address
    entries = [linux.memory.read_u64(table + 8 * k) for k in range(512)]

    assert [linux.memory.read_u64(kernels + 8 * 448)] + [0] * 511 == entries
    assert entries[0]
    assert (table != kernels, linux.trampoline_pgd[0] & 0xFFF) == (True, 0x063), "0x67c04063 in the capture"
    reached = [efimm.x86.walk(linux.memory, linux.trampoline_pgd.pa, pa).pa for pa in (0x9C000, GIB - 1, GIB)]
    assert [0x9C000, GIB - 1, None] == reached


@pytest.mark.parametrize("kernel", ["3.5", "3.14", "4.6"])
def test_a_kernel_older_than_4_8_cannot_move_its_direct_map(kernel):
    with pytest.raises(efimm.MachineError, match="does not move its direct map"):
        outcome(kernel, kaslr=ALIGNED)


@pytest.mark.parametrize("options", [{"kaslr": 0xFFFF_8880_0000_1000}, {"kaslr": 1 << 40}, {"kaslr": "here"}])
def test_a_place_that_kaslr_does_not_choose_is_refused(options):
    with pytest.raises(efimm.MachineError):
        outcome("6.1", **options)


@pytest.mark.parametrize("options", [{"kaslr": ALIGNED}, {"kpti": True}])
def test_i386_has_neither_here(options):
    with pytest.raises(efimm.MachineError, match="x86_64"):
        outcome("4.6", "4G", arch="i386", **options)


def test_kpti_forbids_execution_through_a_borrowed_slot_that_user_mode_may_use():
    """4.15's old_map broke on it (de53c3786a3c): the entry has US, so it gets NX, and the firmware cannot run."""
    assert outcome("old-map").verdict == "success"
    found = outcome("old-map", kpti=True)
    linux = found.linux

    assert found.fault is not None
    assert (found.fault.cr2, 0x11) == (linux.firmware.service("SetVirtualAddressMap"), found.fault.error_code)
    entry = next(event.new for event in writes(linux.trace.events, "swapper_pg_dir") if event.index == 0)
    assert entry == linux.swapper_pg_dir[272] | 1 << 63, "only the alias: the direct map's entry stays as it was"
    assert not linux.swapper_pg_dir[272] >> 63


def test_kpti_leaves_3_8_alone_whose_first_slot_is_the_kernels_only():
    """Static slot 272 has no US; the slots that were made later have, and need not be executable for an array."""
    linux = efimm.boot(efimm.machine("1T", kpti=True, buffer=0x8000001000), "3.8")
    slots = [linux.swapper_pg_dir[index] & 4 for index in (272, 273)]
    found = enter(linux)
    entries = {event.index: event.new >> 63 for event in writes(linux.trace.events, "swapper_pg_dir") if event.new}

    assert [0, 4] == slots
    assert (0, 1, 1) == (entries[0], entries[1], entries[2])
    assert found.verdict == "success"


@pytest.mark.parametrize("kernel", ["4.6", "6.1"])
def test_kpti_does_not_touch_a_table_of_the_firmwares_own(kernel):
    assert outcome(kernel, kpti=True).verdict == "success"
