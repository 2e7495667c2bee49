"""Corner cases in which page-table walkers go wrong, one a row, through everything here that walks, and Unicorn.

The first fourteen are those of 4-level paging that our measurements of other walkers are about; the rest are sets for
PAE, 32-bit and 5-level paging.  What is right is the manual's word (Intel SDM, volume 3A, chapter 4; section and table
numbers recalled), written down by hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from efimm.trace import Trace
from efimm.x86 import (
    LEGACY,
    LEGACY_4K,
    LONG4,
    LONG5,
    PAE,
    Cpu,
    GeneralProtection,
    PageFault,
    PagingMode,
    PhysMemory,
    mapped_ranges,
    walk,
)
from efimm.x86.batch import translate
from efimm.x86.cpu import FETCH, READ, WRITE, Request

T0, T1, T2, T3, T4 = 0x1_0000, 0x1_1000, 0x1_2000, 0x1_3000, 0x1_4000  # the tables, from the top
DATA = 0xC0_0000_0000
PS, PAT_LARGE, NX = 0x80, 0x1000, 1 << 63
GP = -13


@dataclass(frozen=True)
class Case:
    """`va` in the tables `entries` (at each level the entry that `va` uses), and what an access comes to.

    `pa` is where it goes; without one it faults, with the error code `code`, or with #GP when that is GP.
    """

    name: str
    source: str
    mode: PagingMode
    va: int
    entries: tuple[int, ...]
    pa: int | None = None
    code: int = -1
    kind: str = READ
    user: bool = False
    maxphyaddr: int = 40
    nxe: bool = True
    whole: int = -1  # a level whose table has 512 equal entries

    def words(self):
        """The words of memory: physical address and entry."""
        table, found, size = T0, {}, self.mode.entry_bytes
        for depth, (level, entry) in enumerate(zip(self.mode.levels, self.entries, strict=False)):
            indices = range(1 << level.bits) if depth == self.whole else [level.index(self.va)]
            found |= {table + size * index: entry for index in indices}
            table = entry & 0xF_FFFF_FFFF_F000
        return found


FOUR = (T1 | 7, T2 | 7, T3 | 7)
LOW, HIGH = 0x0000_0123_4567_89A8, 0xFFFF_8123_4567_89A8
LONG4_CASES = (
    Case("the last word of a page", "4.5.4", LONG4, LOW | 0xFF8, (*FOUR, DATA | 7), DATA | 0xFF8),
    Case("a page at the highest address", "4.5.4", LONG4, (1 << 64) - 8, (*FOUR, DATA | 3), DATA | 0xFF8),
    Case("2 MiB page, PAT set", "table 4-18", LONG4, LOW, (T1 | 7, T2 | 7, DATA | PAT_LARGE | 0x87), DATA | 0x7_89A8),
    Case("1 GiB page, PAT set", "table 4-16", LONG4, LOW, (T1 | 7, DATA | PAT_LARGE | 0x87), DATA | 0x0567_89A8),
    Case(
        "a page at the top of 52 bits",
        "4.1.4",
        LONG4,
        LOW,
        (*FOUR, 0xF_FFFF_FFFF_F007),
        0xF_FFFF_FFFF_F9A8,
        maxphyaddr=52,
    ),
    Case("the same with 46 bits", "4.7, RSVD", LONG4, LOW, (*FOUR, 0xF_FFFF_FFFF_F007), code=9, maxphyaddr=46),
    Case("a table of equal entries", "4.5.4", LONG4, LOW, (*FOUR, DATA | 7), DATA | 0x9A8, whole=3),
    Case("a directory of equal entries", "4.5.4", LONG4, LOW, (*FOUR, DATA | 7), DATA | 0x9A8, whole=2),
    Case("a bit between PAT and address", "table 4-18", LONG4, LOW, (T1 | 7, T2 | 7, DATA | 1 << 20 | 0x87), code=9),
    Case("PS in a PML4E", "table 4-15", LONG4, LOW, (T1 | 0x87, T2 | 7, T3 | 7, DATA | 7), code=9),
    Case("not canonical, just above the lower half", "4.5", LONG4, 1 << 47, (*FOUR, DATA | 7), code=GP),
    Case("not canonical, just below the upper half", "4.5", LONG4, 0xFFFF_7FFF_FFFF_FFF8, (*FOUR, DATA | 7), code=GP),
    Case("every bit but P", "4.7, P", LONG4, LOW, (*FOUR, (1 << 64) - 2), code=0),
    Case("a table that leads to itself", "4.5.4", LONG4, 0, (T0 | 7,), T0),
)
MORE_LONG4 = (
    Case("NX at the top, a fetch", "4.6", LONG4, HIGH, (T1 | 7 | NX, *FOUR[1:], DATA | 7), code=0x11, kind=FETCH),
    Case("NX while NXE is 0", "4.7, RSVD", LONG4, HIGH, (T1 | 7 | NX, *FOUR[1:], DATA | 7), code=9, nxe=False),
    Case("a fetch while NXE is 0", "4.7, I/D", LONG4, HIGH, (*FOUR, 0), code=0, kind=FETCH, nxe=False),
    Case("user, U/S 0 in a directory", "4.6", LONG4, LOW, (T1 | 7, T2 | 7, T3 | 3, DATA | 7), code=5, user=True),
    Case(
        "user write, R/W 0 at the top", "4.6", LONG4, LOW, (T1 | 5, *FOUR[1:], DATA | 7), code=7, kind=WRITE, user=True
    ),
    Case("a reserved bit beats a right", "4.7", LONG4, LOW, (T1 | 4 | 1, T2 | 1 << 45 | 7), code=0xB, kind=WRITE),
    Case("bits 52 to 62 are ignored", "table 4-20", LONG4, LOW, (*FOUR, DATA | 0x7FF << 52 | 7), DATA | 0x9A8),
    Case("1 GiB page, bit 13", "table 4-16", LONG4, LOW, (T1 | 7, DATA | 1 << 13 | 0x87), code=9),
    Case("tables beyond memory", "4.7, P", LONG4, LOW, (0x70_0000_0007,), code=0),
)
LONG5_CASES = (
    Case("57 bits", "4.5", LONG5, 0xFF_8123_4567_89A8, (T1 | 7, T2 | 7, T3 | 7, T4 | 7, DATA | 7), DATA | 0x9A8),
    Case("canonical with five levels only", "4.5", LONG5, 1 << 47, (T1 | 7, T2 | 7, T3 | 7, T4 | 7, DATA | 7), DATA),
    Case("not canonical with 57 bits", "4.5", LONG5, 1 << 56, (T1 | 7,), code=GP),
    Case("the lowest of the upper half", "4.5", LONG5, 0xFF00_0000_0000_0000, (T1 | 7, 0), code=0),
    Case("PS in a PML5E", "table 4-14", LONG5, 8, (T1 | 0x87,), code=9),
    Case("PS in a PML4E", "table 4-15", LONG5, 8, (T1 | 7, T2 | 0x87), code=9),
    Case("1 GiB page", "table 4-16", LONG5, 0x1234_5678, (T1 | 7, T2 | 7, DATA | 0x87), DATA | 0x1234_5678),
)
PAE_CASES = (
    Case("4 KiB page beyond 4 GiB", "table 4-11", PAE, 0xFFFF_F9A8, (T1 | 1, T2 | 7, DATA | 7), DATA | 0x9A8),
    Case("2 MiB page, PAT set", "table 4-9", PAE, 0x4567_89A8, (T1 | 1, DATA | PAT_LARGE | 0x87), DATA | 0x7_89A8),
    Case("a PDPTE gives no rights", "table 4-8", PAE, 8, (T1 | 1, T2 | 7, DATA | 7), DATA | 8, kind=WRITE, user=True),
    Case("bit 62 of a PTE", "table 4-11", PAE, 8, (T1 | 1, T2 | 7, DATA | 1 << 62 | 7), code=9),
    Case("bit 52 of a PDE", "table 4-10", PAE, 8, (T1 | 1, T2 | 1 << 52 | 7), code=9),
    Case("bit 13 of a large PDE", "table 4-9", PAE, 8, (T1 | 1, DATA | 1 << 13 | 0x87), code=9),
    Case("no PDPTE", "4.4.2", PAE, 0x4000_0008, (0,), code=4, user=True),
    Case("NX", "4.6", PAE, 8, (T1 | 1, T2 | 7, DATA | 7 | NX), code=0x15, kind=FETCH, user=True),
    Case("NX while NXE is 0", "4.7, RSVD", PAE, 8, (T1 | 1, T2 | 7, DATA | 7 | NX), code=9, nxe=False),
)
LOW_DATA = 0x6000_0000
LEGACY_CASES = (
    Case("4 KiB page", "table 4-6", LEGACY, 0xFF7F_F9A8, (T1 | 7, LOW_DATA | 7), LOW_DATA | 0x9A8),
    Case("4 MiB page", "table 4-4", LEGACY, 0x0067_89A8, (LOW_DATA | 0x87,), LOW_DATA | 0x27_89A8),
    Case("4 MiB page, PAT set", "table 4-4", LEGACY, 0x0067_89A8, (LOW_DATA | PAT_LARGE | 0x87,), LOW_DATA | 0x27_89A8),
    Case("PSE-36, beyond 4 GiB", "table 4-4", LEGACY, 8, (LOW_DATA | 0xC0 << 13 | 0x87,), DATA | LOW_DATA | 8),
    Case("PSE-36, bit 21", "table 4-4", LEGACY, 8, (LOW_DATA | 1 << 21 | 0x87,), code=9),
    Case("PSE-36 with 36 bits", "table 4-4", LEGACY, 8, (LOW_DATA | 0x10 << 13 | 0x87,), code=9, maxphyaddr=36),
    Case("PS without CR4.PSE", "table 4-5", LEGACY_4K, 8, (T1 | 0x87, LOW_DATA | 7), LOW_DATA | 8),
    Case("no error bit for a fetch", "4.7, I/D", LEGACY, 8, (T1 | 7, 0), code=4, kind=FETCH, user=True),
    Case("every bit but P", "4.7, P", LEGACY, 8, (T1 | 7, 0xFFFF_FFFE), code=2, kind=WRITE),
)
CASES = (*LONG4_CASES, *MORE_LONG4, *LONG5_CASES, *PAE_CASES, *LEGACY_CASES)
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.mode.name}: {case.name}")


def memory_of(case):
    memory = PhysMemory()
    for pa, entry in case.words().items():
        memory.write(pa, entry.to_bytes(case.mode.entry_bytes, "little"))
    return memory


def test_there_are_the_fourteen():
    assert len(LONG4_CASES) == 14


@each_case
def test_the_walk(case):
    found = walk(memory_of(case), T0, case.va, case.mode, maxphyaddr=case.maxphyaddr, nxe=case.nxe)
    if case.pa is not None:
        assert (found.pa, found.problem) == (case.pa, "")
    elif case.code == GP:
        assert (found.pa, found.problem) == (None, "not canonical")
    else:
        request = Request(case.kind, case.user, nxe=case.nxe and case.mode.entry_bytes == 8)
        assert found.pa is None or not request.allowed_by(found)
        assert request.error_code(found.problem) == case.code


@each_case
def test_the_processor(case):
    cpu = Cpu(memory_of(case), Trace(), mode=case.mode, maxphyaddr=case.maxphyaddr)
    if not case.nxe:
        cpu.efer &= ~(1 << 11)
    cpu.write_cr3(T0)
    cpu.cpl = 3 if case.user else 0
    access = {READ: lambda: cpu.read(case.va, 8), WRITE: lambda: cpu.write(case.va, b"12345678")}
    access = access.get(case.kind, lambda: cpu.fetch(case.va))
    if case.pa is not None:
        access()
        assert cpu.tlb.lookup(case.va).translate(case.va) == case.pa
    elif case.code == GP:
        with pytest.raises(GeneralProtection):
            access()
    else:
        with pytest.raises(PageFault) as fault:
            access()
        assert (fault.value.error_code, fault.value.cr2) == (case.code, case.va)


@each_case
def test_the_batch(case):
    request = Request(case.kind, case.user, nxe=case.nxe and case.mode.entry_bytes == 8)
    found = translate(memory_of(case), T0, [case.va], case.mode, request=request, maxphyaddr=case.maxphyaddr)
    assert [int(part[0]) for part in found] == [case.pa or 0, case.code]


@each_case
def test_the_ranges(case):
    found = mapped_ranges(memory_of(case), T0, case.mode, maxphyaddr=case.maxphyaddr, nxe=case.nxe)
    places = [part.pa + case.va - part.va for part in found if part.va <= case.va < part.end]
    refused_by_a_right = case.code > 0 and case.code & 9 == 1
    assert len(places) == (case.pa is not None or refused_by_a_right)
    assert case.pa is None or places == [case.pa]


@each_case
def test_unicorn(case):
    mmu = pytest.importorskip("unicorn_mmu", reason="unicorn is not installed: no independent MMU to compare with")
    if case.maxphyaddr != mmu.PHYSICAL_BITS:
        pytest.skip(f"unicorn is built for {mmu.PHYSICAL_BITS} physical address bits: it cannot be asked about others")
    if case.va >> case.mode.levels[0].shift == mmu.code_va(case.mode) >> case.mode.levels[0].shift:
        pytest.skip("unicorn cannot be asked about this slot: the code that makes the access lies there")
    judge = mmu.Mmu(case.mode, mmu.Switches(nxe=case.nxe))
    for pa, entry in case.words().items():
        if pa < mmu.LOW_MEMORY:
            judge.write_entry(pa, entry)
    found = judge.access(case.kind, case.va, case.user)
    if case.pa is None:
        assert (found.vector, found.cr2) == ((13, None) if case.code == GP else (14, case.va))
        return
    assert found.vector == 0
    if found.pa is not None:
        assert found.pa == case.pa
    elif mmu.data_of(case.mode) <= case.pa and case.kind == READ:
        assert judge.rax >> 8 & 0xFF_FFFF == (case.pa - mmu.data_of(case.mode)) // 8
