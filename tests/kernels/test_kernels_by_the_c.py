"""Where a kernel's own C decides: loops, marks and mappings that a model easily has a little wrong.

Each expected value follows from the lines that are named, in the version that is named.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import efimm
from efimm.kernels.v6_1 import LAYOUT_LA57
from efimm.linux import KernelError
from efimm.linux.direct_map import arch_add_memory, init_memory_mapping, one_block_3_5
from efimm.linux.page_alloc import alloc_pages
from efimm.linux.pgtable import pgd_alloc
from efimm.linux.setup import do_boot_cpu
from efimm.scenarios import Scenario, after_kexec
from efimm.text import reply, verdict_line
from efimm.trials import gauntlet
from efimm.uefi import runtime
from efimm.uefi.memmap import E820Entry, E820Type
from efimm.uefi.runtime import EDK2
from efimm.x86 import LONG4, PageTable

ROOT = Path(__file__).parents[2]
GIB = 1 << 30


# The loop of sync_global_pgds: arch/x86/mm/init_64.c


@pytest.mark.parametrize(("kernel", "reached"), [("3.5", False), ("3.14", False), ("4.6", False), ("6.1", True)])
def test_memory_added_across_a_slots_end_reaches_a_process_since_fc5f9d5f151c(kernel, reached):
    """300 GiB at 768 GiB: the loop that adds PGDIR_SIZE looks at 768 and 1280, ALIGN(addr + 1) at 768 and 1024."""
    linux = efimm.boot(efimm.machine("256G"), kernel)
    process = pgd_alloc(linux, "process")
    arch_add_memory(linux, 768 * GIB, 300 * GIB)
    linux.cpu.write_cr3(process.pgd.pa)
    address = linux.phys_to_virt(1040 * GIB)

    if reached:
        assert linux.cpu.read(address, 8) == bytes(8)
    else:
        with pytest.raises(efimm.PageFault):
            linux.cpu.read(address, 8)


@pytest.mark.parametrize(("kernel", "reached"), [("3.5", True), ("3.8", True), ("3.14", False)])
def test_until_3_8_the_callers_pass_the_exclusive_end_and_the_loop_looks_there_too(kernel, reached):
    """512 GiB at 260 end at 772: `sync_global_pgds(addr, end)` looks at 260 and 772, with `end - 1` at 260 alone."""
    linux = efimm.boot(efimm.machine("200G"), kernel)
    process = pgd_alloc(linux, "process")
    arch_add_memory(linux, 260 * GIB, 512 * GIB)
    slot = linux.layout.kernel_pgd_boundary + 1

    assert linux.swapper_pg_dir[slot]
    assert bool(process.pgd[slot]) == reached


def test_with_ram_that_ends_512_gib_after_4_gib_the_merge_window_of_3_8_syncs_the_last_slot():
    """4 and 516 GiB: the second is the exclusive end, and lies in the slot that is new."""
    found = efimm.run(efimm.machine("514G", buffer=0x1234_5000), "3.8-rc")

    assert found.linux.machine.highest_ram == 516 * GIB
    assert found.linux.trampoline_pgd[273] == found.linux.swapper_pg_dir[273] != 0
    assert found.verdict == "success"


# efi_reserve_boot_services (arch/x86/platform/efi/efi.c, later quirks.c)


def reads_in_the_switch(address):
    """edk2, but SetVirtualAddressMap looks at `address` first, as code of a boot driver may that was notified."""

    def set_virtual_address_map(firmware, cpu, *arguments):
        cpu.read(address, 8)
        return runtime.set_virtual_address_map(firmware, cpu, *arguments)

    return replace(EDK2, name="reads in the switch", set_virtual_address_map=set_virtual_address_map)


BOOT_DATA_UNDER_THE_KERNEL = 0x90_0000  # 9 to 21 MiB, and the kernel's image begins at 16 MiB


def test_boot_data_that_is_not_ours_to_free_is_mapped_since_4_6():
    """`md->attribute |= EFI_MEMORY_RUNTIME`, and so should_map_region; before, `md->num_pages = 0`."""
    machine = efimm.machine("4G", firmware=reads_in_the_switch(BOOT_DATA_UNDER_THE_KERNEL))
    found = efimm.run(machine, "4.6")
    region = next(md for md in found.linux.memmap if md.physical_start == BOOT_DATA_UNDER_THE_KERNEL)

    assert "success" == found.verdict
    assert (True, 0xC00) == (region.runtime, region.number_of_pages)


def test_3_14_marks_it_with_no_pages_and_the_direct_map_has_it_all_the_same():
    """trampoline_pgd[0] is the direct map's first slot: what 4.5's own table lacked, 3.14's had by accident."""
    machine = efimm.machine("4G", firmware=reads_in_the_switch(BOOT_DATA_UNDER_THE_KERNEL))
    found = efimm.run(machine, "3.14")
    region = next(md for md in found.linux.memmap if md.physical_start == BOOT_DATA_UNDER_THE_KERNEL)

    assert ("success", 0) == (found.verdict, region.number_of_pages)


