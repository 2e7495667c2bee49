"""Real kernels on real firmware: what their consoles and monitors showed, against what the model does.

The logs are of Linux 3.5.0, 3.6.5 and 3.8.13 on OVMF in QEMU (November 2026).  They are the judge; the model gets the
memory map of a log and nothing else, or, where a log's array lay at an unusual place, that address too.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import efimm
from efimm.uefi import EfiMemoryDescriptor, EfiStatus, read_map

EVIDENCE = Path(__file__).parents[2] / "shared" / "facts" / "evidence"
pytestmark = pytest.mark.skipif(not EVIDENCE.is_dir(), reason="the logs of real kernels (../shared/facts) are not here")

OOPS_3_5 = "2-linux-3.5.0-buffer-above-512G.log"
OOPS_3_6 = "linux-3.6.5-buffer-above-512g-oops.log"
VA_3_5 = "3-linux-3.5.0-robin-va-buffer-above-512G.log"
NATHAN_3_8 = "4-linux-3.8.13-nathan-buffer-above-512G.log"
EXACT_3_8 = "linux-3.8.13-buffer-above-512g-success.log"
VA_3_6 = "linux-3.6.5-va-patch-buffer-above-512g-success.log"
PLAIN_3_5 = "0-linux-3.5.0-plain-2G-guest.log"
LOW_3_6 = "linux-3.6.5-buffer-low-success.log"
LOGS = {
    PLAIN_3_5: "3.5",
    "1-linux-3.5.0-buffer-below-512G.log": "3.5",
    OOPS_3_5: "3.5",
    VA_3_5: "va-patch",
    OOPS_3_6: "3.5",
    LOW_3_6: "3.5",
    VA_3_6: "va-patch",
    NATHAN_3_8: "3.8",
    EXACT_3_8: "3.8",
}


def printed(name: str) -> str:
    return (EVIDENCE / name).read_text(errors="replace")


def number(pattern: str, text: str, base: int = 0) -> int:
    found = re.search(pattern, text)
    assert found, f"no {pattern} in the log"
    return int(found[1], base)


def outcome(name: str) -> efimm.Outcome:
    array = number(r"new_memmap va=\w+ pa=(0x\w+)", printed(name))
    return efimm.run(efimm.machine(map=read_map(EVIDENCE / name), buffer=array), LOGS[name])


def monitor_entry(text: str, pa: int) -> int:
    """The 64-bit word at `pa` in the output of the monitor's xp command."""
    for line in text.splitlines():
        if found := re.match(r"([0-9a-f]{16}): (0x\w+)(?: (0x\w+))?", line):
            for place, word in enumerate(found.groups()[1:]):
                if word and int(found[1], 16) + 8 * place == pa:
                    return int(word, 16)
    raise AssertionError(f"{pa:#x} is not in the monitor's output")


@pytest.mark.parametrize("name", LOGS)
def test_the_verdict_is_that_of_the_real_boot(name: str) -> None:
    text = printed(name)
    faulted = "BUG: unable to handle kernel paging request" in text
    survived = "No init found" in text

    assert faulted != survived
    assert outcome(name).verdict == ("page-fault" if faulted else "success")


@pytest.mark.parametrize("name", LOGS)
def test_as_many_descriptors_are_passed_as_the_real_kernel_printed(name: str) -> None:
    assert number(r"new_memmap .* count=(\d+)", printed(name)) == outcome(name).linux.memmap_count


@pytest.mark.parametrize("name", [OOPS_3_5, OOPS_3_6])
def test_the_fault_is_the_one_in_the_oops(name: str) -> None:
    text, found = printed(name), outcome(name)
    assert found.fault is not None

    assert found.fault.cr2 == number(r"paging request at ([0-9a-f]{16})", text, 16)
    assert found.fault.error_code == number(r"Oops: ([0-9a-f]{4})", text, 16)
    assert found.fault.index == number(r"paging request at ([0-9a-f]{16})", text, 16) >> 39
    assert "PGD 0 \n" in text
    assert found.fault.walk.steps[-1].entry == 0


@pytest.mark.parametrize("name", [OOPS_3_5, OOPS_3_6])
def test_the_console_of_the_oops_reads_the_same(name: str) -> None:
    text = printed(name)
    for line in outcome(name).trace.console:
        if line.startswith(("BUG:", "PGD", "Oops:", "Kernel panic")):
            assert line in text


@pytest.mark.parametrize("name", LOGS)
def test_the_direct_map_grows_in_the_steps_that_the_console_prints(name: str) -> None:
    """Of 3.6.5, but for the line on its highest RAM: it leaves out the hole above 4 GiB, which 3.5 maps."""

    def steps(lines: list[str]) -> list[str]:
        wanted = [line for line in lines if re.match(r"init_memory_mapping: | \[mem .*\] page ", line)]
        return [line for line in wanted if "0x81ffffffff" not in line or "3.6.5" not in name]

    assert steps(printed(name).splitlines()) == steps(outcome(name).trace.console)


