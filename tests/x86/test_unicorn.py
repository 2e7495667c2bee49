"""The walk, the processor and the batch against an independent MMU: over 20,000 accesses, in every mode of paging.

The same tables, with odd bits everywhere, go into the model and into Unicorn; then both read, write and fetch, as
kernel and as user.  Compared are whether it works, the exception, CR2, the physical address, and the bytes of the
tables afterwards (accessed and dirty bits, after faults too).  What Unicorn cannot do stands in unicorn_mmu.py.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import NamedTuple

import pytest
from unicorn_mmu import (
    CR0_WP,
    CR4_SMAP,
    CR4_SMEP,
    DATA_SIZE,
    EFER_NXE,
    FETCH,
    LOW_MEMORY,
    MAGIC,
    PATTERN,
    PHYSICAL_BITS,
    POOL,
    READ,
    ROOT,
    WRITE,
    Found,
    Mmu,
    Switches,
    data_of,
    is_long,
)

from efimm.trace import Trace
from efimm.x86 import LEGACY, LEGACY_4K, LONG4, LONG5, PAE, Cpu, GeneralProtection, PageFault, PhysMemory
from efimm.x86.batch import translate
from efimm.x86.cpu import Request
from efimm.x86.modes import PCD, PS, PWT, A, P

MODES = (LONG4, LONG5, PAE, LEGACY, LEGACY_4K)
ALL_SWITCHES = (
    Switches(),
    Switches(wp=False, nxe=False),
    Switches(smep=True, smap=True),
    Switches(wp=False, smep=True, smap=True, ac=True),
)
EXAMPLES, ACCESSES = 40, 30
SOFTWARE = 7 << 9
NOWHERE = 0x7000_0000  # no memory of Unicorn's is here
assert len(MODES) * len(ALL_SWITCHES) * EXAMPLES * ACCESSES >= 20_000


class Access(NamedTuple):
    """An access, its address as choices among the slots that the tables use."""

    kind: str
    user: bool
    slots: tuple[int, ...]
    offset: int
    flipped: int


def drawn_access(rng):
    """Any access; in one of ten a bit of the upper address is turned over, so that it is not canonical."""
    places = tuple(rng.randrange(5) for _ in range(5))
    flipped = rng.randrange(48, 64) if rng.random() < 0.1 else 0
    return Access(rng.choice([READ, WRITE, FETCH]), rng.random() < 0.5, places, 8 * rng.randrange(512), flipped)


def slots(mode, depth):
    """The entries of a table that the tests fill: never the last one at the top, where the code lies."""
    bits = mode.levels[depth].bits
    return (0, 1, 2) if bits == 2 else (0, 1, (1 << bits - 1) - 1, 1 << bits - 1, (1 << bits) - 2)


def address(mode, access):
    """The virtual address of an access; with `flipped`, one bit of a 64-bit address is turned over."""
    va = access.offset
    for depth, level in enumerate(mode.levels):
        choice = slots(mode, depth)
        va |= choice[access.slots[depth] % len(choice)] << level.shift
    if not is_long(mode):
        return va
    va |= -(va >> mode.va_bits - 1) << mode.va_bits & (1 << 64) - 1
    return va ^ 1 << access.flipped if access.flipped else va


def pool(mode, depth):
    """The tables of a level below the first."""
    return [POOL + 0x1000 * (3 * (depth - 1) + number) for number in range(3)]


def random_entry(rng, mode, depth):
    """An entry that is odd in every way that is allowed or forbidden."""
    level = mode.levels[depth]
    if not level.has_rights:
        return rng.choice(pool(mode, 1)) | (rng.random() < 0.95) | rng.getrandbits(2) << 3 | rng.getrandbits(3) << 9
    entry = sum(1 << bit for bit in (3, 4, 5, 6, 8, 9, 10, 11) if rng.random() < 0.5)
    entry |= (rng.random() < 0.96) | (rng.random() < 0.85) << 1 | (rng.random() < 0.8) << 2
    if level.shift == 12:
        entry |= data_of(mode) + 4096 * rng.randrange(512) | rng.getrandbits(1) << 7
    elif level.may_be_large and rng.random() < 0.35:
        entry |= random_large(rng, mode, level.shift)
    else:
        tables = [*pool(mode, depth + 1)] * 12 + [ROOT, NOWHERE]
        entry |= rng.choice(tables) | (level.reserved and rng.random() < 0.05) << 7
        entry |= (not level.may_be_large and not level.reserved and rng.getrandbits(1)) << 7
    return entry | (upper_bits(rng, mode) if mode.entry_bytes == 8 else 0)


def upper_bits(rng, mode):
    """Bits 40 to 63: ignored, reserved, or no-execute."""
    ignored = 0.5 if is_long(mode) else 0.003
    bits = sum(1 << bit for bit in range(52, 63) if rng.random() < ignored)
    reserved = 1 << rng.randrange(PHYSICAL_BITS, 52) if rng.random() < 0.03 else 0
    return bits | reserved | (rng.random() < 0.06) << 63


def random_large(rng, mode, shift):
    entry = PS | rng.getrandbits(1) << 12
    if mode is LEGACY:
        high = rng.getrandbits(8) << 13 if rng.random() < 0.3 else 0  # PSE-36
        return entry | data_of(mode) | high | (rng.random() < 0.06) << 21
    base = rng.choice((data_of(mode), data_of(mode), 1 << 33, (1 << PHYSICAL_BITS) - (1 << 30)))
    return entry | base | (1 << rng.randrange(13, shift) if rng.random() < 0.08 else 0)


class Pair:
    """The model and the emulator with the same tables."""

    def __init__(self, mode, switches):
        self.mode, self.switches = mode, switches
        self.mmu = Mmu(mode, switches)
        self.cpu = Cpu(PhysMemory(), Trace(), mode=mode, maxphyaddr=PHYSICAL_BITS)
        self.cpu.cr0 = self.cpu.cr0 if switches.wp else self.cpu.cr0 & ~CR0_WP
        self.cpu.cr4 |= CR4_SMEP * switches.smep | CR4_SMAP * switches.smap
        if not switches.nxe:
            self.cpu.efer &= ~EFER_NXE
        self.cpu.ac = switches.ac
        for pa, size in ((0, LOW_MEMORY), (data_of(mode), DATA_SIZE)):
            self.cpu.memory.write(pa, bytes(self.mmu.uc.mem_read(pa, size)))

    def put(self, pa, entry):
        self.mmu.write_entry(pa, entry)
        self.cpu.memory.write(pa, entry.to_bytes(self.mode.entry_bytes, "little"))

    def fill(self, rng):
        """New tables in both."""
        for depth in range(len(self.mode.levels)):
            for table in pool(self.mode, depth) if depth else [ROOT]:
                for index in slots(self.mode, depth):
                    entry = random_entry(rng, self.mode, depth) if rng.random() < 0.95 else 0
                    self.put(table + self.mode.entry_bytes * index, entry)

    def request(self, kind, user):
        s = self.switches
        return Request(kind, user, s.wp, self.cpu.registers.nxe, s.smep, s.smap and not s.ac)

    def ask_model(self, kind, va, user):
        """What the model's processor does."""
        self.cpu.write_cr3(ROOT)
        self.cpu.flush_tlb_all()  # as the emulator's CR3 is written before each access
        self.cpu.cpl = 3 if user else 0
        try:
            if kind == FETCH:
                return Found(0, pa=self.cpu.fetch(va))
            if kind == READ:
                self.cpu.read(va, self.mmu.word)
            else:
                self.cpu.write(va, self._magic)
        except PageFault as fault:
            return Found(14, cr2=fault.cr2)
        except GeneralProtection:
            return Found(13)
        return Found(0, pa=self.cpu.walk(va).pa)

    @property
    def _magic(self):
        return MAGIC.to_bytes(8, "little")[: self.mmu.word]

    def compare(self, kind, va, user):
        """Do the access in both, compare, undo what it changed; how it went, in a word."""
        walked = self.cpu.walk(va)
        in_tables = walked.pa is not None and walked.pa < LOW_MEMORY
        kind = READ if kind == FETCH and in_tables else kind  # what the bytes of a table do as code is no question
        places = {step.pa for step in walked.steps} | ({walked.pa & ~7} if in_tables else set())
        before = {pa: self.cpu.memory.read(pa, 8) for pa in places if pa < LOW_MEMORY}
        expected, actual = self.mmu.access(kind, va, user), self.ask_model(kind, va, user)
        what = f"{kind} {va:#x} user={user}: {walked}"
        if expected.pa is not None:  # there is no memory in the emulator, so it stopped
            assert (0, expected.pa) == (actual.vector, actual.pa), what
            name = "no memory"
        else:
            assert (expected.vector, expected.cr2) == (actual.vector, actual.cr2), what
            name = {0: "tables" if in_tables else "data", 13: "gp", 14: "fault"}[actual.vector]
        if name == "data":
            self._compare_data(kind, actual.pa or 0, what)
        uncertain = walked.last.pa if walked.last and walked.page_size == 1 << 30 and name == "fault" else None
        for pa, old in before.items():
            its, ours = (
                int.from_bytes(part, "little") for part in (self.mmu.uc.mem_read(pa, 8), self.cpu.memory.read(pa, 8))
            )
            assert (its ^ ours) & ~(A if pa == uncertain else 0) == 0 or name == "no memory", what
            self.mmu.uc.mem_write(pa, old)
            self.cpu.memory.write(pa, old)
        return name

    def _compare_data(self, kind, pa, what):
        """The access reached data in the emulator: at the address that the model says?"""
        start = data_of(self.mode)
        assert start <= pa < start + DATA_SIZE, what
        number = (pa - start) // 8
        if kind == WRITE:
            size = self.mmu.word
            assert self._magic == self.mmu.uc.mem_read(pa, size) == self.cpu.memory.read(pa, size), what
            old = PATTERN[8 * number : 8 * number + 8]
            self.mmu.uc.mem_write(pa, old)
            self.cpu.memory.write(pa, old)
        elif kind == READ:
            assert number == self.mmu.rax >> 8 & 0xFF_FFFF, what
        else:
            assert number == self.mmu.rax, what


