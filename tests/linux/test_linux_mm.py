"""Linux 3.5's memory: the direct map, the identity map borrowed from it, rights, syncing, and who gives out memory.

Addresses are translated here by a walker of six lines over raw bytes, not by the model's own walk.
"""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import efimm
from efimm.linux.direct_map import init_memory_mapping, split_mem_range
from efimm.linux.pageattr import set_memory_nx, set_memory_uc, set_memory_x
from efimm.linux.pgtable import pgd_alloc
from efimm.linux.tables import Extent, TableFiller
from efimm.linux.vmalloc import ioremap
from efimm.machines import data_files
from efimm.trace import Enter, EntryWrite, Leave, LoadCr3, Lock, TlbFlush, Trace
from efimm.uefi import E820Entry, EfiMemoryDescriptor, MemoryMap
from efimm.x86 import PhysMemory

PAGE_OFFSET, VMALLOC_START = 0xFFFF_8800_0000_0000, 0xFFFF_C900_0000_0000
KIB4, MIB2, GIB, TIB, LINE = 1 << 12, 1 << 21, 1 << 30, 1 << 40, 1 << 39
NX, G, PS, RW, PCD = 1 << 63, 1 << 8, 1 << 7, 2, 1 << 4
SIZES = {"4K": KIB4, "2M": MIB2, "1G": GIB}


def translate(memory, cr3, va):
    """(physical address, size of the page, its entry, NX at any level) of `va`; None where nothing is mapped."""
    entry, nx = cr3, False
    for shift in (39, 30, 21, 12):
        place = (entry & 0x000F_FFFF_FFFF_F000) + 8 * (va >> shift & 511)
        entry = int.from_bytes(memory.read(place, 8), "little")
        nx = nx or bool(entry & NX)
        if not entry & 1:
            return None
        if shift == 12 or (shift < 39 and entry & PS):
            page = 1 << shift
            return (entry & 0x000F_FFFF_FFFF_F000) // page * page + va % page, page, entry, nx
    raise AssertionError


def seen(linux, va, root=None):
    """The physical address behind `va` in swapper_pg_dir, or in another table."""
    found = translate(linux.memory, linux.swapper_pg_dir.pa if root is None else root, va)
    return found[0] if found else None


def executable(linux, va):
    found = translate(linux.memory, linux.cpu.cr3, va)
    assert found
    return not found[3]


def boot(ram="4G", kernel="3.5", page_size="1G"):
    return efimm.boot(efimm.machine(ram, page_size=page_size), kernel)


def machine_with(ram, reserved=(), page_size="1G"):
    """A machine with exactly this RAM and these reserved ranges, and a firmware of 1 MiB below the end of low RAM."""
    firmware = max(end for _, end in ram if end <= 4 * GIB)
    e820 = [E820Entry(a, b, 1) for a, b in ram] + [E820Entry(a, b, 2) for a, b in reserved]
    regions = (
        EfiMemoryDescriptor(6, firmware, 0, 64, 1 << 63 | 0xF),
        EfiMemoryDescriptor(5, firmware + 64 * KIB4, 0, 64, 1 << 63 | 0xF),
    )
    e820.append(E820Entry(firmware, firmware + 128 * KIB4, 2))
    memory_map = MemoryMap("made", regions, tuple(sorted(e820, key=lambda entry: entry.start)))
    return efimm.machine(map=memory_map, page_size=page_size)


# how a range is cut


@pytest.mark.parametrize(
    ("start", "end", "lines"),
    [
        (  # Linux 3.5.0 on OVMF, 514 GiB
            0,
            0x7FEF4000,
            [(0, 0x3FFFFFFF, "1G"), (0x40000000, 0x7FDFFFFF, "2M"), (0x7FE00000, 0x7FEF3FFF, "4k")],
        ),
        (0x100000000, 0x8100000000, [(0x100000000, 0x80FFFFFFFF, "1G")]),
        (0x7FEF4000, 0x7FF78000, [(0x7FEF4000, 0x7FF77FFF, "4k")]),  # efi_ioremap of the same boot
        (  # Linux 3.6.5, exactmap with 1500M@1M
            0,
            0x5DD00000,
            [(0, 0x3FFFFFFF, "1G"), (0x40000000, 0x5DBFFFFF, "2M"), (0x5DC00000, 0x5DCFFFFF, "4k")],
        ),
        (0, 0x40100000, [(0, 0x3FFFFFFF, "1G"), (0x40000000, 0x400FFFFF, "4k")]),  # 3.6.5, 1G@1M
        (0x100000000, 0x8200000000, [(0x100000000, 0x81FFFFFFFF, "1G")]),
    ],
)
def test_ranges_are_cut_as_real_consoles_show(start, end, lines):
    names = {12: "4k", 21: "2M", 30: "1G"}

    assert lines == [(low, high - 1, names[shift]) for low, high, shift in split_mem_range(start, end, 30)]