@pytest.mark.parametrize("name", [name for name in LOGS if "3.6.5" not in name])
def test_the_page_tables_come_from_the_same_memory(name: str) -> None:
    def tables(lines: list[str]) -> list[str]:
        return [line for line in lines if line.startswith("kernel direct mapping tables")]

    assert tables(printed(name).splitlines()) == tables(outcome(name).trace.console)


@pytest.mark.parametrize("name", [name for name in LOGS if name != PLAIN_3_5])
def test_the_default_placement_is_where_the_real_array_lay(name: str) -> None:
    """All but the 2 GiB guest, whose array came from free crumbs at the bottom of its only zone (see page_alloc.py)."""
    placed = efimm.run(efimm.machine(map=read_map(EVIDENCE / name)), LOGS[name])

    assert number(r"new_memmap va=\w+ pa=(0x\w+)", printed(name)) == placed.buffer_pa


@pytest.mark.parametrize("name", [name for name in LOGS if "3.5.0" in name or name == NATHAN_3_8])
def test_the_slots_before_the_prelog_hold_what_was_printed(name: str) -> None:
    linux = efimm.boot(efimm.machine(map=read_map(EVIDENCE / name)), LOGS[name])
    for slot, value in re.findall(r"\[(\d+)\]=(0x\w+)", printed(name)):
        assert int(value, 16) == linux.swapper_pg_dir[int(slot)], f"slot {slot}"


def test_the_slots_of_3_6_have_the_same_flags() -> None:
    linux = outcome(OOPS_3_6).linux

    assert [linux.swapper_pg_dir[slot] & 0xFFF for slot in (0, 1, 272, 273)] == [0x063, 0, 0x063, 0x067]


def test_the_firmware_gets_the_same_descriptors_in_the_same_order() -> None:
    found = outcome(OOPS_3_5)
    memory, linux = found.linux.memory, found.linux
    with (EVIDENCE / "svam-table-3.5.0.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    expected = [
        EfiMemoryDescriptor(int(r["type"]), int(r["phys"], 0), int(r["virt"], 0), int(r["pages"]), int(r["attr"], 0))
        for r in rows
    ]
    array = [EfiMemoryDescriptor.unpack(memory.read(found.buffer_pa + 48 * k, 48)) for k in range(linux.memmap_count)]

    assert len(expected) == 113
    assert expected == array


def test_the_table_at_the_call_has_the_entries_that_the_monitor_showed() -> None:
    """The CPU stopped at the call's entry.  After a fault nothing is undone, so this is the model's end state, too."""
    monitor = (EVIDENCE / "2c-at-SVAM-entry-monitor.txt").read_text()
    found = outcome(OOPS_3_5)
    pgd = found.linux.swapper_pg_dir
    cr3 = number(r"CR3=([0-9a-f]{16})", monitor, 16)

    assert cr3 == found.linux.call_cr3
    for slot in (0, 1, 2, 3, 4, 5, 6, 7, 272, 273, 274, 275, 511):
        assert monitor_entry(monitor, cr3 + 8 * slot) == pgd[slot], f"slot {slot}"
    mapped = {
        int(start, 16) >> 39 & 511 for start in re.findall(r"^([0-9a-f]{16})-[0-9a-f]{16} ", monitor, re.MULTILINE)
    }
    assert mapped | {0, 273} == set(pgd.slots())


@pytest.mark.parametrize("va", [0x80F8838000, 0x7FFFFFFFFF, 0x8000000000, 0x6FAE0234])
def test_addresses_translate_as_the_monitor_said_at_the_call(va: int) -> None:
    monitor = (EVIDENCE / "2c-at-SVAM-entry-monitor.txt").read_text()
    answer = re.search(rf"gva2gpa {va:#x}\n(.*)", monitor)
    assert answer
    expected = None if answer[1] == "Unmapped" else int(answer[1].split()[1], 16)

    assert expected == outcome(OOPS_3_5).linux.cpu.walk(va).pa


def test_lower_tables_hold_what_the_monitor_showed_at_the_fault() -> None:
    """The first GiB by 2 MiB and executable, the rest of low RAM in a table from the early block, 1 GiB pages above."""
    monitor = (EVIDENCE / "2-at-fault-monitor.txt").read_text()
    memory = outcome(OOPS_3_5).linux.memory
    for table, count in ((0x1196000, 8), (0x119A000, 16), (0x7FE7F000, 16)):
        for pa in range(table, table + 8 * count, 8):
            assert monitor_entry(monitor, pa) == memory.read_u64(pa), hex(pa)


