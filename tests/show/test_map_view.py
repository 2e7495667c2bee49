"""The picture of a machine's memory map: every map of data/, and maps that nobody has."""

import re
from itertools import pairwise

import pytest
from test_pictures import corners

import efimm
from efimm.machines import data_files, generated_map, load_map
from efimm.show.drawing.shapes import Path, Rect, Text
from efimm.show.map_view import (
    ACPI,
    BAR,
    BAR_END,
    CODE,
    DATA,
    FOUR_GIB,
    KINDS,
    LARGEST,
    MMIO,
    RAM,
    RESERVED,
    amount,
    areas_of,
    describe,
    description,
    draw,
    map_view,
    state_of,
    words,
)
from efimm.uefi.memmap import (
    EFI_MEMORY_RUNTIME,
    E820Entry,
    E820Type,
    EfiMemoryDescriptor,
    EfiMemoryType,
    MemoryMap,
)

GIB, TIB, LINE, PAGE = 1 << 30, 1 << 40, 512 << 30, 4096


def descriptor(kind, start, end, attribute=0):
    return EfiMemoryDescriptor(kind, start, 0, (end - start) >> 12, attribute)


def alternating():
    """A thousand small areas of changing kinds in the first GiB: more than a strip has room for."""
    kinds = (EfiMemoryType.EfiConventionalMemory, EfiMemoryType.EfiReservedMemoryType, EfiMemoryType.EfiMemoryMappedIO)
    step = GIB // 1000 & -PAGE
    return tuple(
        descriptor(kinds[k % 3], k * step, (k + 1) * step, EFI_MEMORY_RUNTIME * (k % 7 == 0)) for k in range(1000)
    )


ODD = {
    "nothing": MemoryMap("nothing"),
    "1G": generated_map(GIB),
    "64T": generated_map(64 * TIB),
    "a thousand": MemoryMap("a thousand", descriptors=alternating()),
    "far away": MemoryMap("far away", descriptors=(descriptor(11, (1 << 52) - GIB, 1 << 52, EFI_MEMORY_RUNTIME),)),
    "reserved TiBs": MemoryMap("reserved TiBs", e820=(E820Entry(0, GIB, 1), E820Entry(TIB, 5 * TIB, 2))),
    "unknown types": MemoryMap("?" * 200, descriptors=(descriptor(0x80000000, 0, GIB),), e820=(E820Entry(0, GIB, 99),)),
}
MAPS = {**{name: load_map(name) for name in data_files()}, **ODD}


@pytest.fixture(scope="module")
def states():
    return {name: state_of(found) for name, found in MAPS.items()}


# which kind an address has


def kind_of(found, address):
    """What the lists say of one address, in another way than by sweeping."""
    types = EfiMemoryType
    ram = {types.EfiLoaderCode, types.EfiLoaderData, types.EfiConventionalMemory}
    ram |= {types.EfiBootServicesCode, types.EfiBootServicesData}
    named = {types.EfiRuntimeServicesCode: CODE, types.EfiRuntimeServicesData: DATA}
    named |= dict.fromkeys((types.EfiMemoryMappedIO, types.EfiMemoryMappedIOPortSpace), MMIO)
    named |= dict.fromkeys((types.EfiACPIReclaimMemory, types.EfiACPIMemoryNVS), ACPI) | dict.fromkeys(ram, RAM)
    kinds = {named.get(d.type, RESERVED) for d in found.descriptors if d.physical_start <= address < d.end}
    e820 = {E820Type.RAM: RAM, E820Type.ACPI: ACPI, E820Type.NVS: ACPI}
    kinds = kinds or {e820.get(e.type, RESERVED) for e in found.kernel_e820 if e.start <= address < e.end}
    return min(kinds, key=KINDS.index, default="")


@pytest.mark.parametrize("name", MAPS)
def test_each_edge_of_each_list_has_the_kind_that_the_lists_give_it(name, states):
    found, state = MAPS[name], states[name]
    edges = {edge for d in found.descriptors for edge in (d.physical_start, d.end)}
    edges |= {edge for entry in found.kernel_e820 for edge in (entry.start, entry.end)}
    for address in {edge + step for edge in edges for step in (-1, 0) if edge + step >= 0}:
        here = [area.kind for area in state.areas if area.start <= address < area.end]
        assert (here or [""]) == [kind_of(found, address)], hex(address)
    for low, high in pairwise(state.areas):
        assert low.end <= high.start
        assert low.end < high.start or low.kind != high.kind