def compare_batch(pair, asked, names):
    """The batch gives the same answers for all of a table's accesses."""
    for kind, user in {(kind, user) for kind, _, user in asked}:
        rows = [(va, name) for (k, va, u), name in zip(asked, names, strict=True) if (k, u) == (kind, user)]
        vas = [va for va, _ in rows]
        request = pair.request(kind, user)
        _, errors = translate(pair.cpu.memory, ROOT, vas, pair.mode, request=request, maxphyaddr=PHYSICAL_BITS)
        for (va, name), error in zip(rows, errors.tolist(), strict=True):
            if pair.cpu.walk(va).pa is None or kind != FETCH or name != "tables":
                assert {-1: 0, -13: 13}.get(error, 14) == {"gp": 13, "fault": 14}.get(name, 0), hex(va)


@pytest.mark.parametrize("switches", ALL_SWITCHES, ids=lambda s: "+".join(k for k, on in vars(s).items() if on))
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_the_model_and_the_emulator_agree(mode, switches):
    """40 times 30 accesses; the counts make sure that every kind of outcome is common.

    Drawn by `random` and not by Hypothesis, which draws otherwise when a module is loaded that was not loaded before.
    """
    pair, outcomes = Pair(mode, switches), Counter()
    for seed in range(EXAMPLES):
        rng = random.Random(seed)
        pair.fill(rng)
        drawn = [drawn_access(rng) for _ in range(ACCESSES)]
        asked = [(access.kind, address(mode, access), access.user) for access in drawn]
        names = [pair.compare(*access) for access in asked]
        compare_batch(pair, asked, names)
        outcomes.update(names)

    assert min(outcomes["fault"], outcomes["data"]) > 50, outcomes
    assert outcomes["gp"] > 30 or not is_long(mode), outcomes