def test_after_the_fault_the_firmware_has_committed_and_nothing_is_converted() -> None:
    linux = outcome(OOPS_3_5).linux
    layout = linux.firmware.layout
    virtual_mode, at_runtime = linux.memory.read(layout.variables, 2)
    services = [linux.memory.read_u64(layout.runtime_table + 24 + 8 * k) for k in range(14)]

    assert (1, 1) == (virtual_mode, at_runtime)
    assert [pa for pa in services if pa >> 47] == []
    assert linux.swapper_pg_dir[0] != 0, "the epilog did not run"
    linux.memory.write_u64(linux.swapper_pg_dir.pa + 8, int(linux.swapper_pg_dir[273]))  # repair the map by hand
    again = linux.firmware.call(
        linux.cpu, linux.firmware.service("SetVirtualAddressMap"), 48 * 113, 48, 1, linux.pointer
    )
    assert EfiStatus.EFI_UNSUPPORTED == again


def at_the_call(name: str) -> efimm.Linux:
    """The kernel of a log, stopped where the firmware is entered, with the memory as the kernel prepared it."""
    kernel = efimm.KERNELS[LOGS[name]]

    @contextmanager
    def stop(linux: efimm.Linux) -> Iterator[None]:
        with kernel.efi_call_phys(linux):
            raise InterruptedError
            yield

    array = number(r"new_memmap va=\w+ pa=(0x\w+)", printed(name))
    linux = efimm.boot(efimm.machine(map=read_map(EVIDENCE / name), buffer=array), replace(kernel, efi_call_phys=stop))
    with pytest.raises(InterruptedError):
        efimm.efi_enter_virtual_mode(linux)
    return linux


def leaves(linux: efimm.Linux, table: int, shift: int = 39, va: int = 0) -> Iterator[tuple[int, int]]:
    """(first, end) of every page under `table`, in order, with addresses made canonical."""
    for index in range(512):
        entry = int.from_bytes(linux.memory.read(table + 8 * index, 8), "little")
        start = va + (index << shift)
        if entry & 1 and (shift == 12 or (entry & 0x80 and shift < 39)):
            canonical = start | 0xFFFF << 48 if start >> 47 else start
            yield canonical, canonical + (1 << shift)
        elif entry & 1:
            yield from leaves(linux, entry & 0x000F_FFFF_FFFF_F000, shift - 9, start)


def joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, end in ranges:
        if found and found[-1][1] == start:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return found


def test_nathans_loop_maps_all_that_the_monitor_showed_at_the_call_and_no_more() -> None:
    """3.8.13 at the call's entry: `info mem`, but for the fixmap and the vsyscall page, which the model lacks."""
    monitor = (EVIDENCE / "4-at-SVAM-entry-monitor.txt").read_text()
    shown = re.findall(r"^([0-9a-f]{16})-([0-9a-f]{16}) ", monitor, re.MULTILINE)
    linux = at_the_call(NATHAN_3_8)
    fixmap = 0xFFFF_FFFF_FF00_0000

    expected = [(int(start, 16), int(end, 16)) for start, end in shown if int(start, 16) < fixmap]
    assert expected == joined(leaves(linux, linux.cpu.cr3))
    assert [(0, 0x7FF78000), (0x8000000000, 0x8100000000)] == expected[:2], "the identity map"


def test_nathans_loop_fills_the_slots_that_the_monitor_showed_at_the_call() -> None:
    monitor = (EVIDENCE / "4-at-SVAM-entry-monitor.txt").read_text()
    linux = at_the_call(NATHAN_3_8)
    cr3 = number(r"CR3=([0-9a-f]{16})", monitor, 16)

    assert cr3 == linux.cpu.cr3
    for slot in (0, 1, 2, 3, 4, 5, 6, 7, 272, 273, 274, 275, 511):
        assert monitor_entry(monitor, cr3 + 8 * slot) == linux.swapper_pg_dir[slot], f"slot {slot}"
    for va, answer in re.findall(r"gva2gpa (0x\w+)\n(.*)", monitor):
        assert (None if answer == "Unmapped" else int(answer.split()[1], 16)) == linux.cpu.walk(int(va, 16)).pa
    array = number(r"R9 =([0-9a-f]{16})", monitor, 16)
    assert array == linux.pointer
    for pa in range(array, array + 96, 8):
        assert monitor_entry(monitor, pa) == linux.memory.read_u64(pa), hex(pa)


def test_nathans_loop_gives_the_slots_back() -> None:
    found = outcome(NATHAN_3_8)

    assert [] == [slot for slot in found.linux.swapper_pg_dir.slots() if slot < 256]


@pytest.mark.parametrize("name", [VA_3_5, VA_3_6, NATHAN_3_8, EXACT_3_8])
def test_after_a_success_twelve_services_are_virtual_and_two_are_not(name: str) -> None:
    """As the monitor showed after Robin Holt's patch: SetVirtualAddressMap and ConvertPointer stay physical."""
    linux = outcome(name).linux
    table = linux.firmware.layout.runtime_table
    services = [linux.memory.read_u64(table + 24 + 8 * k) for k in range(14)]

    assert [4, 5] == [k for k, pointer in enumerate(services) if not pointer >> 47]
