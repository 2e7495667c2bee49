"""What a hostile reader of the processor found: each test failed before the code was put right."""

import io
import json
import random
import zipfile

import numpy as np
import pytest

from efimm.trace import Trace
from efimm.x86 import LONG4, LONG5, PAE, Cpu, PhysMemory, load_tables, mapped_ranges, walk
from efimm.x86.memory import TableRun
from efimm.x86.tablefile import TableFileError

P, RW, PS, G = 1, 2, 0x80, 0x100
ROOT, PUD, PMD, PTE = 0x1000, 0x2000, 0x3000, 0x4000
CR0_NW, CR0_CD = 1 << 29, 1 << 30
CR4_PSE, CR4_PGE, CR4_SMEP = 1 << 4, 1 << 7, 1 << 20
GIB = 1 << 30


@pytest.fixture
def cpu():
    """A processor whose tables lead the first 2 MiB through ROOT, PUD and PMD to an empty PTE."""
    cpu = Cpu(PhysMemory(), Trace())
    for table, below in ((ROOT, PUD), (PUD, PMD), (PMD, PTE)):
        cpu.memory.write_u64(table, below | P | RW)
    cpu.write_cr3(ROOT)
    return cpu


@pytest.mark.parametrize("pge", [True, False])
def test_flushing_everything_does_so_without_pge_too_and_leaves_cr4_as_it_was(cpu, pge):
    """Linux 3.5, __flush_tlb_all: CR3 is written again where the processor has no global pages."""
    cpu.write_cr4(cpu.cr4 | CR4_PGE if pge else cpu.cr4 & ~CR4_PGE)
    before = cpu.registers
    cpu.memory.write_u64(PTE, 0x1_0000 | P | G)
    cpu.read(0, 1)
    cpu.flush_tlb_all()

    assert len(cpu.tlb) == 0
    assert cpu.registers == before


def test_what_was_written_through_a_large_page_is_read_back(cpu):
    """A small page was cached, then a large one took its place in the tables: the write's walk replaces the former.

    A processor may use either while both are cached (SDM 3A, 4.10.2.3, recalled).  That it does not go back to the one
    which just did not serve is the model's choice: a write would go to one page, and the read after it to another.
    """
    va = 0x5000
    cpu.memory.write_u64(PTE + 8 * 5, 0x1_5000 | P)
    cpu.read(va, 1)
    cpu.memory.write_u64(PMD, 0x20_0000 | P | RW | PS)
    cpu.write(va, b"new")

    assert cpu.memory.read(0x20_5000, 3) == b"new"
    assert cpu.read(va, 3) == b"new"


@pytest.mark.parametrize("split", ["hole", "elsewhere", "read-only"])
def test_a_large_page_is_stale_when_any_part_of_it_is_mapped_otherwise(cpu, split):
    cpu.memory.write_u64(PMD, 0x20_0000 | P | RW | PS)
    cpu.read(0, 1)
    for k in range(512):
        cpu.memory.write_u64(PTE + 8 * k, 0x20_0000 + (k << 12) | P | RW)
    cpu.memory.write_u64(PMD, PTE | P | RW)
    assert cpu.stale() == []

    cpu.memory.write_u64(PTE + 8 * 7, {"hole": 0, "elsewhere": 0x9000 | P | RW, "read-only": 0x20_7000 | P}[split])
    [(entry, found)] = cpu.stale()
    assert (entry.va, entry.size, found.va) == (0, 2 << 20, 0x7000)


@pytest.mark.parametrize(
    ("register", "bit"),
    [("cr4", CR4_SMEP), ("cr4", CR4_PGE), ("cr4", CR4_PSE), ("cr0", CR0_CD), ("cr0", CR0_CD | CR0_NW)],
)
def test_either_change_of_these_bits_loads_the_pdptes_again(register, bit):
    """SDM 3A, 4.4.1 (recalled): also CR4.SMEP from 1 to 0, and CR0.CD and NW.  KVM's pdptr_bits say so of CR4."""
    cpu = Cpu(PhysMemory(), Trace(), mode=PAE)
    cpu.write_cr3(ROOT)
    for entry in (PUD | P, PMD | P):
        cpu.memory.write_u64(ROOT, entry)
        write = cpu.write_cr4 if register == "cr4" else cpu.write_cr0
        write(getattr(cpu, register) ^ bit)
        assert cpu.pdptes == (entry, 0, 0, 0)


def test_other_bits_leave_the_pdptes_alone():
    cpu = Cpu(PhysMemory(), Trace(), mode=PAE)
    cpu.write_cr3(ROOT)
    cpu.memory.write_u64(ROOT, PUD | P)
    cpu.write_cr0(cpu.cr0 ^ 1 << 16)  # WP
    cpu.write_cr4(cpu.cr4 ^ 1 << 21)  # SMAP
    assert cpu.pdptes == (0, 0, 0, 0)


