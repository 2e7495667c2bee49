"""Real kernels on real firmware: what their consoles and monitors showed, against what the model does.

The logs are of Linux 3.5.0, 3.6.5 and 3.8.13 on OVMF in QEMU (November 2026).  They are the judge; the model gets the
memory map of a log and nothing else, or, where a log's array lay at an unusual place, that address too.
"""

import csv
import re
from contextlib import contextmanager
from dataclasses import replace

import pytest
from captures import BOOTS, opened, text_of

import efimm
from efimm.uefi import EfiMemoryDescriptor, EfiStatus, read_map

OOPS_3_5 = "2-linux-3.5.0-buffer-above-512G.log"
OOPS_3_6 = "linux-3.6.5-buffer-above-512g-oops.log"
VA_3_5 = "3-linux-3.5.0-robin-va-buffer-above-512G.log"
NATHAN_3_8 = "4-linux-3.8.13-nathan-buffer-above-512G.log"
EXACT_3_8 = "linux-3.8.13-buffer-above-512g-success.log"
VA_3_6 = "linux-3.6.5-va-patch-buffer-above-512g-success.log"
LOW_3_5 = "1-linux-3.5.0-buffer-below-512G.log"
PLAIN_3_5 = "0-linux-3.5.0-plain-2G-guest.log"
LOW_3_6 = "linux-3.6.5-buffer-low-success.log"
LOGS = {
    PLAIN_3_5: "3.5",
    LOW_3_5: "3.5",
    OOPS_3_5: "3.5",
    VA_3_5: "va-patch",
    OOPS_3_6: "3.5",
    LOW_3_6: "3.5",
    VA_3_6: "va-patch",
    NATHAN_3_8: "3.8",
    EXACT_3_8: "3.8",
}


def printed(name):
    return text_of(BOOTS / name)


def memory_map(name):
    return read_map(opened(BOOTS / name))


def number(pattern, text, base=0):
    found = re.search(pattern, text)
    assert found, f"no {pattern} in the log"
    return int(found[1], base)


def outcome(name):
    array = number(r"new_memmap va=\w+ pa=(0x\w+)", printed(name))
    return efimm.run(efimm.machine(map=memory_map(name), buffer=array), LOGS[name])


def monitor_entry(text, pa):
    """The 64-bit word at `pa` in the output of the monitor's xp command."""
    for line in text.splitlines():
        if found := re.match(r"([0-9a-f]{16}): (0x\w+)(?: (0x\w+))?", line):
            for place, word in enumerate(found.groups()[1:]):
                if word and int(found[1], 16) + 8 * place == pa:
                    return int(word, 16)
    raise AssertionError(f"{pa:#x} is not in the monitor's output")


@pytest.mark.parametrize("name", LOGS)
def test_the_verdict_is_that_of_the_real_boot(name):
    text = printed(name)
    faulted = "BUG: unable to handle kernel paging request" in text
    survived = "No init found" in text

    assert faulted != survived
    assert outcome(name).verdict == ("page-fault" if faulted else "success")


@pytest.mark.parametrize("name", LOGS)
def test_as_many_descriptors_are_passed_as_the_real_kernel_printed(name):
    assert number(r"new_memmap .* count=(\d+)", printed(name)) == outcome(name).linux.memmap_count


@pytest.mark.parametrize("name", [OOPS_3_5, OOPS_3_6])
def test_the_fault_is_the_one_in_the_oops(name):
    text, found = printed(name), outcome(name)
    assert found.fault is not None

    assert found.fault.cr2 == number(r"paging request at ([0-9a-f]{16})", text, 16)
    assert found.fault.error_code == number(r"Oops: ([0-9a-f]{4})", text, 16)
    assert found.fault.index == number(r"paging request at ([0-9a-f]{16})", text, 16) >> 39
    assert "PGD 0 \n" in text
    assert found.fault.walk.steps[-1].entry == 0


@pytest.mark.parametrize("name", [OOPS_3_5, OOPS_3_6])
def test_the_console_of_the_oops_reads_the_same(name):
    text = printed(name)
    for line in outcome(name).trace.console:
        if line.startswith(("BUG:", "PGD", "Oops:", "Kernel panic")):
            assert line in text


@pytest.mark.parametrize("name", LOGS)
def test_the_direct_map_grows_in_the_steps_that_the_console_prints(name):
    """Of 3.6.5, but for the line on its highest RAM: it leaves out the hole above 4 GiB, which 3.5 maps."""

    def steps(lines):
        wanted = [line for line in lines if re.match(r"init_memory_mapping: | \[mem .*\] page ", line)]
        return [line for line in wanted if "0x81ffffffff" not in line or "3.6.5" not in name]

    assert steps(printed(name).splitlines()) == steps(outcome(name).trace.console)


@pytest.mark.parametrize("name", [name for name in LOGS if "3.6.5" not in name])
def test_the_page_tables_come_from_the_same_memory(name):
    def tables(lines):
        return [line for line in lines if line.startswith("kernel direct mapping tables")]

    assert tables(printed(name).splitlines()) == tables(outcome(name).trace.console)


