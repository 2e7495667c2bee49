"""Machines that came later: five levels, encrypted memory, firmware of 32 bits.

Each expected value follows from the lines that are named, in the version that is named.  Real boots judge the first
(test_captured_kaslr.py); no judge here can show the other two.
"""

import pytest

import efimm
from efimm.linux.direct_map import arch_add_memory
from efimm.linux.layout import PAGE_ENC
from efimm.show.grid_view import tip
from efimm.trials import Trial
from efimm.x86 import LONG4, LONG5, walk


def leaf(linux, va, table="efi_pgd"):
    """The last entry of the walk of `va`."""
    return walk(linux.memory, getattr(linux, table).pa, va, linux.layout.mode).entries[-1]


def test_with_five_levels_one_slot_holds_what_four_levels_have_in_512():
    four, five = (efimm.run(efimm.machine("64T", arch=arch), "6.1") for arch in ("x86_64", "x86_64-la57"))

    assert (128, 1) == tuple(
        sum(slot in found.linux.swapper_pg_dir.slots() for slot in found.linux.layout.region("direct map").slots)
        for found in (four, five)
    )
    assert ("success", 0) == (five.verdict, five.slot)
    assert four.slot > 64
    assert five.linux.call_mode is LONG5


@pytest.mark.parametrize("kernel", ["3.5", "3.8", "4.6", "old-map"])
def test_a_kernel_without_five_levels_uses_four_on_the_same_processor(kernel):
    four, five = (efimm.run(efimm.machine("1T", arch=arch), kernel) for arch in ("x86_64", "x86_64-la57"))

    assert (four.verdict, four.slot, four.reason) == (five.verdict, five.slot, five.reason)
    assert five.linux.call_mode is LONG4


def test_ram_added_with_five_levels_needs_no_new_slot():
    linux = efimm.boot(efimm.machine("256G", arch="x86_64-la57"), "6.1")
    before = list(linux.swapper_pg_dir.slots())
    arch_add_memory(linux, 768 << 30, 300 << 30)

    assert before == list(linux.swapper_pg_dir.slots())
    assert walk(linux.memory, linux.swapper_pg_dir.pa, linux.phys_to_virt(1040 << 30), LONG5).pa == 1040 << 30


@pytest.mark.parametrize("arch", ["x86_64", "x86_64-la57"])
@pytest.mark.parametrize("kernel", ["6.1", "6.12", "7.3"])
def test_under_sme_the_kernels_memory_and_the_array_are_encrypted_and_the_firmwares_regions_are_not(kernel, arch):
    """_PAGE_ENC in efi_setup_page_tables and __map_region, v6.1; from the C, not judged."""
    found = efimm.run(efimm.machine("4G", arch=arch, sme=True), kernel)
    linux = found.linux
    kept = [found.buffer_pa, linux.phys_to_virt(found.buffer_pa), 0]
    plain = [va for md in linux.memmap if md.runtime for va in (md.physical_start, md.virtual_start)]

    assert found.verdict == "success"
    assert all(leaf(linux, va) & PAGE_ENC for va in kept)
    assert plain
    assert not any(leaf(linux, va) & PAGE_ENC for va in plain)
    assert not leaf(efimm.run(efimm.machine("4G"), kernel).linux, found.buffer_pa) & PAGE_ENC


def test_a_kernel_from_before_sme_leaves_memory_as_it_is():
    linux = efimm.run(efimm.machine("4G", sme=True), "4.6").linux
    assert not leaf(linux, linux.layout.page_offset, "swapper_pg_dir") & PAGE_ENC


@pytest.mark.parametrize("kernel", ["4.6", "6.1", "7.3"])
def test_32_bit_firmware_keeps_its_addresses_and_gets_the_low_half_of_each_argument(kernel):
    """efi_map_region and __efi64_thunk, v6.1; from the C, not judged."""
    near, far = (efimm.run(efimm.machine(ram, mixed=True), kernel) for ram in ("2G", "1T"))

    assert (near.verdict, near.pointer) == ("success", near.buffer_pa)
    assert all(md.virtual_start == md.physical_start for md in near.linux.memmap if md.runtime)
    assert far.pointer == far.buffer_pa & 0xFFFF_FFFF != far.buffer_pa
    assert (far.verdict, far.who) == ("wrong-memory", "firmware")


@pytest.mark.parametrize("kernel", ["3.5", "3.14", "rhel6"])
def test_a_64_bit_kernel_before_mixed_mode_makes_no_call_of_32_bit_firmware(kernel):
    """ "No EFI runtime due to 32/64-bit mismatch with kernel", efi.c, v3.5 and v3.14."""
    found = efimm.run(efimm.machine("1T", mixed=True), kernel)

    assert (found.verdict, found.status, found.linux.call_cr3) == ("success", None, 0)
    assert "does not call firmware of 32 bits" in efimm.text(found)


def test_whoever_shows_what_no_judge_can_show_says_so():
    report = efimm.gauntlet("7.3", progress=False)
    assert "From the C, not judged: LASS, physical clock; memory" in str(report)
    assert "From the C, not judged." in tip("7.3", Trial("32-bit firmware, 2G", "success", ""))
    assert "not judged" not in tip("7.3", Trial("1T of RAM", "success", ""))


@pytest.mark.parametrize("option", ["sme", "mixed"])
def test_a_32_bit_machine_has_neither(option):
    with pytest.raises(efimm.MachineError, match="expected with x86_64"):
        efimm.machine("2G", arch="i386", **{option: True})
