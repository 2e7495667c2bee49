"""The oracle table (tests/data/oracle.csv): its 15 rows, each one run.

What is expected stands in that table, which was reasoned from the kernels' and edk2's sources before there was a model.
"""

import csv
import re
from contextlib import contextmanager
from dataclasses import replace

import pytest
from captures import ORACLE, text_of

import efimm
from efimm.kernels import hpa_sync, v3_5, va_patch
from efimm.linux import Linux32
from efimm.linux.direct_map import arch_add_memory
from efimm.linux.i386.efi import efi_call_phys
from efimm.run import enter
from efimm.trace import Access, writes
from efimm.uefi import EfiMemoryDescriptor, EfiStatus
from efimm.x86 import walk

LINE, GIB = 512 << 30, 1 << 30
HIGH = 0x80_0000_1000
PAGE_OFFSET_32 = 0xC000_0000

# Rows 12 and 13 say "any": every kernel that calls SetVirtualAddressMap at all.
CALLERS = [name for name in efimm.KERNELS if efimm.run(efimm.machine("4G"), name).linux.memmap_count]
# Row 11 says "3.14+": every kernel that maps the array for the call.
MAPS_THE_ARRAY = [
    name for name, kernel in efimm.KERNELS.items() if kernel.efi_setup_page_tables is not v3_5.efi_setup_page_tables
]
# Row 14 has a physical address in PAE: every kernel whose 32-bit build passes one.
PASS_PA_32 = [
    name
    for name, kernel in efimm.KERNELS.items()
    if kernel.i386 and kernel.i386.memmap_pointer is v3_5.I386.memmap_pointer
]


def outcome(kernel, buffer=None, ram="1T", arch="x86_64"):
    return efimm.run(efimm.machine(ram, buffer=buffer, arch=arch), kernel)


def virtual_mode(linux):
    """edk2's variable, in the firmware's own data."""
    return linux.memory.read(linux.firmware.layout.variables, 1) != b"\0"


def call_again(linux, size=48, version=1):
    """SetVirtualAddressMap with the array as it is, and the arguments given."""
    firmware = linux.firmware
    length = size * linux.memmap_count
    address = firmware.service("SetVirtualAddressMap")
    if isinstance(linux, Linux32):
        with linux.record.efi_call_phys(linux):
            return efi_call_phys(linux, address, length, size, version, linux.pointer)
    with linux.kernel.efi_call_phys(linux):
        return firmware.call(linux.cpu, address, length, size, version, linux.pointer)


def test_there_are_as_many_rows_as_tests():
    rows = {int(row["row"]) for row in csv.DictReader(text_of(ORACLE).splitlines())}
    tested = {int(found[1]) for found in map(re.compile(r"test_row_(\d+)_").match, globals()) if found}

    assert rows == tested == set(range(1, 16))


def test_row_1_3_5_with_a_low_array_succeeds():
    found = outcome("3.5", 0x12345000)

    assert ("success", 0x12345000) == (found.verdict, found.pointer)


def test_row_2_3_5_with_an_array_above_512_gib_faults_in_slot_1_and_the_firmware_has_committed():
    found = outcome("3.5", HIGH)

    assert found.fault is not None
    assert (0, HIGH) == (found.fault.error_code, found.fault.cr2 & ~0xFF)
    assert ("pgd", 1) == (found.fault.level, found.fault.index)
    assert "PGD 0" in [line.strip() for line in found.trace.console]
    assert virtual_mode(found.linux)


def test_row_3_3_5_with_an_array_in_the_last_page_below_512_gib_succeeds():
    """A page holds 85 descriptors of 48 bytes, and this machine has fewer."""
    found = outcome("3.5", LINE - 4096)

    assert found.linux.memmap_count <= 85
    assert found.verdict == "success"


def test_row_4_robins_patch_succeeds_through_slot_273():
    found = outcome("va-patch", HIGH)

    assert ("success", 0xFFFF_8880_0000_1000, 273) == (found.verdict, found.pointer, found.slot)


