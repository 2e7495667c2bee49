"""The walk for arrays of addresses gives what the walk for one gives, and what the processor would fault with."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import efimm
from efimm.linux.layout import PAGE_OFFSET
from efimm.trace import Trace
from efimm.x86 import LEGACY, LEGACY_4K, LONG4, LONG5, PAE, PAGING_OFF, Cpu, PageFault, PhysMemory, walk
from efimm.x86.cpu import CR4_SMAP, CR4_SMEP, FETCH, READ, WRITE, Request
from efimm.x86.memory import TableRun

np = pytest.importorskip("numpy")
batch = pytest.importorskip("efimm.x86.batch")
translate = batch.translate

MODES = [LEGACY, LEGACY_4K, PAE, LONG4, LONG5]
ROOT = 0x1_0000
GIB = 1 << 30


def expected(memory, root, va, mode, maxphyaddr, nxe):
    found = walk(memory, root, va, mode, maxphyaddr=maxphyaddr, nxe=nxe)
    codes = {"": -1, "not present": 0, "reserved bit": 9, "not canonical": -13}
    return found.pa or 0, codes[found.problem]


def agrees(memory, root, vas, mode, maxphyaddr=52, nxe=True):
    pas, errors = translate(memory, root, vas, mode, request=Request(nxe=nxe), maxphyaddr=maxphyaddr)
    assert (pas.dtype, errors.dtype) == (np.uint64, np.int32)
    for va, pa, error in zip(vas, pas.tolist(), errors.tolist(), strict=True):
        assert (pa, error) == expected(memory, root, va, mode, maxphyaddr, nxe), hex(va)
    return errors


def hostile(rng, mode, pages):
    """Tables that lead to one another, to nowhere, and to pages of every size, with odd bits."""
    memory = PhysMemory()
    size, bits = mode.entry_bytes, 8 * mode.entry_bytes
    for page in range(pages):
        words = []
        for _ in range(4096 // size):
            entry = rng.getrandbits(bits) if rng.random() < 0.3 else rng.choice([0x7, 0x3, 0x27, 0x87, 0x1])
            if rng.random() < 0.8:
                entry = entry & ~0xF_FFFF_FFFF_F000 & (1 << bits) - 1 | ROOT + 0x1000 * rng.randrange(pages)
            words.append(entry | (rng.random() < 0.9))
        memory.write(ROOT + 0x1000 * page, struct.pack(f"<{len(words)}{'Q' if size == 8 else 'I'}", *words))
    return memory


def addresses(rng, mode, count):
    top = 1 << mode.va_bits - 1
    kinds = [
        lambda: rng.randrange(top),
        lambda: (1 << 64) - 1 - rng.randrange(top) if mode.va_bits > 32 else rng.randrange(1 << 32),
        lambda: rng.getrandbits(64),
        lambda: rng.choice([0, top - 1, top, (1 << 64) - top, (1 << 64) - 1, (1 << 32) - 1, 1 << 32]),
    ]
    return [rng.choice(kinds)() for _ in range(count)]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@given(seed=st.integers(0, 1 << 30), maxphyaddr=st.sampled_from([36, 40, 46, 52]), nxe=st.booleans())
@settings(max_examples=12)
def test_hostile_tables(mode, seed, maxphyaddr, nxe):
    rng = random.Random(seed)
    memory = hostile(rng, mode, 6)
    errors = agrees(memory, ROOT, addresses(rng, mode, 300), mode, maxphyaddr, nxe)
    assert {-13, -1, 9} & set(errors.tolist())


def test_paging_off_and_addresses_beyond_32_bits():
    pas, errors = translate(PhysMemory(), 0, [0, 0xFFFF_FFFF, 1 << 32], PAGING_OFF)
    assert (pas.tolist(), errors.tolist()) == ([0, 0xFFFF_FFFF, 0], [-1, -1, -13])


def test_shapes_are_kept_and_empty_arrays_are_fine():
    pas, errors = translate(PhysMemory(), ROOT, np.zeros((3, 4), np.uint64))
    assert (pas.shape, errors.shape) == ((3, 4), (3, 4))
    assert translate(PhysMemory(), ROOT, [])[0].size == 0
    assert translate(PhysMemory(), ROOT, 0)[0].shape == ()


def test_a_fetch_has_no_bit_of_its_own_in_the_error_code_of_two_levels():
    assert translate(PhysMemory(), ROOT, [0], LEGACY, request=Request(FETCH))[1].tolist() == [0]
    assert translate(PhysMemory(), ROOT, [0], LEGACY, request=Request(FETCH, smep=True))[1].tolist() == [0x10]


@pytest.mark.parametrize("mode", [LEGACY, PAE, LONG4, LONG5], ids=lambda mode: mode.name)
@pytest.mark.parametrize("kind", [READ, WRITE, FETCH])
@pytest.mark.parametrize("switches", range(16))
def test_rights_and_error_codes_are_the_processors(mode, kind, switches):
    rng = random.Random(f"{mode.name}{kind}{switches}")
    user, wp, smep, smap = (bool(switches & 1 << bit) for bit in range(4))
    memory = hostile(rng, mode, 5)
    cpu = Cpu(memory, Trace(), mode=mode, maxphyaddr=40)
    cpu.cr3, cpu.cpl = ROOT, 3 if user else 0
    cpu.cr0 = cpu.cr0 if wp else cpu.cr0 & ~(1 << 16)
    cpu.cr4 |= CR4_SMEP * smep | CR4_SMAP * smap
    request = Request(kind, user, wp, cpu.registers.nxe, smep, smap)
    vas = [va for va in addresses(rng, mode, 150) if mode.is_canonical(va)]
    pas, errors = translate(memory, ROOT, vas, mode, request=request, maxphyaddr=40)
    for va, pa, error in zip(vas, pas.tolist(), errors.tolist(), strict=True):
        found = cpu.walk(va)  # the act itself would set bits in the tables that lead to themselves
        if found.pa is not None and request.allowed_by(found):
            assert (pa, error) == (found.pa, -1), hex(va)
        else:
            assert (pa, error) == (0, request.error_code(found.problem)), hex(va)


def test_an_act_faults_with_the_code_that_was_foretold():
    memory = PhysMemory()
    for table, entry in ((ROOT, 0x2_0007), (0x2_0000, 0x3_0007), (0x3_0000, 0x4_0007), (0x4_0000, 0x5005)):
        memory.write_u64(table, entry)
    cpu = Cpu(memory, Trace())
    cpu.cr3 = ROOT
    with pytest.raises(PageFault) as fault:
        cpu.write(0, b"x")
    assert translate(memory, ROOT, [0], request=Request(WRITE))[1].tolist() == [fault.value.error_code] == [3]


@pytest.mark.parametrize("page_size", ["4K", "2M", "1G"])
@pytest.mark.parametrize("ram", ["4G", "1T", "64T"])
def test_the_direct_map_of_a_booted_kernel(ram, page_size):
    linux = efimm.boot(efimm.machine(ram, page_size=page_size), "3.5")
    rng = random.Random(ram + page_size)
    top = linux.machine.highest_ram
    vas = [PAGE_OFFSET + rng.randrange(top) for _ in range(300)]
    vas += [PAGE_OFFSET + top - 1, PAGE_OFFSET + top, PAGE_OFFSET + (1 << 39) - 1, 0, 0xFFFF_FFFF_8100_0000]
    frames = linux.memory.frames_in_use
    errors = agrees(linux.memory, linux.swapper_pg_dir.pa, vas, LONG4, 46)
    assert (errors[:300] == -1).mean() > 0.5  # the rest is the hole below 4 GiB
    assert linux.memory.frames_in_use == frames  # runs stay runs


@pytest.mark.parametrize("copied", [0, 8192])
def test_runs_with_pages_that_became_bytes(copied, monkeypatch):
    # Once with all runs copied, once with all left as they are: the answers are the same.
    monkeypatch.setattr("efimm.x86.compiled.COPIED_RUN_PAGES", copied)
    linux = efimm.boot(efimm.machine("16G", page_size="4K"), "3.5")
    rng = random.Random(16)
    for _ in range(40):
        linux.cpu.write(PAGE_OFFSET + rng.randrange(5 << 30, 14 << 30) & ~7, b"sets the dirty bit")
    vas = [PAGE_OFFSET + rng.randrange(18 << 30) for _ in range(500)]
    vas += [entry.va for entry in linux.cpu.tlb]
    agrees(linux.memory, linux.swapper_pg_dir.pa, vas, LONG4, 46)


def test_what_was_compiled_is_given_up_when_memory_changes():
    memory = PhysMemory()
    for root in range(0x1000, 0x40_0000, 0x1000):
        translate(memory, root, [0])
    assert len(batch._kept[memory][1]) <= 8
    kept = batch._kept[memory][1]
    for root in (0x3F_F000, 0x3F_E000):
        translate(memory, root, [0])
    assert batch._kept[memory][1] is kept
    translate(memory, 0x1000, [0])
    memory.write_u64(0x1000, 0)
    translate(memory, 0x1000, [0])
    assert len(batch._kept[memory][1]) == 1


def test_tables_full_of_random_bytes_are_compiled_to_what_they_are():
    rng = random.Random(1000)
    memory = PhysMemory()
    for page in range(300):
        memory.write(ROOT + 0x1000 * page, rng.randbytes(4096))
    agrees(memory, ROOT, addresses(rng, LONG4, 100), LONG4)
    (tables,) = batch._kept[memory][1].values()
    assert len(tables.leaf) <= 512 * 4 * 300


def test_a_run_whose_entries_all_lead_to_one_table(monkeypatch):
    # It maps as many pieces as it has entries, so nothing can be folded; and nothing but the walk for one is left.
    monkeypatch.setattr("efimm.x86.compiled.COPIED_RUN_PAGES", 3)
    memory = PhysMemory()
    memory.add_tables([TableRun(0x10, 1, 0, 512, 0x11_003, 0x1000), TableRun(0x11, 512, 0, 512 * 512, 0x400_003, 0)])
    memory.write_u64(0x40_0000, 0x83)
    errors = agrees(memory, 0x1_0000, [number * GIB // 2 + 5 for number in range(0, 4000, 7)], LONG4)
    assert set(errors.tolist()) == {-1, 0}
    pas, errors = translate(memory, 0x1_0000, [5, GIB + 5], request=Request(WRITE, user=True))
    assert (pas.tolist(), errors.tolist()) == ([0, 0], [7, 7])


@given(seed=st.integers(0, 1 << 30))
@settings(max_examples=60)
def test_runs_that_map_one_piece_or_nearly(seed):
    # pud pages that lead to pmd pages in a row, as a direct map has them: whole or cut, aligned or not, any rights.
    rng = random.Random(seed)
    memory = PhysMemory()
    memory.write(ROOT, b"".join((0x2_0007 + 0x1000 * slot).to_bytes(8, "little") for slot in range(4)))
    low, high = rng.choice([0, 512, 700]), rng.choice([1500, 1536, 2048])
    leaves = low * 512 + rng.choice([0, 0, 3]), high * 512 - rng.choice([0, 0, 5])
    pa = rng.choice([0, leaves[0] << 21, 1 << 21, 1 << 30, (1 << 46) - (leaves[1] - leaves[0] << 20)])
    tables, page = rng.choice([3, 5, 7, 1 << 63 | 7]), rng.choice([0x81, 0x83, 0x87, 1 << 63 | 0x87])
    memory.add_tables([TableRun(0x20, 4, low, high, (0x1000 + low) << 12 | tables, 0x1000)])
    memory.add_tables([TableRun(0x1000, 2048, *leaves, pa | page, 1 << 21)])
    if rng.random() < 0.3:
        memory.write_u64(rng.randrange(0x1000 + low, 0x1000 + high) << 12, 0)
    edges = [low * GIB, high * GIB, *(number << 21 for number in leaves)]
    vas = [edge + offset for edge in edges for offset in (-1, 0, 1 << 21, -(1 << 21), GIB, -GIB) if edge + offset >= 0]
    vas += [rng.randrange(2048 * GIB) for _ in range(60)]
    agrees(memory, ROOT, vas, LONG4, 46)
    for request in (Request(WRITE), Request(FETCH), Request(user=True), Request(WRITE, user=True)):
        pas, errors = translate(memory, ROOT, vas, request=request, maxphyaddr=46)
        for va, found, error in zip(vas, pas.tolist(), errors.tolist(), strict=True):
            looked = walk(memory, ROOT, va, maxphyaddr=46)
            allowed = looked.pa is not None and request.allowed_by(looked)
            right = (looked.pa, -1) if allowed else (0, request.error_code(looked.problem))
            assert (found, error) == right, hex(va)


def test_the_ends_of_a_run_are_holes(monkeypatch):
    monkeypatch.setattr("efimm.x86.compiled.COPIED_RUN_PAGES", 0)
    memory = PhysMemory()
    memory.write_u64(ROOT, 0x2_0003)
    memory.write_u64(ROOT + 8, 0x2_1003)
    memory.add_tables([TableRun(0x20, 2, 5, 600, 0x83, GIB)])
    vas = [number * GIB + 1 for number in (0, 4, 5, 511, 512, 599, 600, 1023)]
    assert (agrees(memory, ROOT, vas, LONG4) == -1).tolist() == [False, False, True, True, True, True, False, False]


def test_a_root_that_is_a_run_and_runs_of_the_other_size():
    memory = PhysMemory()
    memory.add_tables([TableRun(0x10, 1, 0, 512, 0x1_1003, 0), TableRun(0x11, 1, 0, 512, 0x83, GIB)])
    agrees(memory, 0x1_0000, [0, GIB, 5 * GIB + 1, 1 << 40], LONG4)
    memory.add_tables([TableRun(0x20, 1, 0, 1024, 0x2_1003, 0, entry_bytes=8), TableRun(0x21, 1, 0, 1024, 3, 4096)])
    agrees(memory, 0x2_0000, [0, 0x1234_5678, 0xFFFF_FFFF], LEGACY)


def test_a_write_is_seen_at_once():
    memory = PhysMemory()
    for table, entry in ((ROOT, 0x2_0003), (0x2_0000, 0x83)):
        memory.write_u64(table, entry)
    assert translate(memory, ROOT, [0x1234])[0].tolist() == [0x1234]
    memory.write_u64(0x2_0000, GIB | 0x83)
    assert translate(memory, ROOT, [0x1234])[0].tolist() == [GIB + 0x1234]


def test_more_addresses_than_a_block_takes():
    memory = PhysMemory()
    for table, entry in ((ROOT, 0x2_0003), (0x2_0000, 0x83)):
        memory.write_u64(table, entry)
    vas = np.arange(100_001, dtype=np.uint64) << np.uint64(14)
    pas, errors = translate(memory, ROOT, vas)
    inside = vas < GIB
    assert (pas[inside] == vas[inside]).all()
    assert (errors == np.where(inside, -1, 0)).all()