@pytest.mark.parametrize("neighbours", [True, False])
@pytest.mark.parametrize("mode", [LONG4, LONG5], ids=lambda mode: mode.name)
def test_a_range_behind_the_hole_in_the_addresses_begins_at_its_own_page(mode, neighbours):
    """The last page below the hole and the first above it, with tables in a row or apart: two ranges, each right."""
    memory = PhysMemory()
    first, second = 0x1_0000, 0x1_1000 if neighbours else 0x3_0000
    memory.write_u64(ROOT + 8 * 255, first | P)
    memory.write_u64(ROOT + 8 * 256, second | P)
    if mode is LONG5:  # one level more on the way to a 1 GiB page
        memory.write_u64(first + 8 * 511, 0x5_0000 | P)
        memory.write_u64(second, 0x5_1000 | P)
        first, second = 0x5_0000, 0x5_1000
    memory.write_u64(first + 8 * 511, 4 * GIB | P | PS)
    memory.write_u64(second, 9 * GIB | P | PS)

    for contiguous in (True, False):
        found = [(part.va, part.size, part.pa) for part in mapped_ranges(memory, ROOT, mode, contiguous=contiguous)]
        half = 1 << mode.va_bits - 1
        assert found == [(half - GIB, GIB, 4 * GIB), ((1 << 64) - half, GIB, 9 * GIB)]


def test_a_run_whose_step_carries_from_ignored_bits_is_mapped_as_a_walk_finds_it(cpu):
    """Bits 11..9 mean nothing in an entry, but an entry of a run is what its arithmetic says."""
    cpu.memory.add_tables([TableRun(PTE >> 12, 1, low=0, high=4, first=0x1_0E01, step=0x200)])
    walks = [walk(cpu.memory, ROOT, k << 12).pa for k in range(4)]

    assert walks == [0x1_0000, 0x1_1000, 0x1_1000, 0x1_1000]
    assert [(part.va, part.pa) for part in mapped_ranges(cpu.memory, ROOT)] == [
        (0, 0x1_0000),
        (0x2000, 0x1_1000),
        (0x3000, 0x1_1000),
    ]


@pytest.mark.parametrize("size", [-1, -5, -4096])
def test_no_memory_has_less_than_no_bytes(size):
    memory = PhysMemory()
    with pytest.raises(ValueError, match="bytes"):
        memory.read(2, size)


ABOUT = {"mode": "4level", "roots": {"init": "0x1000"}}


def npz():
    file = io.BytesIO()
    np.savez_compressed(file, pfns=np.array([1], np.uint64), pages=np.zeros((1, 512), np.uint64))
    return file.getvalue()


def npz_of(shape):
    """An .npz whose pfns claim `shape` and hold eight bytes."""
    header = f"{{'descr': '<u8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(8)
    return zipped({"pfns.npy": array, "pages.npy": array})


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return file.getvalue()


def refusal(folder, about, packed):
    """The one line with which the tables are refused; "" where they are taken."""
    (folder / "tables.json").write_text(about)
    (folder / "tables.npz").write_bytes(packed)
    try:
        load_tables(folder)
    except TableFileError as error:
        line = str(error)
    else:
        line = ""
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    "about",
    [
        json.dumps({"roots": ABOUT["roots"]}),
        "[" * 200_000,
        json.dumps({"mode": "pae", "roots": {"init": "0x100001000"}}),
        json.dumps({"mode": "legacy32", "roots": {"init": "0x100001000"}}),
    ],
    ids=["no mode", "nested without end", "a PAE root above 4 GiB", "a legacy root above 4 GiB"],
)
def test_a_tables_json_that_makes_no_sense_is_refused_in_one_line(tmp_path, about):
    assert "tables.json: expected" in refusal(tmp_path, about, npz())


@pytest.mark.parametrize(
    "packed",
    [
        zipped({"pfns": b"no array", "pages": b"no array"}),
        npz_of("(1 << 44,)"),
        npz_of(f"({1 << 44},)"),
        npz_of(f"({1 << 70},)"),
        npz_of("(1"),
    ],
    ids=["no arrays", "a sum for a shape", "128 TiB", "more than a number holds", "half a header"],
)
def test_a_tables_npz_that_makes_no_sense_is_refused_in_one_line(tmp_path, packed):
    assert "tables.npz: expected" in refusal(tmp_path, json.dumps(ABOUT), packed)


def test_a_name_as_long_as_the_file_does_not_come_into_the_refusal(tmp_path):
    """The header of a zip's member says how long its name is, and zipfile tells the name that it found there."""
    damaged = bytearray(npz())
    damaged[26:28] = (60_000).to_bytes(2, "little")
    line = refusal(tmp_path, json.dumps(ABOUT), bytes(damaged))
    assert "tables.npz: expected" in line
    assert len(line) < len(str(tmp_path)) + 300


def test_damaged_tables_are_refused_or_taken_and_nothing_else(tmp_path):
    rng, whole = random.Random(0), npz()
    assert refusal(tmp_path, json.dumps(ABOUT), whole) == ""
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        refused += bool(refusal(tmp_path, json.dumps(ABOUT), bytes(damaged)))
    assert refused > 200