@pytest.mark.parametrize(
    ("start", "end", "leaf", "expected"),
    [
        # All five pieces: a head of 4K to 2M, 2M to 1G, 1G, then a tail of 2M and of 4K.
        (
            0x3FDFF000,
            0xC0401000,
            30,
            [
                (0x3FDFF000, 0x3FE00000, 12),
                (0x3FE00000, 0x40000000, 21),
                (0x40000000, 0xC0000000, 30),
                (0xC0000000, 0xC0400000, 21),
                (0xC0400000, 0xC0401000, 12),
            ],
        ),
        (0x3FDFF000, 0xC0401000, 12, [(0x3FDFF000, 0xC0401000, 12)]),
        (
            0x3FDFF000,
            0xC0401000,
            21,
            [(0x3FDFF000, 0x3FE00000, 12), (0x3FE00000, 0xC0400000, 21), (0xC0400000, 0xC0401000, 12)],
        ),
        (0x1000, 0x2000, 30, [(0x1000, 0x2000, 12)]),
        (0x1FF000, 0x201000, 30, [(0x1FF000, 0x201000, 12)]),  # head and tail touch: one range
        (0x3FE00000, 0x40200000, 30, [(0x3FE00000, 0x40200000, 21)]),
        (0x5000, 0x5000, 30, []),
    ],
)
def test_ranges_are_cut_by_hand(start, end, leaf, expected):
    assert expected == split_mem_range(start, end, leaf)


@settings(max_examples=400)
@given(st.data(), st.sampled_from([12, 21, 30]))
def test_each_page_gets_the_largest_size_that_fits_the_range(data, leaf):
    edges = st.builds(
        lambda gib, mib, page: gib * GIB + mib * MIB2 + page * KIB4,
        st.integers(0, 600),
        st.sampled_from([0, 0, 1, 300, 511]),
        st.sampled_from([0, 0, 1, 255, 511]),
    )
    start, end = sorted((data.draw(edges), data.draw(edges)))
    pieces = split_mem_range(start, end, leaf)

    assert [start, end] == [pieces[0][0], pieces[-1][1]] if pieces else start == end
    for (_, high, shift), (low, _, other) in pairwise(pieces):
        assert high == low
        assert shift != other, "equal neighbours are one range"
    for low, high, shift in pieces:
        for page in {low, high - KIB4, random.Random(low).randrange(low, high, KIB4)}:
            fits = [s for s in (12, 21, 30) if page >> s << s >= start and ((page >> s) + 1) << s <= end]
            assert min(max(fits), leaf) == shift


# the direct map, as bytes


def interesting(rng, edges, limit):
    """Random addresses, and those around `edges`."""
    near = {edge + d for edge in edges for d in (-KIB4, -1, 0, 1, KIB4 - 1, KIB4)}
    return {pa for pa in near if 0 <= pa < limit} | {rng.randrange(limit) for _ in range(150)}


@pytest.mark.parametrize("page_size", SIZES)
@pytest.mark.parametrize("ram", ["1G", "2G", "3G", "64G", "513G", "16T", "64T"])
def test_the_direct_map_is_arithmetic_and_ends_with_ram(ram, page_size):
    linux = boot(ram, page_size=page_size)
    size = efimm.machine(ram).ram
    low, high = min(size, 2 * GIB), min(size + 2 * GIB, 1 << 46) if size > 2 * GIB else 0
    rng = random.Random(ram + page_size)
    edges = [0, MIB2, GIB, low, 4 * GIB, 5 * GIB, LINE, LINE + GIB, TIB, high]
    addresses = interesting(rng, edges, 1 << 46) | interesting(rng, [], max(low, high))

    for pa in addresses:
        found = translate(linux.memory, linux.swapper_pg_dir.pa, PAGE_OFFSET + pa)
        if not (pa < low or 4 * GIB <= pa < high):
            assert found is None, hex(pa)
            continue
        assert found, hex(pa)
        assert pa == found[0]
        assert (min(SIZES[page_size], MIB2) if pa < GIB else SIZES[page_size]) == found[1], hex(pa)
        assert found[2] & RW
        assert found[2] & G
        assert (pa >= GIB) == found[3], "NX everywhere but in the first GiB"