# efi_map_region_fixed (arch/x86/platform/efi/efi_64.c): after kexec


@pytest.mark.parametrize(
    ("kernel", "firmware", "verdict"),
    [
        *((kernel, "edk2", "success") for kernel in ("3.14", "4.6", "6.1")),
        *(("3.14", "physical-clock", "wrong-memory"), ("4.6", "physical-clock", "wrong-memory")),
        ("6.1", "physical-clock", "success"),
    ],
)
def test_after_kexec_the_1_to_1_map_is_back_since_4_9(kernel, firmware, verdict):
    """`__map_region(md, md->phys_addr)` is in v4.9's efi_map_region_fixed; v3.14.1, v4.4 and v4.8-rc8 lack it."""
    first = efimm.boot(efimm.machine("4G", firmware=firmware), kernel)

    assert verdict == after_kexec(first).verdict


def test_after_kexec_3_14_calls_on_the_kernels_own_table():
    """`efi_scratch.use_pgd` is set in efi_setup_page_tables alone, which 3.14 passes by when it was kexec'd."""
    first = efimm.boot(efimm.machine("4G"), "3.14")
    found = after_kexec(first)

    assert found.linux.swapper_pg_dir.pa == found.linux.call_cr3
    assert efimm.x86.walk(found.linux.memory, found.linux.swapper_pg_dir.pa, found.linux.efi_systab).pa is not None


# Whose fault it is


def with_a_hole_in_the_direct_map(linux):
    """3.5's direct map without the upper half of the RAM."""
    linux.max_low_pfn_mapped = init_memory_mapping(linux, 0, linux.max_low_pfn << 12, one_block_3_5)
    linux.max_pfn_mapped = init_memory_mapping(linux, 1 << 32, linux.max_pfn << 11, one_block_3_5)


def test_a_fault_of_the_kernels_own_store_is_told_as_the_kernels():
    """The array's memory has no kernel address here: filling it faults before any firmware is called."""
    kernel = replace(efimm.KERNELS["3.5"], init_mem_mapping=with_a_hole_in_the_direct_map)
    found = efimm.run(efimm.machine("256G", buffer=200 * GIB), kernel)
    stored = found.linux.phys_to_virt(200 * GIB)

    assert ("page-fault", "kernel", stored) == (found.verdict, found.who, found.fault.cr2)
    assert "kernel" == found.summary()["who"]
    assert "page fault: the kernel itself could not write" in " ".join(efimm.text(found).split())
    assert "pointer" not in efimm.text(found)
    assert verdict_line(found).startswith(f"Page fault: the kernel's write of {stored:#x} needs ")
    explained = " ".join(reply(found, None).split())
    assert f"The kernel's write at {stored:#x} failed. The processor walked from CR3 = 0x1195000:" in explained
    assert "the firmware" not in explained.lower()
    assert "lower half" not in explained
    assert [f"BUG: unable to handle kernel paging request at {stored:016x}", "IP: efi_enter_virtual_mode"] == [
        line for line in found.trace.console if line.startswith(("BUG", "IP"))
    ]