@pytest.mark.parametrize("buffer", [0x200_0000, 0x1000_0000])
@pytest.mark.parametrize("arch", ["i386", "i386-pae"])
def test_row_5_robins_patch_on_i386_reads_another_memory_and_converts_nothing(arch, buffer):
    """The row's own address, 16 MiB, is where the model's kernel lies: others of low memory take its place."""
    found = outcome("va-patch", buffer, "4G", arch)
    before = efimm.boot(efimm.machine("4G", buffer=buffer, arch=arch), "va-patch")
    table = before.firmware.layout.runtime_table
    pages = {
        event.pa & ~0xFFF
        for event in found.trace.events
        if isinstance(event, Access) and event.pa is not None and event.pa >> 12 == (PAGE_OFFSET_32 + buffer) >> 12
    }

    assert found.pointer == PAGE_OFFSET_32 + buffer
    assert pages == {PAGE_OFFSET_32 + buffer}, "the kernel address, taken for a physical one"
    assert (EfiStatus.EFI_SUCCESS, "wrong-memory") == (found.status, found.verdict)
    assert before.memory.read(table + 24, 4 * 14) == found.linux.memory.read(table + 24, 4 * 14)


def test_row_6_a_kernel_address_on_3_5s_trampoline_pgd_faults_at_slot_273():
    kernel = replace(va_patch.KERNEL, name="va on trampoline_pgd", efi_call_phys=hpa_sync.efi_call_phys)
    found = outcome(kernel, HIGH)

    assert found.linux.call_cr3 == found.linux.trampoline_pgd.pa
    assert found.fault is not None
    assert ("pgd", 273, 0) == (found.fault.level, found.fault.index, found.fault.error_code)


@pytest.mark.parametrize("buffer", [0x12345000, HIGH, (1 << 40) + 4096])
@pytest.mark.parametrize("pointer", ["PA", "VA"])
def test_row_7_hpas_sync_succeeds_with_either_address(pointer, buffer):
    kernel = hpa_sync.KERNEL if pointer == "PA" else replace(hpa_sync.KERNEL, memmap_pointer=va_patch.memmap_pointer)

    assert outcome(kernel, buffer).verdict == "success"


@pytest.mark.parametrize(
    ("pointer", "synced", "missing"),
    [
        ("PA", (), 1),
        ("PA", (273,), 1),
        ("PA", (273, 1), None),
        ("VA", (), 273),
        ("VA", (1,), 273),
        ("VA", (1, 273), None),
    ],
)
def test_row_8_memory_added_after_the_last_sync_needs_both_indexes(pointer, synced, missing):
    """hpa's sync no longer listens when RAM is added above 512 GiB; the new entry is carried further by hand."""
    linux = efimm.boot(efimm.machine("256G"), "hpa-sync")
    deaf = replace(linux.kernel, pgd_populate=v3_5.pgd_populate, sync_global_pgds=v3_5.sync_global_pgds)
    linux.kernel = deaf if pointer == "PA" else replace(deaf, memmap_pointer=va_patch.memmap_pointer)
    arch_add_memory(linux, LINE, GIB)
    linux.machine = replace(linux.machine, buffer=HIGH)
    for index in synced:
        linux.trampoline_pgd[index] = linux.swapper_pg_dir[273]
    found = enter(linux)

    assert ("success" if missing is None else "page-fault") == found.verdict
    assert missing == (found.fault.index if found.fault and found.fault.level == "pgd" else None)


@pytest.mark.parametrize("where", [0x12345000, HIGH, 4 << 40, (8 << 40) - GIB])
def test_row_9_nathans_loop_reaches_any_ram_and_gives_its_slots_back(where):
    linux = efimm.boot(efimm.machine("8T", buffer=where), "3.8")
    before = [linux.swapper_pg_dir[index] for index in range(512)]
    found = enter(linux)

    assert where < linux.max_pfn << 12
    assert found.verdict == "success"
    assert before == [linux.swapper_pg_dir[index] for index in range(512)]


@pytest.mark.parametrize(
    ("device", "reached"),
    [(0x400_0000_0000, False), (0x107_0000_0000, False), (0xC000_0000, False), (0x7F00_0000, True)],
)
def test_row_10_a_device_above_ram_is_reached_only_in_a_copied_slot_and_the_direct_map(device, reached):
    """1 TiB of RAM, slots 0 to 2 copied: a slot of its own, the last copied one, the hole below 4 GiB, low RAM."""
    linux = efimm.boot(efimm.machine("1T"), "3.8")

    def touch_the_device(cpu):
        if not virtual_mode(linux):
            cpu.read(device, 8)

    linux.firmware.watchers.append(touch_the_device)
    found = enter(linux)

    assert ("success" if reached else "page-fault") == found.verdict
    assert reached or (found.fault is not None and found.fault.cr2 == device)
    assert reached or (found.fault is not None and (found.fault.level == "pgd") == (device >= 3 * LINE))