@pytest.mark.parametrize("page_size", SIZES)
def test_holes_and_reserved_ranges_are_mapped_but_for_whole_gibs_that_e820_does_not_mention(page_size):
    ram = [(0, 0xA0000), (0x100000, 2 * GIB), (4 * GIB, 5 * GIB), (9 * GIB, 12 * GIB)]
    linux = efimm.boot(machine_with(ram, [(7 * GIB + MIB2, 7 * GIB + 2 * MIB2)], page_size), "3.5")
    mapped = [gib for gib in range(16) if seen(linux, PAGE_OFFSET + gib * GIB + 0x345000) == gib * GIB + 0x345000]

    assert [0, 1, 4, 7, 9, 10, 11] == mapped


@pytest.mark.parametrize("page_size", ["1G", "2M"])
def test_the_4k_tail_of_low_ram_is_mapped(page_size):
    """RAM up to 0x7fef4000, as OVMF leaves it: the console says `[mem 0x7fe00000-0x7fef3fff] page 4k`."""
    linux = efimm.boot(machine_with([(0, 0xA0000), (0x100000, 0x7FEF4000)], page_size=page_size), "3.5")

    for pa in (0x7FE00000, 0x7FE01000, 0x7FEF3FFF):
        assert pa == seen(linux, PAGE_OFFSET + pa)
    assert None is seen(linux, PAGE_OFFSET + 0x7FEF4000)


def test_the_4k_tail_of_low_ram_is_mapped_where_all_pages_are_small():
    linux = efimm.boot(machine_with([(0, 0xA0000), (0x100000, 0x7FEF4000)], page_size="4K"), "3.5")

    assert [0x7FE00000, 0x7FEF3FFF, None] == [
        seen(linux, PAGE_OFFSET + a) for a in (0x7FE00000, 0x7FEF3FFF, 0x7FEF4000)
    ]


@pytest.mark.parametrize("name", data_files())
def test_every_page_of_ram_of_a_real_machine_is_in_the_direct_map(name):
    linux = efimm.boot(efimm.machine(map=name), "3.5")
    rng = random.Random(name)
    for start, end in linux.memblock.memory:
        for pa in (start, end - KIB4, *(rng.randrange(start, end, KIB4) for _ in range(20))):
            assert pa == seen(linux, PAGE_OFFSET + pa), hex(pa)


def test_the_first_gib_is_executable_and_the_kernels_text_is_mapped_twice():
    linux = boot()

    assert [True, True, False] == [executable(linux, PAGE_OFFSET + pa) for pa in (0, GIB - 1, GIB)]
    assert 0x1000000 == seen(linux, 0xFFFF_FFFF_8100_0000) == seen(linux, PAGE_OFFSET + 0x1000000)


def test_the_top_level_entries_have_the_bits_of_the_real_boot():
    """Static slot 272 is 0x...063, slots that came later are 0x...067, slot 0 is empty (3.5.0 on OVMF)."""
    linux = boot("1T")

    assert [0x1196063, 0, 0x1197067] == [linux.swapper_pg_dir[slot] for slot in (272, 0, 511)]
    assert {0x067} == {linux.swapper_pg_dir[slot] & 0xFFF for slot in (273, 274, 402, 468)}
    assert all(slot >= 272 for slot in linux.swapper_pg_dir.slots())


# the identity map


@pytest.mark.parametrize("page_size", SIZES)
def test_the_prelog_makes_an_identity_map_of_512_gib_and_no_more(page_size):
    linux = boot("1T", page_size=page_size)
    rng = random.Random(page_size)
    low = {0, 2 * GIB - 1, 4 * GIB, LINE - 1, *(rng.randrange(4 * GIB, LINE) for _ in range(50))}
    high = {LINE, LINE + 0x20, TIB - 1, *(rng.randrange(LINE, TIB) for _ in range(50))}

    assert [None] * len(low | high) == [seen(linux, pa) for pa in low | high]
    with linux.kernel.efi_call_phys(linux):
        assert all(pa == seen(linux, pa) == seen(linux, PAGE_OFFSET + pa) for pa in low)
        assert all(seen(linux, pa) is None and pa == seen(linux, PAGE_OFFSET + pa) for pa in high)
        assert [seen(linux, 3 * GIB)] == [None], "a hole of the direct map is a hole here"
    assert [None] * len(low) == [seen(linux, pa) for pa in low]