@pytest.mark.parametrize(
    ("kernel", "options", "who"),
    [
        ("3.5", {"ram": "4G"}, None),
        ("3.5", {"ram": "1T"}, "firmware"),
        ("va-patch", {"ram": "1T", "firmware": "checks-pointer"}, "firmware"),
        ("3.5", {"ram": "4G", "firmware": "physical-clock"}, "firmware"),
    ],
)
def test_who_is_the_firmware_where_it_faults_or_refuses(kernel, options, who):
    assert who == efimm.run(efimm.machine(**options), kernel).who


# real_mode_header->trampoline_pgd is a u32 (arch/x86/include/asm/realmode.h)


def with_the_trampolines_table_high(kernel):
    """The kernel with trampoline_pgd where memblock gives a page: at the top of RAM."""
    record = efimm.KERNELS[kernel]

    def setup_real_mode(linux):
        linux.trampoline_pgd = PageTable(linux.memory, linux.memblock.alloc(4096), "trampoline_pgd", linux.trace)
        record.setup_real_mode(linux)

    return replace(record, setup_real_mode=setup_real_mode)


@pytest.mark.parametrize("kernel", efimm.KERNELS)
def test_another_processor_starts_on_the_trampolines_table(kernel):
    linux = efimm.boot(efimm.machine("1T"), kernel)
    cpu = do_boot_cpu(linux)

    assert (cpu.cr3, cpu.mode) == (linux.trampoline_pgd.pa, LONG4)
    assert cpu.walk(cpu.rip).pa == linux.image.start


@pytest.mark.parametrize("kernel", ["3.5", "hpa-sync", "3.14", "6.1"])
def test_above_4_gib_the_address_is_cut_and_the_processor_walks_something_else(kernel):
    linux = efimm.boot(efimm.machine("1T"), with_the_trampolines_table_high(kernel))
    pa = linux.trampoline_pgd.pa
    assert pa > 1 << 32

    with pytest.raises(efimm.PageFault) as caught:
        do_boot_cpu(linux)
    assert (pa & 0xFFFF_FFFF, "fetch") == (caught.value.walk.root, caught.value.kind)


@pytest.mark.parametrize("kernel", ["hpa-sync", "3.14"])
def test_and_so_does_the_call_on_that_table(kernel):
    """The processor cannot even store the return address: the fault is the kernel's, and no firmware was entered."""
    found = efimm.run(efimm.machine("1T"), with_the_trampolines_table_high(kernel))

    assert ("page-fault", "kernel", "write") == (found.verdict, found.who, found.fault.kind)
    assert found.linux.trampoline_pgd.pa & 0xFFFF_FFFF == found.linux.call_cr3


# Machines and kernels that cannot be


@pytest.mark.parametrize(
    ("ram", "page_offset", "said"),
    [
        ("1T", 0xFFFF_C8C0_0000_0000, "behind 0xffffc90000000000"),
        ("64T", 0xFFFF_8C70_0000_0000, "behind 0xffffc90000000000"),
        ("64T", 0xFFFF_C800_0000_0000, "behind 0xffffc90000000000"),
        ("1T", 0xFFFF_FFC0_0000_0000, "expected an address between"),
    ],
)
def test_a_direct_map_that_has_no_room_where_kaslr_would_put_it(ram, page_offset, said):
    with pytest.raises(efimm.MachineError, match=said) as caught:
        efimm.run(efimm.machine(ram, kaslr=page_offset), "6.1")
    assert "\n" not in str(caught.value)