def test_the_kind_that_matters_most_wins_and_e820_fills_the_gaps():
    both = MemoryMap(
        "both",
        descriptors=(descriptor(7, 0, 8 * PAGE), descriptor(6, 2 * PAGE, 4 * PAGE), descriptor(0, 3 * PAGE, 5 * PAGE)),
        e820=(E820Entry(0, 12 * PAGE, 1), E820Entry(10 * PAGE, 11 * PAGE, 3)),
    )
    found = [(area.start // PAGE, area.end // PAGE, area.kind) for area in areas_of(both)]

    assert found == [(0, 2, RAM), (2, 4, DATA), (4, 5, RESERVED), (5, 10, RAM), (10, 11, ACPI), (11, 12, RAM)]


def test_facts_of_real_machines(states):
    superdome = states["hp-superdome2-3tib"]
    assert sum(start >= LINE for start, _ in superdome.runtime) == 17
    assert [row.whole for row in superdome.blocks if (row.first, row.last) in ((2, 5), (7, 30))] == [RAM, "nothing"]
    assert "no EFI list" in words(states["amd-ethanol-x-1tib"])
    assert "below 512 GiB" in words(states["thinkpad-x240-8gib"])


# the scene and its twin


@pytest.mark.parametrize("name", MAPS)
def test_blocks_go_on_from_0_to_the_last_address(name, states):
    state = states[name]
    rows = state.blocks
    assert rows[0].first == 0
    assert all(low.last + 1 == high.first for low, high in pairwise(rows))
    assert rows[-1].last == max((area.end - 1 >> 39 for area in state.areas), default=0)
    assert sum(area.size for row in rows if row.first == row.last for area in row.areas) + sum(
        (row.last + 1 - row.first) * LINE for row in rows if row.first < row.last and row.whole != "nothing"
    ) == sum(area.size for area in state.areas)


@pytest.mark.parametrize("name", MAPS)
def test_everything_stands_inside_the_picture(name, states):
    scene = draw(states[name])
    for shape in scene.shapes:
        assert all(0 <= x <= scene.width and 0 <= y <= scene.height for x, y in corners(shape)), shape
        if isinstance(shape, Rect) and "item" in shape.role:
            assert BAR - 0.1 <= shape.x
            assert shape.x + shape.width <= BAR_END + 0.1
            assert shape.tip


def counted(items):
    """How many areas these marks stand for."""
    return sum(int(found[1]) if (found := re.match(r"(\d+) areas of", item.tip)) else 1 for item in items)


@pytest.mark.parametrize("name", MAPS)
def test_each_area_is_drawn_in_the_strip_where_it_lies(name, states):
    state, scene = states[name], draw(states[name])
    items = [s for s in scene.shapes if isinstance(s, Rect) and s.role.startswith("area ") and s.role.endswith(" item")]
    strips = {y: [item for item in items if item.y == y and ", 0x" in item.tip] for y in {item.y for item in items}}
    zoom = strips.pop(92, [])
    assert counted(zoom) == sum(area.start < FOUR_GIB for area in state.areas)
    drawn = [counted(strips[y]) for y in sorted(strips) if strips[y]]
    rows = [
        sum(area.end > FOUR_GIB for area in row.areas) if not row.first else len(row.areas)
        for row in state.blocks
        if row.first == row.last or row.whole != "nothing"
    ]
    assert drawn == [count for count in rows if count]


@pytest.mark.parametrize("name", MAPS)
def test_marks_for_runtime_regions_stand_for_all_of_them(name, states):
    state = states[name]
    tips = [shape.tip for shape in draw(state).shapes if isinstance(shape, Path) and "tick" in shape.role]
    many = [int(found[1]) if (found := re.match(r"(\d+) runtime regions", tip)) else 1 for tip in tips if tip]
    expected = sum(start < FOUR_GIB for start, _ in state.runtime)
    expected += sum(sum(end > FOUR_GIB for _, end in row.runtime) for row in state.blocks)
    assert sum(many) == expected


@pytest.mark.parametrize("name", MAPS)
def test_the_twin_has_at_most_72_columns_and_says_what_the_scene_says(name, states):
    state = states[name]
    twin, scene = describe(state), draw(state)
    lines = twin.splitlines()
    labels = [shape.text for shape in scene.shapes if isinstance(shape, Text)]
    said = " ".join(twin.split())
    assert max(map(len, lines)) <= 72
    assert words(state) in labels
    assert words(state) in said
    for kind in KINDS:
        legend = next(label for label in labels if label.startswith(f"{kind}: "))
        assert f"{kind} {legend.removeprefix(kind + ': ')}" in said or legend == f"{kind}: none"
    for row in state.blocks:
        numbers = f"{row.first}" if row.first == row.last else f"{row.first}–{row.last}"
        assert numbers in labels
        assert re.search(rf"^blocks? {numbers}, from {row.first << 39:#x}", twin, re.MULTILINE)
    largest = lines[lines.index("the largest areas") + 1 :]
    assert len(largest) == min(LARGEST, len(state.areas))
    assert all(" ".join(line.split()[:2]) in labels for line in largest)


def test_the_twin_lists_every_area(states):
    for state in states.values():
        listed = [line for line in describe(state).split("\nthe largest")[0].splitlines() if line.startswith("  0x")]
        assert len(listed) == sum(len(row.areas) for row in state.blocks if not row.whole)
        sizes = sum(int(line.split()[1], 16) - int(line.split()[0], 16) for line in listed)
        assert sizes == sum(area.size for row in state.blocks if not row.whole for area in row.areas)


def test_amounts_in_words():
    assert [amount(n) for n in (4096, 1 << 20, 3 << 29, LINE, 5 << 40)] == [
        "4 KiB",
        "1 MiB",
        "1.5 GiB",
        "512 GiB",
        "5 TiB",
    ]
    assert amount(0) == "0 KiB"


def test_descriptions_name_folded_blocks(states):
    assert "Blocks 2–5: RAM; blocks 7–30: nothing." in description(states["hp-superdome2-3tib"])


# the view


def test_a_view_of_a_name_a_map_and_a_log():
    names = [map_view(what).shown[0].words for what in ("thinkpad-x240-8gib", MAPS["thinkpad-x240-8gib"])]
    log = "BIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] usable\n"

    assert names[0] == names[1]
    assert "no EFI list" in repr(map_view(log))
    with pytest.raises(efimm.uefi.MapError):
        map_view("no such machine")
