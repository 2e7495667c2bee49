"""The model's walk and processor against an independent MMU: unicorn, which descends from QEMU's x86 emulation.

The same random tables, with odd bits everywhere, go into both; then both read, write and fetch.  Compared are whether
it works, the physical address, CR2, and the accessed and dirty bits.  What unicorn 2.1.4 cannot do is not compared:
it tells no error code, has 40 physical bits, and its CPL stays 0.  Upper entries of a walk that fails get their
accessed bit there and not in the model, so these bits are compared after successes only.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

import pytest

from efimm.trace import Trace
from efimm.x86 import Cpu, GeneralProtection, PageFault, PhysMemory

unicorn = pytest.importorskip("unicorn", reason="unicorn is not installed: no independent MMU to compare with")
x86 = pytest.importorskip("unicorn.x86_const", reason="unicorn was built without x86")

ROOT, CODE_TABLES, CODE = 0x1_0000, 0x2_0000, 0x3_0000
POOLS = {30: (0x1_1000, 0x1_2000), 21: (0x1_3000, 0x1_4000, 0x1_5000), 12: (0x1_6000, 0x1_7000, 0x1_8000)}
LOW_MEMORY = 0x4_0000
DATA, DATA_SIZE = 0xC0_0000_0000, 2 << 20  # at 768 GiB: no single bit away from low memory
PHYSICAL_BITS = 40
CODE_VA = (1 << 64) - (1 << 39)  # the first page of slot 511, the only one the tests do not make up
SLOTS = {39: (0, 1, 255, 256, 272), 30: (0, 1, 2, 511), 21: (0, 5, 6, 511), 12: (0, 7, 8, 511)}
MAGIC = 0x1122_3344_5566_7788
READ, WRITE, FETCH = "read", "write", "fetch"
_OPCODES = {READ: "488b01", WRITE: "488901", FETCH: "ffe1"}  # mov rax,[rcx]; mov [rcx],rax; jmp rcx
_AT = {READ: CODE_VA, WRITE: CODE_VA + 3, FETCH: CODE_VA + 6}

# Every 8 bytes of data are an instruction that puts their own number into eax, so both a read and a fetch tell the
# physical address: mov eax, n; jmp $; nop.  The jump keeps the decoder from running ahead into the next page.
PATTERN = b"".join(b"\xb8" + n.to_bytes(4, "little") + b"\xeb\xfe\x90" for n in range(DATA_SIZE // 8))


@dataclass(frozen=True)
class Found:
    """How an access went: the vector of the exception (0 for none), CR2 with a page fault, the physical address."""

    vector: int
    cr2: int | None = None
    pa: int | None = None


class Mmu:
    """A unicorn processor in long mode.  Its tables are bytes in its memory; nothing is cached between accesses."""

    def __init__(self, wp: bool, nxe: bool) -> None:
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self.uc.ctl_set_cpu_model(x86.UC_CPU_X86_EPYC_ROME)
        self.uc.ctl_set_tlb_mode(unicorn.UC_TLB_CPU)
        self.uc.mem_map(0, LOW_MEMORY)
        self.uc.mem_map(DATA, DATA_SIZE)
        self.uc.mem_write(DATA, PATTERN)
        self.uc.mem_write(CODE, bytes.fromhex("".join(_OPCODES.values())))
        self.uc.reg_write(x86.UC_X86_REG_CR4, 0x20)
        self.uc.reg_write(x86.UC_X86_REG_CR3, ROOT)
        self.uc.reg_write(x86.UC_X86_REG_MSR, (0xC000_0080, 0x501 | nxe << 11))
        self.uc.reg_write(x86.UC_X86_REG_CR0, 0x8000_0033 | wp << 16)
        self.faults: list[tuple[int, int]] = []
        self.nowhere: list[int] = []
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        self.uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._no_memory)
        self._clean = self.uc.context_save()

    def write_u64(self, pa: int, value: int) -> None:
        self.uc.mem_write(pa, value.to_bytes(8, "little"))

    def read_u64(self, pa: int) -> int:
        return int.from_bytes(self.uc.mem_read(pa, 8), "little")

    def access(self, kind: str, va: int) -> Found:
        self.uc.context_restore(self._clean)  # without it the next fault would be a double fault
        self.uc.reg_write(x86.UC_X86_REG_CR3, ROOT)  # without it a changed entry would not be seen
        self.uc.reg_write(x86.UC_X86_REG_RCX, va)
        self.uc.reg_write(x86.UC_X86_REG_RAX, MAGIC)
        self.faults.clear()
        self.nowhere.clear()
        try:
            self.uc.emu_start(_AT[kind], 0, count=2 if kind == FETCH else 1)
        except unicorn.UcError:
            if not self.nowhere:
                raise
            return Found(0, pa=self.nowhere[0])
        if self.faults:
            vector, cr2 = self.faults[0]
            return Found(vector, cr2=cr2 if vector == 14 else None)
        return Found(0)

    @property
    def rax(self) -> int:
        return int(self.uc.reg_read(x86.UC_X86_REG_RAX))

    def _interrupt(self, _uc: object, vector: int, _data: object) -> None:
        self.faults.append((vector, self.uc.reg_read(x86.UC_X86_REG_CR2)))
        self.uc.emu_stop()

    def _no_memory(self, _uc: object, _kind: int, pa: int, _size: int, _value: int, _data: object) -> bool:
        self.nowhere.append(pa)
        return False


class Pair:
    """The model and the emulator with the same tables."""

    def __init__(self, wp: bool = True, nxe: bool = True) -> None:
        self.mmu = Mmu(wp, nxe)
        self.cpu = Cpu(PhysMemory(), Trace(), maxphyaddr=PHYSICAL_BITS)
        self.cpu.memory.write(DATA, PATTERN)
        self.cpu.cr3 = ROOT
        self.cpu.cr0 = self.cpu.cr0 if wp else self.cpu.cr0 & ~(1 << 16)
        self.cpu.efer = self.cpu.efer if nxe else self.cpu.efer & ~(1 << 11)
        self.put(ROOT + 8 * 511, CODE_TABLES | 3)
        for table in range(CODE_TABLES, CODE_TABLES + 0x2000, 0x1000):
            self.put(table, table + 0x1000 | 3)
        self.put(CODE_TABLES + 0x2000, CODE | 3)

    def put(self, pa: int, entry: int) -> None:
        self.mmu.write_u64(pa, entry)
        self.cpu.memory.write_u64(pa, entry)

    def ask_model(self, kind: str, va: int) -> Found:
        try:
            if kind == FETCH:
                return Found(0, pa=self.cpu.fetch(va))
            if kind == READ:
                self.cpu.read(va, 8)
            else:
                self.cpu.write_u64(va, MAGIC)
        except PageFault as fault:
            return Found(14, cr2=fault.cr2)
        except GeneralProtection:
            return Found(13)
        return Found(0, pa=self.cpu.walk(va).pa)

    def compare(self, kind: str, va: int) -> Found:
        """Do the access in both, compare, undo what it changed; what the model found."""
        self.cpu.flush_tlb_all()  # as the emulator's CR3 is rewritten before each access
        before = {step.table + 8 * step.index: step.entry for step in self.cpu.walk(va).steps}
        expected, actual = self.mmu.access(kind, va), self.ask_model(kind, va)
        what = f"{kind} {va:#x}: {[hex(entry) for entry in before.values()]}"
        if expected.vector or expected.pa is not None:
            assert expected == actual, what
        else:
            assert (0, None) == (actual.vector, actual.cr2), what
            self._compare_data(kind, actual.pa or 0, what)
        if not expected.vector:
            assert [self.mmu.read_u64(at) for at in before] == [self.cpu.memory.read_u64(at) for at in before], what
        for at, entry in before.items():
            self.put(at, entry)
        return actual

    def _compare_data(self, kind: str, pa: int, what: str) -> None:
        """The access reached data in the emulator: at the address that the model says?"""
        assert DATA <= pa < DATA + DATA_SIZE, what
        number = (pa - DATA) // 8
        if kind == WRITE:
            assert (MAGIC, MAGIC) == (self.mmu.read_u64(pa), self.cpu.memory.read_u64(pa)), what
            self.put(pa, int.from_bytes(PATTERN[8 * number : 8 * number + 8], "little"))
        else:
            value = self.mmu.rax
            assert number == (value >> 8 & 0xFFFF_FFFF if kind == READ else value), what


def random_entry(rng: random.Random, shift: int) -> int:
    """An entry for a table whose entries cover `1 << shift` bytes, odd in every way that is allowed or forbidden."""
    entry = sum(1 << bit for bit in (3, 4, 5, 6, 8, 9, 10, 11, *range(52, 63)) if rng.random() < 0.5)
    entry |= (rng.random() < 0.96) | (rng.random() < 0.85) << 1 | (rng.random() < 0.5) << 2
    entry |= (rng.random() < 0.06) << 63
    large = shift in (30, 21) and rng.random() < 0.35
    if shift == 12:
        entry |= (DATA + 4096 * rng.randrange(512)) | rng.getrandbits(1) << 7
    elif large:
        base = rng.choice((DATA, DATA, 1 << 32, (1 << 40) - (1 << 30)))
        entry |= base | 1 << 7 | rng.getrandbits(1) << 12
        if rng.random() < 0.08:
            entry |= 1 << rng.randrange(13, shift)
    else:
        entry |= rng.choice(POOLS[{39: 30, 30: 21, 21: 12}[shift]])
        entry |= (shift == 39 and rng.random() < 0.05) << 7
    if rng.random() < 0.03:
        entry |= 1 << rng.randrange(PHYSICAL_BITS, 52)
    return entry


def random_tables(rng: random.Random, pair: Pair) -> None:
    for shift, tables in ((39, (ROOT,)), *POOLS.items()):
        for table in tables:
            for index in SLOTS[shift]:
                pair.put(table + 8 * index, random_entry(rng, shift) if rng.random() < 0.93 else 0)


def random_va(rng: random.Random) -> int:
    va = sum(rng.choice(SLOTS[shift]) << shift for shift in SLOTS) | rng.randrange(0, 4096, 8)
    va |= 0xFFFF << 48 if va >> 47 else 0
    return va ^ 1 << rng.randrange(48, 64) if rng.random() < 0.03 else va


@pytest.mark.parametrize(("wp", "nxe"), [(True, True), (False, True), (True, False)])
def test_the_model_and_the_emulator_agree_on_random_tables(wp: bool, nxe: bool) -> None:
    """60 times 40 accesses; the counts make sure that both outcomes, and both kinds of memory, are common."""
    rng = random.Random(f"{wp} {nxe}")
    pair = Pair(wp, nxe)
    outcomes: dict[str, int] = {}
    for _ in range(60):
        random_tables(rng, pair)
        for _ in range(40):
            found = pair.compare(rng.choice((READ, WRITE, FETCH)), random_va(rng))
            data = DATA <= (found.pa or 0) < DATA + DATA_SIZE
            name = {13: "gp", 14: "fault"}.get(found.vector, "data" if data else "no memory")
            outcomes[name] = outcomes.get(name, 0) + 1

    assert sum(outcomes.values()) == 2400
    assert min(outcomes["fault"], outcomes["data"]) > 400, outcomes
    assert min(outcomes["gp"], outcomes["no memory"]) > 30, outcomes


@pytest.mark.parametrize("bit", range(64))
@pytest.mark.parametrize("level", range(4))
def test_the_model_and_the_emulator_agree_on_every_bit_of_every_level(pair: Pair, level: int, bit: int) -> None:
    """One bit turned over in an otherwise plain walk, with and without a large page at that level."""
    shifts = (39, 30, 21, 12)
    va = 1 << 39 | 2 << 30 | 5 << 21 | 7 << 12 | 8
    tables = [ROOT, POOLS[30][0], POOLS[21][0], POOLS[12][0]]
    leaf = DATA | 0x7
    for large in (False, True) if level in (1, 2) else (False,):
        entries = [*(table | 7 for table in tables[1:]), leaf]
        entries[level] = leaf | 0x80 if large else entries[level]
        entries[level] ^= 1 << bit
        for table, shift, entry in zip(tables, shifts, entries, strict=True):
            pair.put(table + 8 * (va >> shift & 511), entry)
        if 12 <= bit < PHYSICAL_BITS and not large and level < 3:
            continue  # another table altogether: nothing is said about what lies there
        for kind in (READ, WRITE):
            pair.compare(kind, va)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair()


@pytest.mark.parametrize("second", ["mapped", "missing", "read-only"])
@pytest.mark.parametrize("kind", [READ, WRITE])
def test_the_model_and_the_emulator_agree_across_two_pages(kind: str, second: str) -> None:
    pair = Pair()
    va = 1 << 39
    for table, entry in ((ROOT + 8, POOLS[30][0]), (POOLS[30][0], POOLS[21][0]), (POOLS[21][0], POOLS[12][0])):
        pair.put(table, entry | 3)
    pair.put(POOLS[12][0], DATA | 3)
    pair.put(POOLS[12][0] + 8, {"mapped": DATA + 0x5000 | 3, "missing": 0, "read-only": DATA + 0x5000 | 1}[second])
    for offset in (0xFF9, 0xFFC, 0xFFF):
        expected = pair.mmu.access(kind, va + offset)
        actual = pair.ask_model(kind, va + offset)

        assert (expected.vector, expected.cr2) == (actual.vector, actual.cr2)
        for pa in (DATA + 0xFF8, DATA + 0x5000):
            assert pair.mmu.uc.mem_read(pa, 8) == pair.cpu.memory.read(pa, 8)
        if kind == READ and not expected.vector:
            assert struct.pack("<Q", pair.mmu.rax) == pair.cpu.read(va + offset, 8)