def test_slot_0_is_empty_before_and_after_a_call_that_succeeds():
    linux = boot("4G")
    assert linux.swapper_pg_dir[0] == 0

    efimm.efi_enter_virtual_mode(linux)
    assert bytes(8) == linux.memory.read(linux.swapper_pg_dir.pa, 8)
    flushes = [event for event in linux.trace.events if isinstance(event, TlbFlush)]
    assert flushes[-1].global_pages, "a plain CR3 load would leave global identity entries"


def test_after_a_fault_there_is_no_epilog_and_slot_0_stays():
    linux = boot("1T")
    with pytest.raises(efimm.PageFault):
        efimm.efi_enter_virtual_mode(linux)
    entered = [event.step for event in linux.trace.events if isinstance(event, Enter)]
    left = [event.step for event in linux.trace.events if isinstance(event, Leave)]

    assert linux.swapper_pg_dir[272] == linux.swapper_pg_dir[0] != 0
    assert "efi_call_phys_prelog" in left
    assert "efi_call_phys_epilog" not in entered
    assert "SetVirtualAddressMap" in set(entered) - set(left)
    assert ("efi_enter_virtual_mode" in entered, "efi_enter_virtual_mode" in left) == (True, False)


def test_3_5_does_not_load_cr3_for_the_call_and_hpa_sync_does():
    for kernel, expected in (("3.5", 1), ("hpa-sync", 3)):
        linux = boot("4G", kernel)
        efimm.efi_enter_virtual_mode(linux)
        loads = [event.new for event in linux.trace.events if isinstance(event, LoadCr3)]

        assert expected == len(loads), kernel
        assert linux.swapper_pg_dir.pa == linux.cpu.cr3 == loads[-1]


# rights of pages


def test_making_one_page_executable_splits_a_1_gib_page_twice_and_changes_nothing_else():
    linux = boot("8G")
    target, base = 5 * GIB + 300 * MIB2 + 7 * KIB4, 5 * GIB
    assert GIB == translate(linux.memory, linux.cpu.cr3, PAGE_OFFSET + target)[1]
    tables_before = linux.page_alloc_next
    set_memory_x(linux, PAGE_OFFSET + target, 1)

    assert 2 * KIB4 == tables_before - linux.page_alloc_next
    rng = random.Random(5)
    others = {base, base + GIB - KIB4, target - KIB4, target + KIB4, base + 299 * MIB2, base + 301 * MIB2}
    others |= {rng.randrange(base, base + GIB, KIB4) for _ in range(200)} - {target}
    assert executable(linux, PAGE_OFFSET + target)
    for pa in others | {target}:
        found = translate(linux.memory, linux.cpu.cr3, PAGE_OFFSET + pa)
        assert found
        inside = pa // MIB2 == target // MIB2
        assert (pa, KIB4 if inside else MIB2, pa != target) == (found[0], found[1], found[3]), hex(pa)
        assert 0x163 == found[2] & 0x1FF & ~PS, "the other flags are kept"


def test_the_identity_alias_sees_the_split_because_it_is_the_same_table():
    linux = boot("8G")
    target = 5 * GIB + MIB2
    with linux.kernel.efi_call_phys(linux):
        assert not executable(linux, target)
        set_memory_x(linux, PAGE_OFFSET + target, 1)

        assert [True, False] == [executable(linux, target), executable(linux, target + KIB4)]
        assert KIB4 == translate(linux.memory, linux.cpu.cr3, target)[1]


def test_a_whole_large_page_is_changed_without_a_split():
    linux = boot("8G", page_size="2M")
    before = linux.page_alloc_next
    set_memory_x(linux, PAGE_OFFSET + 5 * GIB, 1024)

    assert before == linux.page_alloc_next
    assert [True, True, False] == [executable(linux, PAGE_OFFSET + 5 * GIB + d * MIB2) for d in (0, 1, 2)]
    assert MIB2 == translate(linux.memory, linux.cpu.cr3, PAGE_OFFSET + 5 * GIB)[1]


def test_a_change_that_changes_nothing_splits_nothing_and_flushes_nothing():
    linux = boot("8G")
    with linux.trace.record() as story:
        set_memory_nx(linux, PAGE_OFFSET + 5 * GIB + KIB4, 3)
        set_memory_x(linux, PAGE_OFFSET + 16 * KIB4, 3)

    assert [] == story