def plain(pair, va, depth):
    """Tables that lead to the data, all rights given, with the page at level `depth`; where the entries are."""
    mode, places = pair.mode, []
    for number, level in enumerate(mode.levels[: depth + 1]):
        table = pool(mode, number)[0] if number else ROOT
        below = data_of(mode) | PS * (level.shift > 12) if number == depth else pool(mode, number + 1)[0]
        places.append(table + mode.entry_bytes * level.index(va))
        pair.put(places[-1], below | (7 if level.has_rights else 1))
    return places


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_the_model_and_the_emulator_agree_on_every_bit_of_every_level(mode):
    """One bit turned over in an otherwise plain walk, with the page at each level that can have one."""
    pair = Pair(mode, Switches())
    va = 8 | sum(slots(mode, depth)[1] << level.shift for depth, level in enumerate(mode.levels))
    for leaf in range(len(mode.levels)):
        if mode.levels[leaf].shift > 12 and not mode.levels[leaf].may_be_large:
            continue
        for depth, bit in [(depth, bit) for depth in range(leaf + 1) for bit in range(8 * mode.entry_bytes)]:
            if depth < leaf and 12 <= bit < PHYSICAL_BITS:
                continue  # another table altogether: nothing is said about what lies there
            if not mode.levels[depth].has_rights and 1 << bit & ~(P | PWT | PCD | SOFTWARE):
                continue  # a bad PDPTE
            place = plain(pair, va, leaf)[depth]
            pair.put(place, pair.cpu.memory.read_word(place, mode.entry_bytes) ^ 1 << bit)
            for kind, user in ((READ, False), (WRITE, True), (FETCH, True)):
                pair.compare(kind, va, user)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("second", ["mapped", "missing", "read-only"])
@pytest.mark.parametrize("kind", [READ, WRITE])
def test_the_model_and_the_emulator_agree_across_two_pages(mode, kind, second):
    pair, start = Pair(mode, Switches()), data_of(mode)
    va = 0
    last = plain(pair, va, len(mode.levels) - 1)[-1]
    pair.put(
        last + mode.entry_bytes, {"mapped": start + 0x5000 | 3, "missing": 0, "read-only": start + 0x5000 | 1}[second]
    )
    for offset in (0xFFD, 0xFFF):
        expected, actual = pair.mmu.access(kind, va + offset, False), pair.ask_model(kind, va + offset, False)
        assert (expected.vector, expected.cr2) == (actual.vector, actual.cr2)
        for pa in (start + 0xFF8, start + 0x5000):
            assert pair.mmu.uc.mem_read(pa, 8) == pair.cpu.memory.read(pa, 8)
        if kind == READ and not expected.vector:
            assert pair.mmu.rax == pair.cpu.read_uint(va + offset, pair.mmu.word)
