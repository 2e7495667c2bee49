"""docs/reading.md: its list, its order and its budget; and that its answers are what the code does."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

import efimm
from efimm.kernels import hpa_sync, v3_5
from efimm.linux.pgtable import pgd_alloc
from efimm.trace import EntryWrite, Trace
from efimm.uefi.runtime import EfiStatus
from efimm.x86 import LONG4, Cpu, PageTable, PhysMemory, walk

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
LISTED = re.findall(r"^\d+\. \[(\S+)\]\(\.\./efimm/(\S+)\)", PAGE, re.MULTILINE)

ORDER = [
    "x86/memory.py",
    "x86/modes.py",
    "x86/pagewalk.py",
    "x86/paging.py",
    "x86/cpu.py",
    "x86/faults.py",
    "uefi/runtime.py",
    "linux/layout.py",
    "linux/efi.py",
    "kernels/v3_5.py",
    "kernels/va_patch.py",
    "kernels/hpa_sync.py",
    "linux/pgtable.py",
    "run.py",
]
MAX_LINES = 2760  # some 40 of them: five levels, and memory that is encrypted; 35 what copies a machine, and is quick
SAID_TO_COME_LATER = {
    ("x86/pagewalk.py", "x86/paging.py"),
    ("x86/cpu.py", "x86/faults.py"),
    ("kernels/v3_5.py", "linux/pgtable.py"),
}


def source(name):
    return (ROOT / "efimm" / name).read_text(encoding="utf-8")


def imported(name):
    """The files that a file of efimm imports by name."""
    here = Path(name).parent.parts
    for node in ast.walk(ast.parse(source(name))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = "/".join([*here[: len(here) - node.level + 1], *(node.module or "").split(".")]).strip("/")
            yield f"{base}.py"
            yield from (f"{base}/{alias.name}.py".lstrip("/") for alias in node.names)


def test_the_list_and_its_order():
    assert LISTED == [(name, name) for name in ORDER]


def test_the_list_keeps_to_its_budget():
    assert sum(len(source(name).splitlines()) for name in ORDER) <= MAX_LINES


def test_no_file_needs_a_later_one_but_those_that_say_so():
    later = {(name, other) for k, name in enumerate(ORDER) for other in imported(name) if other in ORDER[k + 1 :]}

    assert later == SAID_TO_COME_LATER


def test_there_are_ten_questions_each_with_an_answer_folded_below():
    assert re.findall(r"^\*\*(\d+)\.\*\* ", PAGE, re.MULTILINE) == [str(number) for number in range(1, 11)]
    assert (
        len(re.findall(r"^<details><summary>Answer</summary>\n\n.+?\n\n</details>", PAGE, re.MULTILINE | re.DOTALL))
        == 10
    )


def test_every_name_of_code_in_the_page_is_in_the_code():
    text = "".join(map(source, ORDER))
    names = set(re.findall(r"`(?:\w+\.)*([a-zA-Z_]\w+)`", PAGE)) - {"None", "finally", "yield", "int", "invlpg"}

    assert {name for name in names if not re.search(rf"\b{name}\b", text)} <= {"Kernel", "efimm"}


# the address that travels


@pytest.fixture(scope="module")
def outcome():
    return efimm.run(efimm.machine("1T"), "3.5")


def test_the_address_travels_as_the_page_says(outcome):
    assert f"`{outcome.buffer_pa:#x}`" in PAGE
    assert f"`{outcome.fault.cr2:#x}`" in PAGE
    assert outcome.fault.cr2 == outcome.pointer + 32
    assert (outcome.fault.level, outcome.fault.index, outcome.fault.last.entry) == ("pgd", 2, 0)
    assert efimm.run(efimm.machine("1T"), "va-patch").slot == 274


# the answers


@pytest.fixture
def cpu(chain):
    memory = PhysMemory()
    processor = Cpu(memory, Trace(), mode=LONG4)
    chain(memory, 0x1000, 0x2003, 0x3003, 0x4003, 0x9003)
    processor.write_cr3(0x1000)
    return processor


def test_1_reading_makes_no_frame():
    memory = PhysMemory()

    assert (memory.read(0x1000, 8), memory.frames_in_use) == (bytes(8), 0)


def test_2_which_entry_an_address_uses():
    assert LONG4.levels[0].index(0x1003F438020) == 2


def test_3_looking_is_silent_and_reading_is_not(cpu):
    seen = list(cpu.trace.events)
    assert walk(cpu.memory, cpu.cr3, 0x5000).problem == "not present"
    assert cpu.trace.events == seen

    with pytest.raises(efimm.PageFault):
        cpu.read(0x5000, 8)
    assert (cpu.cr2, len(cpu.trace.events) > len(seen)) == (0x5000, True)


@pytest.mark.parametrize("forget", ["invlpg", "flush_tlb_all"])
def test_4_a_translation_that_was_used_is_remembered(cpu, forget):
    cpu.read(0x1000, 8)
    cpu.memory.write_u64(0x4008, 0)
    assert cpu.read(0x1000, 8) == bytes(8)

    getattr(cpu, forget)(*([0x1000] if forget == "invlpg" else []))
    with pytest.raises(efimm.PageFault):
        cpu.read(0x1000, 8)


def test_5_a_write_to_a_table_is_an_event():
    pgd = PageTable(PhysMemory(), 0x1000, "pgd", Trace())
    assert pgd[5] == 0
    pgd[5] = 7

    assert pgd.trace.events == [EntryWrite("pgd", 5, 0, 7)]


def test_6_the_firmware_has_committed_before_it_faults(outcome):
    linux = outcome.linux
    assert linux.memory.read(linux.firmware.layout.variables, 1) == b"\1"

    again = linux.firmware.call(linux.cpu, linux.firmware.service("SetVirtualAddressMap"), 0, 48, 1, 0)
    assert again == EfiStatus.EFI_UNSUPPORTED


def test_7_a_success_that_converted_nothing():
    elsewhere = replace(v3_5.KERNEL, name="elsewhere", memmap_pointer=lambda _linux, _new_memmap: 0x100000)
    found = efimm.run(efimm.machine("64G"), elsewhere)

    assert (found.status, found.verdict) == (EfiStatus.EFI_SUCCESS, "wrong-memory")


def test_8_slot_0_keeps_the_copy_after_the_fault(outcome):
    pgd = outcome.linux.swapper_pg_dir

    assert pgd[0] == pgd[272] != 0


def test_9_the_plan_writes_the_identity_index_for_the_direct_map_only():
    linux = efimm.boot(efimm.machine("64G"), "hpa-sync")
    before = dict(linux.trampoline_pgd.slots())
    linux.swapper_pg_dir[273], linux.swapper_pg_dir[403] = 0x7000_0067, 0x7000_1067
    for slot in (273, 403):
        hpa_sync.sync_trampoline_pgd(linux, slot)

    assert linux.layout.region_of_slot(402) == linux.layout.region_of_slot(403) == linux.layout.region("vmalloc")
    assert linux.trampoline_pgd.slots().keys() - before.keys() == {1, 273, 403}


def test_10_a_sync_fills_what_is_empty_and_minds_what_is_not():
    linux = efimm.boot(efimm.machine("64G"), "3.5")
    late, other = pgd_alloc(linux, "late"), pgd_alloc(linux, "other")
    start = linux.layout.phys_to_virt(1 << 39)
    linux.swapper_pg_dir[273] = 0x7000_0067
    other.pgd[273] = 0x7000_1067

    with pytest.raises(AssertionError, match="BUG_ON"):
        v3_5.sync_global_pgds(linux, start, start)
    other.pgd[273] = 0
    v3_5.sync_global_pgds(linux, start, start)
    assert (late.pgd[273], other.pgd[273], linux.trampoline_pgd[273]) == (0x7000_0067, 0x7000_0067, 0)