def test_a_machine_without_ram_below_4_gib_is_refused_in_a_line():
    """The real-mode blob needs RAM below 1 MiB, and 3.5's image RAM below 512 GiB."""
    small = efimm.machine("4G").map
    high = replace(small, e820=(E820Entry(1 << 39, (1 << 39) + 4 * GIB, E820Type.RAM),))

    with pytest.raises(efimm.MachineError, match="no RAM below 4 GiB"):
        efimm.run(efimm.machine(map=high), "3.5")


def too_many_tables(linux):
    """One after the other, without end."""
    while True:
        alloc_pages(linux, 1000)


BROKEN = {
    "None": {"memmap_pointer": lambda _linux, _va: None},
    "negative": {"memmap_pointer": lambda _linux, _va: -1},
    "more than 64 bits": {"memmap_pointer": lambda _linux, _va: 1 << 64},
    "no number": {"memmap_pointer": lambda _linux, _va: 1.5},
    "no regions": {"efi_map_regions": lambda _linux: []},
    "regions without addresses": {"efi_map_regions": lambda linux: [replace(linux.memmap[0], virtual_start=-1)]},
    "no table": {"efi_alloc_page_tables": lambda _linux: None},
    "too many tables": {"efi_alloc_page_tables": too_many_tables},
    "no status": {"efi_enter_virtual_mode": lambda _linux: 5},
    "an error of its own": {"memmap_pointer": lambda _linux, _va: int("here")},
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_kernel_that_gives_what_cannot_be_is_broken_and_not_the_machine(what):
    mine = replace(efimm.KERNELS["3.8"], name="mine", **BROKEN[what])
    with pytest.raises(KernelError) as caught:
        efimm.run(efimm.machine("4G"), mine)
    [trial] = gauntlet(mine, scenarios=[Scenario("4G", {"ram": "4G"})], executor=ThreadPoolExecutor(1)).trials

    assert str(caught.value).startswith("broken: kernel 'mine': ")
    assert len(str(caught.value).splitlines()) == 1
    assert ("broken", "kernel 'mine': ") == (trial.verdict, trial.reason[:15])


def test_the_command_says_so_in_one_line(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\nfrom efimm.kernels import v3_8\n"
        "KERNEL = replace(v3_8.KERNEL, name='mine', memmap_pointer=lambda linux, va: None)\n"
    )
    command = [sys.executable, "-m", "efimm", "run", "--ram", "4G", "--kernel", "mine.py"]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )

    assert (2, "") == (ended.returncode, ended.stdout)
    assert ended.stderr.splitlines()[-1] == (
        "efimm: broken: kernel 'mine': memmap_pointer gave None; expected a number of 64 bits"
    )


def test_with_five_levels_everything_lies_where_linux_documents_it():
    """Documentation/x86/x86_64/mm.rst, v6.1, typed from it; the tables of real boots have little of it filled."""
    assert {region.name: (region.start, region.end - 1) for region in LAYOUT_LA57.regions if region.name != "hole"} == {
        "user": (0, 0x00FF_FFFF_FFFF_FFFF),
        "hypervisor hole": (0xFF00_0000_0000_0000, 0xFF0F_FFFF_FFFF_FFFF),
        "LDT remap": (0xFF10_0000_0000_0000, 0xFF10_FFFF_FFFF_FFFF),
        "direct map": (0xFF11_0000_0000_0000, 0xFF90_FFFF_FFFF_FFFF),
        "vmalloc": (0xFFA0_0000_0000_0000, 0xFFD1_FFFF_FFFF_FFFF),
        "vmemmap": (0xFFD4_0000_0000_0000, 0xFFD5_FFFF_FFFF_FFFF),
        "KASAN shadow": (0xFFDF_0000_0000_0000, 0xFFFF_FBFF_FFFF_FFFF),
        "cpu entry area": (0xFFFF_FE00_0000_0000, 0xFFFF_FE7F_FFFF_FFFF),
        "espfix stacks": (0xFFFF_FF00_0000_0000, 0xFFFF_FF7F_FFFF_FFFF),
        "EFI and kernel text": (0xFFFF_FF80_0000_0000, 0xFFFF_FFFF_FFFF_FFFF),
    }
