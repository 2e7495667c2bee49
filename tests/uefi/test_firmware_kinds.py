"""The kinds of firmware: what each makes of a kernel, reasoned from what it was seen to do."""

import pytest

import efimm
from efimm.linux.layout import PAGE_OFFSET
from efimm.trace import Access
from efimm.uefi.firmwares import EDK2, FIRMWARES


def verdict(firmware, kernel="3.5", ram="256G", arch="x86_64"):
    return efimm.run(efimm.machine(ram, firmware=firmware, arch=arch), kernel).verdict


def test_every_kind_has_a_source_and_differs_from_edk2():
    functions = ("set_virtual_address_map", "get_time", "get_variable", "get_memory_map")
    for kind in FIRMWARES.values():
        assert kind.source
        assert kind is EDK2 or any(getattr(kind, f) is not getattr(EDK2, f) for f in functions)


def test_a_firmware_that_looks_the_pointer_up_refuses_a_kernel_address_before_it_commits():
    found = efimm.run(efimm.machine("1T", firmware="checks-pointer"), "va-patch")
    assert (found.verdict, found.status) == ("refused", 1 << 63 | 2)
    variables = found.linux.firmware.layout.variables
    assert found.linux.memory.read(variables, 1) == b"\0"  # VirtualMode: a right pointer may still follow
    assert verdict("checks-pointer", "hpa-sync", "1T") == "success"


@pytest.mark.parametrize("kernel", efimm.KERNELS)
def test_physical_addresses_after_the_switch_need_an_identity_map_that_stays(kernel):
    found = efimm.run(efimm.machine("256G", firmware="physical-clock"), kernel)
    linux, clock = found.linux, found.linux.firmware.layout.image("PcRtc").buffer
    with linux.kernel.efi_call_virt(linux):
        mapped = linux.cpu.walk(clock).pa == clock
    assert found.verdict == ("success" if mapped else "wrong-memory")
    assert mapped != any(f"{clock:#x}" in line for line in linux.trace.console)


def test_3_5_fails_on_firmware_that_keeps_using_physical_addresses():
    assert verdict("physical-clock", "3.5") == "wrong-memory"


def test_virtual_only_firmware_is_content_with_the_switch():
    assert verdict("virtual-only") == "success"


def apart(linux, first, second):
    """By how much the regions with these two physical addresses have moved differently."""
    moved = [
        md.virtual_start - md.physical_start
        for pa in (first, second)
        for md in linux.memmap
        if md.physical_start <= pa < md.end and md.runtime
    ]
    return moved[1] - moved[0]


@pytest.mark.parametrize("kernel", ["3.5", "3.14", "4.6", "6.1"])
def test_touching_regions_of_one_type_stay_together_since_linux_merges_them(kernel, monkeypatch):
    """Matthew Garrett's Macs: two flash regions side by side.  Without efi_merge_regions 3.14 puts the second lower."""
    assert verdict("contiguous", kernel) == "success"

    monkeypatch.setattr("efimm.linux.efi.merge_regions", lambda _memmap: None)
    found = efimm.run(efimm.machine("256G", firmware="contiguous"), kernel)
    layout = found.linux.firmware.layout
    distance = apart(found.linux, layout.system_table, layout.image("PcRtc").buffer)
    assert (kernel == "3.14") == (distance != 0)
    assert found.verdict == ("success" if distance == 0 else "wrong-memory")


def test_on_i386_it_is_the_merging_that_keeps_them_together():
    assert verdict("contiguous", "3.5", "4G", "i386") == "success"
    told = efimm.boot(efimm.machine("4G", firmware="contiguous"), "3.5").memmap
    data = [md for md in told if md.type == 6 and md.runtime]
    assert [data[0].end, data[0].attribute] == [data[1].physical_start, data[1].attribute]


def test_code_and_data_that_refer_to_each_other_stay_together_in_the_direct_map_and_part_in_the_vmalloc_area():
    """The properties table of UEFI 2.5: regions of two types, which nothing merges."""
    assert verdict("properties-table") == "success"
    linux = efimm.run(efimm.machine("4G", firmware="properties-table", arch="i386"), "3.5").linux
    code, data = (next(md for md in linux.memmap if md.type == kind and md.runtime) for kind in (5, 6))
    assert data.end == code.physical_start
    assert apart(linux, code.physical_start, data.physical_start) != 0, "ioremap aligns, and leaves a guard page"
    assert verdict("properties-table", "3.5", "4G", "i386") == "wrong-memory"


def test_since_a5caa209ba9c_the_order_in_memory_is_kept():
    """3.14 gives the first region the highest address; from the last region to the first, distances stay."""
    assert verdict("properties-table", "3.14") == "wrong-memory"
    assert verdict("properties-table", "4.6") == verdict("properties-table", "6.1") == "success"


def test_firmware_on_its_own_table_finds_the_array_anywhere_and_a_kernel_address_nowhere():
    assert verdict("own-table", "3.5", "1T") == "success"
    found = efimm.run(efimm.machine("1T", firmware="own-table"), "va-patch")
    assert found.verdict == "page-fault"
    assert found.fault is not None
    assert found.fault.cr2 == found.buffer_pa + PAGE_OFFSET + 32
    reads = [event for event in found.linux.trace.events if isinstance(event, Access)]
    assert reads  # its own code and data were reached at their physical addresses


def test_32_bit_firmware_needs_no_table_of_its_own():
    assert verdict("own-table", "3.5", "4G", "i386") == "success"