@pytest.mark.parametrize("page_size", SIZES)
def test_rights_are_changed_for_exactly_the_pages_asked_for(page_size):
    """Random ranges, some again forbidden; a set of pages keeps the book."""
    linux = boot("8G", page_size=page_size)
    rng = random.Random(page_size)
    base, pages = 5 * GIB + MIB2 - 40 * KIB4, 80
    book = set()
    for _ in range(30):
        first = rng.randrange(pages)
        count = rng.randint(1, pages - first)
        span = set(range(first, first + count))
        allow = rng.random() < 0.5
        (set_memory_x if allow else set_memory_nx)(linux, PAGE_OFFSET + base + first * KIB4, count)
        book = book | span if allow else book - span

        assert book == {k for k in range(-2, pages + 2) if executable(linux, PAGE_OFFSET + base + k * KIB4)}
    assert all(base + k * KIB4 == seen(linux, PAGE_OFFSET + base + k * KIB4) for k in range(pages))


def test_uncached_means_pcd_without_pwt():
    linux = boot("8G")
    set_memory_uc(linux, PAGE_OFFSET + 5 * GIB, 1)

    assert [PCD, 0] == [
        translate(linux.memory, linux.cpu.cr3, PAGE_OFFSET + pa)[2] & 0x18 for pa in (5 * GIB, 5 * GIB + KIB4)
    ]


def test_pages_behind_a_hole_are_changed_too():
    """Linux goes on with the next page when one is not mapped inside the direct map (__cpa_process_fault, 3.5)."""
    linux = boot("4G")
    init_memory_mapping(linux, TIB + (1 << 20), TIB + MIB2)
    set_memory_x(linux, PAGE_OFFSET + TIB, 512)

    assert executable(linux, PAGE_OFFSET + TIB + (1 << 20))


def test_pages_behind_a_table_that_needs_no_change_are_changed_too():
    linux = boot("8G", page_size="4K")
    target = 5 * GIB + MIB2 + 5 * KIB4
    set_memory_x(linux, PAGE_OFFSET + target, 1)
    set_memory_nx(linux, PAGE_OFFSET + 5 * GIB, 1024)

    assert not executable(linux, PAGE_OFFSET + target)


def test_rights_of_many_tables_are_changed_at_the_cost_of_extents():
    """A 16 GiB area by 4 KiB has 8192 tables; the book holds which of its first pages may be executed."""
    linux = boot("24G", page_size="4K")
    base, pages = 6 * GIB - 3 * KIB4, 4 << 20
    edges, rng = [0, 1, 511, 512, 700, 1024, 262143, 262144, 1 << 20, pages - 513, pages], random.Random(18)
    book = {}
    frames = linux.memory.frames_in_use
    for _ in range(40):
        first, last = sorted(rng.sample(edges, 2))
        allow = rng.random() < 0.5
        (set_memory_x if allow else set_memory_nx)(linux, PAGE_OFFSET + base + first * KIB4, last - first)
        book |= {k: allow for edge in edges for k in (edge - 1, edge, edge + 1) if first <= k < last}

        assert book == {k: executable(linux, PAGE_OFFSET + base + k * KIB4) for k in book}
    places = [*book, *(rng.randrange(pages) for _ in range(500))]
    assert all(seen(linux, PAGE_OFFSET + base + k * KIB4) == base + k * KIB4 for k in places)
    assert linux.memory.frames_in_use < frames + 64  # the tables at the edges


# syncing top-level entries


def new_slot(linux, slot):
    """Hot-add 1 GiB at the start of top-level slot `slot` (of the direct map); its physical address."""
    pa = (slot - 272) * LINE
    init_memory_mapping(linux, pa, pa + GIB)
    assert pa == seen(linux, PAGE_OFFSET + pa)
    return pa


@pytest.mark.parametrize("kernel", ["3.5", "va-patch", "hpa-sync"])
def test_a_new_kernel_entry_reaches_every_process_on_the_list(kernel):
    linux = boot("4G", kernel)
    processes = [pgd_alloc(linux, name) for name in ("init", "bash")]
    pa = new_slot(linux, 280)

    assert [pa, pa] == [seen(linux, PAGE_OFFSET + pa, mm.pgd.pa) for mm in processes]
    assert [0, 0] == [mm.pgd[8] for mm in processes], "a process gets no identity map"