@pytest.mark.parametrize("name", [name for name in LOGS if name != PLAIN_3_5])
def test_the_default_placement_is_where_the_real_array_lay(name):
    """All but the 2 GiB guest, whose array came from free crumbs at the bottom of its only zone (see page_alloc.py)."""
    placed = efimm.run(efimm.machine(map=memory_map(name)), LOGS[name])

    assert number(r"new_memmap va=\w+ pa=(0x\w+)", printed(name)) == placed.buffer_pa


@pytest.mark.parametrize("name", [name for name in LOGS if "3.5.0" in name or name == NATHAN_3_8])
def test_the_slots_before_the_prelog_hold_what_was_printed(name):
    linux = efimm.boot(efimm.machine(map=memory_map(name)), LOGS[name])
    for slot, value in re.findall(r"\[(\d+)\]=(0x\w+)", printed(name)):
        assert int(value, 16) == linux.swapper_pg_dir[int(slot)], f"slot {slot}"


def test_the_slots_of_3_6_have_the_same_flags():
    linux = outcome(OOPS_3_6).linux

    assert [linux.swapper_pg_dir[slot] & 0xFFF for slot in (0, 1, 272, 273)] == [0x063, 0, 0x063, 0x067]


def test_the_firmware_gets_the_same_descriptors_in_the_same_order():
    found = outcome(OOPS_3_5)
    memory, linux = found.linux.memory, found.linux
    rows = list(csv.DictReader(printed("svam-table-3.5.0.tsv").splitlines(), delimiter="\t"))
    expected = [
        EfiMemoryDescriptor(int(r["type"]), int(r["phys"], 0), int(r["virt"], 0), int(r["pages"]), int(r["attr"], 0))
        for r in rows
    ]
    array = [EfiMemoryDescriptor.unpack(memory.read(found.buffer_pa + 48 * k, 48)) for k in range(linux.memmap_count)]

    assert len(expected) == 113
    assert expected == array


def test_the_table_at_the_call_has_the_entries_that_the_monitor_showed():
    """The CPU stopped at the call's entry.  After a fault nothing is undone, so this is the model's end state, too."""
    monitor = printed("2c-at-SVAM-entry-monitor.txt")
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
def test_addresses_translate_as_the_monitor_said_at_the_call(va):
    monitor = printed("2c-at-SVAM-entry-monitor.txt")
    answer = re.search(rf"gva2gpa {va:#x}\n(.*)", monitor)
    assert answer
    expected = None if answer[1] == "Unmapped" else int(answer[1].split()[1], 16)

    assert expected == outcome(OOPS_3_5).linux.cpu.walk(va).pa


def test_lower_tables_hold_what_the_monitor_showed_at_the_fault():
    """The first GiB by 2 MiB and executable, the rest of low RAM in a table from the early block, 1 GiB pages above."""
    monitor = printed("2-at-fault-monitor.txt")
    memory = outcome(OOPS_3_5).linux.memory
    for table, count in ((0x1196000, 8), (0x119A000, 16), (0x7FE7F000, 16)):
        for pa in range(table, table + 8 * count, 8):
            assert monitor_entry(monitor, pa) == memory.read_u64(pa), hex(pa)


def test_after_the_fault_the_firmware_has_committed_and_nothing_is_converted():
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


def at_the_call(name):
    """The kernel of a log, stopped where the firmware is entered, with the memory as the kernel prepared it."""
    kernel = efimm.KERNELS[LOGS[name]]

    @contextmanager
    def stop(linux):
        with kernel.efi_call_phys(linux):
            raise InterruptedError
            yield

    array = number(r"new_memmap va=\w+ pa=(0x\w+)", printed(name))
    linux = efimm.boot(efimm.machine(map=memory_map(name), buffer=array), replace(kernel, efi_call_phys=stop))
    with pytest.raises(InterruptedError):
        efimm.efi_enter_virtual_mode(linux)
    return linux


def leaves(linux, table, shift=39, va=0):
    """(first, end) of every page under `table`, in order, with addresses made canonical."""
    for index in range(512):
        entry = int.from_bytes(linux.memory.read(table + 8 * index, 8), "little")
        start = va + (index << shift)
        if entry & 1 and (shift == 12 or (entry & 0x80 and shift < 39)):
            canonical = start | 0xFFFF << 48 if start >> 47 else start
            yield canonical, canonical + (1 << shift)
        elif entry & 1:
            yield from leaves(linux, entry & 0x000F_FFFF_FFFF_F000, shift - 9, start)


def joined(ranges):
    found = []
    for start, end in ranges:
        if found and found[-1][1] == start:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return found


# The processor stopped where the firmware is entered: the monitor's text for each log.
AT_THE_CALL = {
    OOPS_3_5: "2c-at-SVAM-entry-monitor.txt",
    VA_3_5: "3-at-SVAM-entry-monitor.txt",
    NATHAN_3_8: "4-at-SVAM-entry-monitor.txt",
}
FIXMAP = 0xFFFF_FFFF_FF00_0000  # the fixmap and the vsyscall page lie above, which the model lacks


