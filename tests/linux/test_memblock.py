"""The early allocator, against a map of pages that are free or not; and a machine on which it has to work hard."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import efimm
from efimm.linux.memblock import Memblock
from efimm.uefi.memmap import E820Entry, E820Type, MemoryMap
from efimm.x86 import walk

KIB4, GIB = 1 << 12, 1 << 30


def free_places(memory, reserved, pages):
    inside = [any(a <= page < b for a, b in memory) for page in range(pages)]
    return [free and not any(a <= page < b for a, b in reserved) for page, free in enumerate(inside)]


@settings(max_examples=300)
@given(st.data())
def test_memblock_gives_the_highest_free_place(data):
    """Against a map of 64 pages, one truth value each."""
    pages = 64
    cuts = sorted(data.draw(st.sets(st.integers(0, pages), min_size=2, max_size=8)))
    memory = list(zip(cuts[::2], cuts[1::2], strict=False))
    ranges = st.tuples(st.integers(0, pages), st.integers(0, pages)).map(sorted)
    reserved = [(a, b) for a, b in data.draw(st.lists(ranges, max_size=6))]
    memblock = Memblock([(a * KIB4, b * KIB4) for a, b in memory])
    for a, b in reserved:
        memblock.reserve(a * KIB4, b * KIB4)
    size = data.draw(st.integers(1, 12))
    align = data.draw(st.sampled_from([1, 2, 8]))
    start, end = data.draw(ranges)
    free = free_places(memory, reserved, pages)
    fitting = [
        page
        for page in range(max(start, 1), end - size + 1)  # page 0 is never given out
        if page % align == 0 and all(free[page : page + size])
    ]
    expected = max(fitting) * KIB4 if fitting else None

    assert expected == memblock.find_in_range(start * KIB4, end * KIB4, size * KIB4, align * KIB4)
    for page in range(pages):
        overlaps = any(a < page + 1 and page < b for a, b in reserved if a < b)
        assert overlaps == memblock.is_region_reserved(page * KIB4, KIB4)


def test_allocations_go_from_the_top_down_and_never_overlap():
    memblock = Memblock([(0, 16 * KIB4), (32 * KIB4, 64 * KIB4)])
    given = [memblock.alloc(5 * KIB4) // KIB4 for _ in range(9)]

    assert [59, 54, 49, 44, 39, 34, 11, 6, 1] == given
    with pytest.raises(MemoryError):
        memblock.alloc(5 * KIB4)


@pytest.mark.parametrize("nodes", [4, 256])
def test_a_machine_of_many_nodes_with_holes_between_them_boots(nodes):
    # As on an SGI UV: the struct pages of all lower nodes do not fit into one of them.
    ram = [
        (0x100000, 2 * GIB),
        (4 * GIB, 30 * GIB),
        *((32 * GIB * k, 32 * GIB * k + 30 * GIB) for k in range(1, nodes)),
    ]
    e820 = tuple(E820Entry(start, end, E820Type.RAM) for start, end in ram)
    linux = efimm.boot(efimm.machine(map=MemoryMap("uv", e820=e820)), "3.5")
    for start, end in ram[1:]:
        assert walk(linux.memory, linux.cpu.cr3, linux.phys_to_virt(start)).pa == start
        assert walk(linux.memory, linux.cpu.cr3, linux.phys_to_virt(end - 1)).pa == end - 1
        assert walk(linux.memory, linux.cpu.cr3, linux.phys_to_virt(end)).pa in (None, end)
        struct_page = 0xFFFF_EA00_0000_0000 + (start >> 12) * 64
        assert any(low <= walk(linux.memory, linux.cpu.cr3, struct_page).pa < high for low, high in ram)