def test_3_5_syncs_neither_the_trampoline_nor_slot_0():
    linux = boot("4G")
    before = linux.trampoline_pgd.slots()
    new_slot(linux, 280)

    assert {0: 0x1196063, 511: 0x1197063} == before == linux.trampoline_pgd.slots()
    assert (0, 0) == (linux.swapper_pg_dir[0], linux.swapper_pg_dir[8])


def test_hpa_sync_puts_a_hot_added_slot_at_both_indices():
    linux = boot("4G", "hpa-sync")
    pa = new_slot(linux, 280)
    trampoline = linux.trampoline_pgd.pa

    assert linux.swapper_pg_dir[280] == linux.trampoline_pgd[280] == linux.trampoline_pgd[8] != 0
    assert [pa + 5, pa + 5] == [seen(linux, va + 5, trampoline) for va in (pa, PAGE_OFFSET + pa)]
    assert (0, 0) == (linux.swapper_pg_dir[0], linux.swapper_pg_dir[8])


@pytest.mark.parametrize(("kernel", "reached"), [("3.5", False), ("hpa-sync", True)])
def test_firmware_can_reach_hot_added_memory_only_with_the_sync(kernel, reached):
    """The array in a slot that came after boot (oracle 8 of the facts)."""
    linux = boot("4G", kernel)
    pa = new_slot(linux, 280)
    linux.memblock.memory.append((pa, pa + GIB))
    linux.machine = replace(linux.machine, buffer=pa + 0x1000)
    if reached:
        assert efimm.EfiStatus.EFI_SUCCESS == efimm.efi_enter_virtual_mode(linux)
    else:
        with pytest.raises(efimm.PageFault) as caught:
            efimm.efi_enter_virtual_mode(linux)
        assert (pa + 0x1020, "pgd", 8) == (linux.cpu.cr2, caught.value.level, caught.value.index)


@pytest.mark.parametrize("ram", ["4G", "1T", "64T"])
def test_the_trampoline_of_hpa_sync_is_a_full_1_to_1_map_beside_the_kernel_half(ram):
    linux = boot(ram, "hpa-sync")
    kernel_half = {slot: entry for slot, entry in linux.swapper_pg_dir.slots().items() if slot >= 272}
    identity = {slot - 272: entry for slot, entry in kernel_half.items() if slot < 400}

    assert kernel_half | identity == linux.trampoline_pgd.slots()


def test_the_sync_fills_empty_slots_only():
    linux = boot("4G")
    empty, full = pgd_alloc(linux, "empty"), pgd_alloc(linux, "full")
    empty.pgd[272] = 0
    with linux.trace.record() as story:
        linux.kernel.sync_global_pgds(linux, PAGE_OFFSET, PAGE_OFFSET + GIB)

    writes = [event for event in story if isinstance(event, EntryWrite)]
    assert [EntryWrite(empty.pgd.name, 272, 0, 0x1196063)] == writes
    assert full.pgd[272] == empty.pgd[272] == 0x1196063


def test_the_sync_ignores_flags_but_not_another_table():
    """BUG_ON compares where the entries lead (pgd_page_vaddr), not their flags."""
    linux = boot("4G")
    mm = pgd_alloc(linux, "init")
    mm.pgd[272] = 0x1196067
    linux.kernel.sync_global_pgds(linux, PAGE_OFFSET, PAGE_OFFSET)
    assert mm.pgd[272] == 0x1196067

    mm.pgd[272] = 0x7000063
    with pytest.raises(AssertionError, match="BUG_ON"):
        linux.kernel.sync_global_pgds(linux, PAGE_OFFSET, PAGE_OFFSET)


def test_the_sync_takes_pgd_lock_and_inside_it_each_mms_lock():
    linux = boot("4G")
    pgd_alloc(linux, "a")
    pgd_alloc(linux, "b")
    with linux.trace.record() as story:
        linux.kernel.sync_global_pgds(linux, PAGE_OFFSET, PAGE_OFFSET)
    locks = [(event.name.split("'")[0], event.taken) for event in story if isinstance(event, Lock)]

    inner = [("b", True), ("b", False), ("a", True), ("a", False)]  # list_add: the newest comes first
    assert [("pgd_lock", True), *inner, ("pgd_lock", False)] == locks


def test_an_empty_kernel_slot_takes_no_lock():
    linux = boot("4G")
    with linux.trace.record() as story:
        linux.kernel.sync_global_pgds(linux, PAGE_OFFSET + 8 * LINE, PAGE_OFFSET + 9 * LINE)

    assert [] == story