@pytest.mark.parametrize("buffer", [0x12345000, 0x7FFFFFF000, HIGH, 0xFFFFF000000, None])
@pytest.mark.parametrize("kernel", MAPS_THE_ARRAY)
def test_row_11_since_3_14_the_array_may_lie_anywhere(kernel, buffer):
    found = outcome(kernel, buffer, "32T")

    assert {"3.14", "4.6", "6.1"} <= set(MAPS_THE_ARRAY)
    assert ("success", found.buffer_pa) == (found.verdict, found.pointer)


@pytest.mark.parametrize("arch", ["x86_64", "i386", "i386-pae"])
@pytest.mark.parametrize("kernel", CALLERS)
def test_row_12_a_second_call_is_unsupported(kernel, arch):
    linux = outcome(kernel, None, "4G", arch).linux
    before = linux.memory.read(linux.firmware.layout.runtime_table, 0x88)

    assert call_again(linux) & 0xFF == 3  # EFI_UNSUPPORTED, in words of either size
    assert before == linux.memory.read(linux.firmware.layout.runtime_table, 0x88)


@pytest.mark.parametrize(("size", "version"), [(39, 1), (48, 2), (0, 1), (48, 0)])
@pytest.mark.parametrize("kernel", CALLERS)
def test_row_13_a_wrong_descriptor_size_or_version_is_refused_before_the_firmware_commits(kernel, size, version):
    """The right call follows inside the same seam, as a retry."""
    record = efimm.KERNELS[kernel]
    refused = []

    @contextmanager
    def wrong_call_first(linux):
        with record.efi_call_phys(linux):
            address = linux.firmware.service("SetVirtualAddressMap")
            length = size * linux.memmap_count
            status = linux.firmware.call(linux.cpu, address, length, size, version, linux.pointer)
            refused.append((status, virtual_mode(linux)))
            yield

    found = outcome(replace(record, efi_call_phys=wrong_call_first), ram="4G")

    assert [(EfiStatus.EFI_INVALID_PARAMETER, False)] == refused
    assert found.verdict == "success"


@pytest.mark.parametrize("kernel", PASS_PA_32)
def test_row_14_pae_succeeds_and_nothing_is_ever_synced(kernel):
    found = outcome(kernel, ram="4G", arch="i386-pae")
    linux = found.linux
    assert isinstance(linux, Linux32)
    written = {write.index: write.new for write in writes(found.trace.events, "initial_page_table")}

    assert (found.verdict, found.pointer) == ("success", found.buffer_pa)
    assert set(written) == {0, 3}
    assert len({linux.initial_page_table[k].address for k in (0, 3)} | {linux.swapper_pg_dir[3].address}) == 1


def test_row_15_with_two_levels_3_5s_gdt_is_out_of_reach_while_paging_is_on_and_the_call_works_by_luck():
    """Silicon does not read the GDT there; an emulator that does would fault.  f5f3497cad8c, in 4.4, maps it."""
    for kernel, mapped in (("3.5", False), ("4.6", True)):
        found = outcome(kernel, ram="4G", arch="i386")
        linux = found.linux
        assert isinstance(linux, Linux32)
        assert linux.gdt_at_call is not None
        assert (mapped, "success") == (linux.gdt_at_call.pa is not None, found.verdict)
        early = walk(linux.memory, linux.initial_page_table.pa, 0x100_0000, linux.layout.mode)
        assert early.pa == 0x100_0000, "the stub's own text is mapped at itself in either"


def test_a_descriptor_is_what_the_table_thinks_it_is():
    """Row 2's fault is at the Attribute of the first descriptor: offset 32 of 40 bytes."""
    found = outcome("3.5", HIGH)
    first = EfiMemoryDescriptor.unpack(found.linux.memory.read(found.buffer_pa, 48))

    assert found.fault is not None
    assert found.fault.cr2 - found.buffer_pa == 32
    assert found.linux.memory.read_u64(found.fault.cr2) == first.attribute