def ranges_shown(monitor):
    """What `info mem` lists, below the fixmap."""
    shown = re.findall(r"^([0-9a-f]{16})-([0-9a-f]{16}) ", monitor, re.MULTILINE)
    return [(int(start, 16), int(end, 16)) for start, end in shown if int(start, 16) < FIXMAP]


def words_shown(monitor):
    """Every 64-bit word of physical memory in the monitor's text."""
    words = {}
    for line in monitor.splitlines():
        if found := re.match(r"([0-9a-f]{16}):((?: 0x[0-9a-f]{16})+)$", line.rstrip()):
            for place, word in enumerate(found[2].split()):
                words[int(found[1], 16) + 8 * place] = int(word, 16)
    return words


@pytest.mark.parametrize("name", AT_THE_CALL)
def test_all_that_the_monitor_showed_at_the_call_is_mapped_and_no_more(name):
    monitor, linux = printed(AT_THE_CALL[name]), at_the_call(name)
    expected = ranges_shown(monitor)

    assert expected == joined(leaves(linux, linux.cpu.cr3))
    low = {
        OOPS_3_5: [(0, 0x7FF78000), (1 << 32, 512 << 30)],
        VA_3_5: [(0, 0x7FF78000), (1 << 32, 512 << 30)],
        NATHAN_3_8: [(0, 0x7FF78000), (512 << 30, 516 << 30)],
    }
    assert low[name] == [found for found in expected if found[0] < 1 << 47], "the identity map, to the byte"


@pytest.mark.parametrize("name", AT_THE_CALL)
def test_registers_and_memory_at_the_call_are_those_that_the_monitor_showed(name):
    """Slots, the words of the array, addresses asked for, and the arguments in RCX, RDX, R8 and R9."""
    monitor, linux = printed(AT_THE_CALL[name]), at_the_call(name)
    words = words_shown(monitor)

    assert number(r"CR3=([0-9a-f]{16})", monitor, 16) == linux.cpu.cr3
    assert len(words) >= 13 + 12
    assert {} == {hex(pa): hex(word) for pa, word in words.items() if word != linux.memory.read_u64(pa)}
    for va, answer in re.findall(r"gva2gpa (0x\w+)\n(.*)", monitor):
        assert (None if answer == "Unmapped" else int(answer.split()[1], 16)) == linux.cpu.walk(int(va, 16)).pa
    given = [number(rf"{name} *=([0-9a-f]{{16}})", monitor, 16) for name in ("RCX", "RDX", "R8", "R9")]
    assert given == [48 * linux.memmap_count, linux.machine.descriptor_size, 1, linux.pointer]


def test_after_the_fault_the_tables_are_still_those_of_the_call():
    monitor, linux = printed("2-at-fault-monitor.txt"), outcome(OOPS_3_5).linux

    assert ranges_shown(monitor) == joined(leaves(linux, linux.cpu.cr3))
    words = words_shown(monitor)
    assert len(words) >= 60
    assert {} == {hex(pa): hex(word) for pa, word in words.items() if word != linux.memory.read_u64(pa)}


def test_nathans_loop_gives_the_slots_back():
    found = outcome(NATHAN_3_8)

    assert [] == [slot for slot in found.linux.swapper_pg_dir.slots() if slot < 256]


@pytest.mark.parametrize("name", [VA_3_5, VA_3_6, NATHAN_3_8, EXACT_3_8])
def test_after_a_success_the_same_pointers_of_the_firmware_are_virtual(name):
    """Which words of the two tables the monitor showed as kernel addresses after Robin Holt's patch.

    Twelve services are, SetVirtualAddressMap and ConvertPointer are not; of the system table the vendor's name, the
    runtime table and the configuration table.
    """
    words = words_shown(printed("3-after-monitor.txt"))
    linux = outcome(name).linux
    for real, model, count in (
        (0x6F9EBB98, linux.firmware.layout.runtime_table, 17),
        (0x6F9EB018, linux.firmware.system_table, 15),
    ):
        theirs = {k: words[real + 8 * k] for k in range(count) if words[real + 8 * k] >> 47 == 0x1FFFF}
        read = [linux.memory.read_u64(model + 8 * k) for k in range(count)]
        ours = {k: word for k, word in enumerate(read) if word >> 47 == 0x1FFFF}

        assert len(theirs) == {17: 12, 15: 3}[count]
        assert theirs.keys() == ours.keys()
        assert all(in_runtime_region(linux, pointer - 0xFFFF_8800_0000_0000) for pointer in ours.values())


def in_runtime_region(linux, pa):
    return any(md.runtime and md.physical_start <= pa < md.end for md in linux.map.descriptors)


@pytest.mark.parametrize(("name", "monitor"), [(VA_3_5, "3-after-monitor.txt"), (LOW_3_5, "1-after-monitor.txt")])
def test_after_a_success_the_slots_are_as_before(name, monitor):
    linux = outcome(name).linux
    shown = {
        pa: word for pa, word in words_shown(printed(monitor)).items() if pa >> 12 == linux.swapper_pg_dir.pa >> 12
    }

    assert len(shown) >= 8
    assert {} == {hex(pa): hex(word) for pa, word in shown.items() if word != linux.memory.read_u64(pa)}