def test_a_new_process_shares_the_kernel_half_and_has_no_user_half():
    linux = boot("1T")
    mm = pgd_alloc(linux, "init")

    expected = {slot: entry for slot, entry in linux.swapper_pg_dir.slots().items() if slot >= 272}
    assert expected == mm.pgd.slots()
    assert mm in list(linux.pgd_list)
    set_memory_x(linux, PAGE_OFFSET + LINE, 1)
    found = translate(linux.memory, mm.pgd.pa, PAGE_OFFSET + LINE)
    assert (LINE, KIB4, False) == (found[0], found[1], found[3]), "what changes below the top level needs no sync"


@pytest.mark.parametrize("kernel", efimm.KERNELS)
@pytest.mark.parametrize("ram", ["1G", "64T"])
def test_the_trampolines_table_can_be_loaded_by_a_32_bit_processor(kernel, ram):
    linux = boot(ram, kernel)
    pa = linux.trampoline_pgd.pa

    assert pa < 1 << 20, "the blob lies below 1 MiB"
    assert pa % 4096 == 0
    header = linux.memory.read(0x99000, 0x1000)
    assert pa.to_bytes(4, "little") in header


def test_early_page_tables_lie_below_what_is_mapped_already():
    """The console of 3.5.0 on OVMF: tables at 0x1fdfd000, below the 512 MiB that head_64.S has mapped."""
    console = boot("2G").trace.console
    where = [line.split("@ [mem ")[1] for line in console if "direct mapping tables" in line]

    assert where
    assert int(where[0].split("-")[1].rstrip("]"), 16) < 512 << 20


# device memory


