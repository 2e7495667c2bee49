"""What a hostile reader of the processor found: each test failed before the code was put right."""

from __future__ import annotations

import pytest

from efimm.trace import Trace
from efimm.x86 import PAE, Cpu, PhysMemory

P, RW, PS, G = 1, 2, 0x80, 0x100
ROOT, PUD, PMD, PTE = 0x1000, 0x2000, 0x3000, 0x4000
CR0_NW, CR0_CD = 1 << 29, 1 << 30
CR4_PSE, CR4_PGE, CR4_SMEP = 1 << 4, 1 << 7, 1 << 20
GIB = 1 << 30


@pytest.fixture
def cpu() -> Cpu:
    """A processor whose tables lead the first 2 MiB through ROOT, PUD and PMD to an empty PTE."""
    cpu = Cpu(PhysMemory(), Trace())
    for table, below in ((ROOT, PUD), (PUD, PMD), (PMD, PTE)):
        cpu.memory.write_u64(table, below | P | RW)
    cpu.write_cr3(ROOT)
    return cpu


@pytest.mark.parametrize("pge", [True, False])
def test_flushing_everything_does_so_without_pge_too_and_leaves_cr4_as_it_was(cpu: Cpu, pge: bool) -> None:
    """Linux 3.5, __flush_tlb_all: CR3 is written again where the processor has no global pages."""
    cpu.write_cr4(cpu.cr4 | CR4_PGE if pge else cpu.cr4 & ~CR4_PGE)
    before = cpu.registers
    cpu.memory.write_u64(PTE, 0x1_0000 | P | G)
    cpu.read(0, 1)
    cpu.flush_tlb_all()

    assert len(cpu.tlb) == 0
    assert cpu.registers == before


def test_what_was_written_through_a_large_page_is_read_back(cpu: Cpu) -> None:
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
def test_a_large_page_is_stale_when_any_part_of_it_is_mapped_otherwise(cpu: Cpu, split: str) -> None:
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
def test_either_change_of_these_bits_loads_the_pdptes_again(register: str, bit: int) -> None:
    """SDM 3A, 4.4.1 (recalled): also CR4.SMEP from 1 to 0, and CR0.CD and NW.  KVM's pdptr_bits say so of CR4."""
    cpu = Cpu(PhysMemory(), Trace(), mode=PAE)
    cpu.write_cr3(ROOT)
    for entry in (PUD | P, PMD | P):
        cpu.memory.write_u64(ROOT, entry)
        write = cpu.write_cr4 if register == "cr4" else cpu.write_cr0
        write(getattr(cpu, register) ^ bit)
        assert cpu.pdptes == (entry, 0, 0, 0)


def test_other_bits_leave_the_pdptes_alone() -> None:
    cpu = Cpu(PhysMemory(), Trace(), mode=PAE)
    cpu.write_cr3(ROOT)
    cpu.memory.write_u64(ROOT, PUD | P)
    cpu.write_cr0(cpu.cr0 ^ 1 << 16)  # WP
    cpu.write_cr4(cpu.cr4 ^ 1 << 21)  # SMAP
    assert cpu.pdptes == (0, 0, 0, 0)