@pytest.mark.parametrize("sizes", [[KIB4, 2 * KIB4, 0x80000, 0x100000, KIB4], [0x3000, 0x5000, 0x11000, 0x400000]])
def test_ioremap_aligns_to_the_power_of_two_above_the_size_up_to_512_kib(sizes):
    """`1 << fls(size)`, between 4 KiB and 512 KiB (__get_vm_area_node, 3.5); a guard page follows each area."""
    linux = boot("4G")
    end = linux.vmalloc_next
    for k, size in enumerate(sizes):
        align = min(1 << size.bit_length(), 512 << 10)
        expected = -(-end // align) * align
        pa = 0xE000_0000 + k * 0x0100_0000
        assert expected == ioremap(linux, pa, size)
        assert [pa, pa + size - 1] == [seen(linux, expected + d) for d in (0, size - 1)]
        assert None is seen(linux, expected + size), "the guard page"
        end = expected + size + KIB4


def test_ioremap_aligns_by_the_size_in_whole_pages():
    """__ioremap_caller rounds first (`size = PAGE_ALIGN(last_addr+1) - phys_addr`), so one page is aligned to 8 KiB."""
    linux = boot("4G")
    places = [ioremap(linux, pa, size) for pa, size in ((0xE000_0000, 1), (0xE100_0000, 1), (0xE200_0FFF, 2))]

    assert [0x2000, 0x4000, 0x8FFF] == [va - VMALLOC_START for va in places], "the HPET's page is at 0"


def test_device_memory_is_uncached_not_executable_and_keeps_its_offset():
    linux = boot("4G")
    va = ioremap(linux, 0xE000_0123, 0x10)
    found = translate(linux.memory, linux.cpu.cr3, va)

    assert (0xE000_0123, KIB4, True) == (found[0], found[1], found[3])
    assert PCD == found[2] & 0x18
    assert VMALLOC_START <= va < VMALLOC_START + GIB


def test_the_first_ioremap_is_the_start_of_the_vmalloc_area():
    """As in the boot of 3.5.0, where the HPET came first and the flash's 4 MiB to 0xffffc90000080000."""
    linux = boot("4G")

    assert 0xFED0_0000 == seen(linux, VMALLOC_START)
    assert VMALLOC_START + 0x80000 == ioremap(linux, 0xFFC0_0000, 4 << 20)


# memory that is in use is not given out twice


def test_an_array_on_top_of_page_tables_is_refused():
    in_use = boot("4G").page_alloc_next
    assert in_use < boot("4G").page_alloc_base

    with pytest.raises(efimm.MachineError, match="buffer"):
        efimm.run(efimm.machine("4G", buffer=in_use), "3.5")


def test_the_page_allocator_stops_where_its_memory_ends():
    """2 TiB by 4 KiB pages take 4 GiB of tables; a machine of 4 GiB has no room for them."""
    linux = boot("4G", page_size="4K")
    with pytest.raises(MemoryError):
        init_memory_mapping(linux, TIB, 3 * TIB)


def test_tables_of_the_running_kernel_lie_in_free_ram():
    for ram in ("1G", "4G", "1T"):
        linux = boot(ram)
        low, high = linux.page_alloc_next, linux.page_alloc_base

        assert any(a <= low and high <= b for a, b in linux.memblock.memory)
        assert not linux.memblock.is_region_reserved(low, high - low)


# filling tables in groups, against the kernel's way: one entry after the other

Tree = dict[int, "int | Tree"]
PROT = 0x163 | NX


def phys_table_init(table, addr, end, leaf, prot, clear, shift=30):
    """phys_pud_init, phys_pmd_init and phys_pte_init (arch/x86/mm/init_64.c, 3.5) as one function; last_map_addr."""
    last, size = end, 1 << shift
    for index in range(addr >> shift & 511, 512):
        if addr >= end:
            if clear and shift < 30:
                for rest in range(index, 512):
                    table.pop(rest, None)
            break
        following = addr // size * size + size
        there, new_prot = table.get(index), prot
        if isinstance(there, dict):
            last = phys_table_init(there, addr, end, leaf, PROT, clear, shift - 9)
        elif there is not None and shift == 12:
            pass
        elif there is not None and shift <= leaf:
            last = following
        elif shift <= leaf:
            table[index] = addr // KIB4 * KIB4 | prot | (PS if shift > 12 else 0)
            last = following
        else:
            if there is not None:
                new_prot = there & ~0x000F_FFFF_FFFF_F000 & ~PS
            below = {}
            last = phys_table_init(below, addr, end, leaf, new_prot, clear, shift - 9)
            table[index] = below
        addr = following
    return last


def tree_of(memory, table, shift=30):
    """What a table and all below it hold, without the addresses of the tables."""
    data = memory.read(table, 4096)
    tree = {}
    for index in range(512):
        entry = int.from_bytes(data[8 * index : 8 * index + 8], "little")
        if entry:
            is_leaf = shift == 12 or entry & PS
            tree[index] = entry if is_leaf else tree_of(memory, entry & 0x000F_FFFF_FFFF_F000, shift - 9)
    return tree


_EDGES = st.builds(
    lambda gib, mib, page: gib * GIB + mib * MIB2 + page * KIB4,
    st.integers(0, 2),
    st.sampled_from([0, 0, 1, 2, 511]),
    st.sampled_from([0, 0, 1, 300, 511]),
)
_FEW = st.builds(lambda mib, page: mib * MIB2 + page * KIB4, st.integers(0, 2), st.integers(0, 511))
_RANGES = st.lists(
    st.one_of(
        st.tuples(_EDGES, _EDGES, st.sampled_from([21, 30])),
        st.builds(lambda low, size: (low, low + size, 12), _EDGES, _FEW),  # small pages one by one take their time
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("clear", [False, True])
def test_tables_are_filled_as_the_kernel_fills_them_entry_by_entry(clear):
    """Ranges one after the other, overlapping as they like, each cut by size as init_memory_mapping cuts it."""

    @settings(max_examples=400, database=None, derandomize=True)
    @given(_RANGES)
    def compare(ranges):
        memory, expected = PhysMemory(), {}
        pages = iter(range(0x1000_0000, 0x7000_0000, 4 * MIB2))
        filler = TableFiller(memory, Trace(), lambda _count: next(pages), clear)
        for one, other, leaf in ranges:
            for low, high, shift in split_mem_range(min(one, other), max(one, other), leaf):
                last = phys_table_init(expected, low, high, shift, PROT, clear)
                assert last == filler.fill_below(0x1000, 1, Extent(low, high, low, PROT, shift))
        assert expected == tree_of(memory, 0x1000)

    compare()


def test_a_device_too_large_for_the_page_pool_is_refused_as_a_machine():
    """64 GiB of runtime MMIO, in 4 KiB pages as ioremap does it, takes 128 MiB of tables."""
    small = efimm.machine("4G").map
    device = EfiMemoryDescriptor(11, 1 << 44, 0, 64 * GIB // KIB4, 1 << 63 | 1)
    machine = efimm.machine(map=replace(small, descriptors=(*small.descriptors, device)))

    with pytest.raises(efimm.MachineError):
        efimm.run(machine, "3.5")
