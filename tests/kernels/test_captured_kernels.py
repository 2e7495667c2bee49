"""Linux 6.1, 6.12 and 7.3 as they really were: page tables of Debian's kernels, against those that the model makes.

Captured in November 2026 in QEMU with OVMF: `a` has 2 GiB of RAM, `b` also RAM from 512 to 516 GiB, where its kernel
put the descriptor array of its own accord.  The model gets the memory map of the log and the array's address.
"""

from __future__ import annotations

import csv
import json
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from captures import TABLES, opened, text_of

import efimm
from efimm.uefi import EfiMemoryDescriptor, read_map

KERNELS = {
    **dict.fromkeys(("a-2g-nokaslr", "b-600g-nokaslr"), "6.1"),
    **dict.fromkeys(("6.12-a-2g-nokaslr", "6.12-b-600g-nokaslr"), "6.12"),
    **dict.fromkeys(("7.3-a-2g-nokaslr", "7.3-b-600g-nokaslr"), "7.3"),
}
CAPTURES = tuple(KERNELS)
HIGH = tuple(name for name in CAPTURES if "600g" in name)
ROOTS = {"init_top_pgt": "swapper_pg_dir", "efi_mm.pgd": "efi_pgd", "trampoline_pgd": "trampoline_pgd"}
P, RW, PCD, PS, G, NX = 1, 2, 1 << 4, 1 << 7, 1 << 8, 1 << 63
DIRTY = 1 << 6
ADDRESS, RIGHTS = 0x000F_FFFF_FFFF_F000, RW | PCD | G | NX | DIRTY
GIB, LINE = 1 << 30, 1 << 39

# What is not the same, and why.  Everything else has to be.
DIFFERENCES = {
    "D bits of runtime data in the window, since 6.12": "OVMF has written variables by then, the model's firmware none",
    "sizes and rights of direct-map pages": "Linux makes its text, read-only data and BPF programs read-only later",
    "what vmalloc, vmemmap, cpu entry area, espfix and text slots lead to": "the model has little of it",
    "where table pages lie": "Linux takes them from its image and from memblock in other steps",
}


class Leaf(NamedTuple):
    """A mapped page: virtual and physical address (48 bits), size, rights."""

    va: int
    pa: int
    size: int
    rights: int


@cache
def captured(name):
    """The roots of a capture, and its table pages by frame number."""
    facts = json.loads(text_of(TABLES / name / "tables.json"))
    with np.load(TABLES / name / "tables.npz") as file:
        pages = dict(zip(file["pfns"].tolist(), file["pages"].tolist(), strict=True))
    return {root: int(pa, 16) for root, pa in facts["roots"].items()}, pages


@cache
def modelled(name):
    array = json.loads(text_of(TABLES / name / "tables.json"))["efi_memmap"]["phys_map"]
    return efimm.run(
        efimm.machine(map=read_map(opened(TABLES / name / "dmesg.txt")), buffer=int(array, 16)), KERNELS[name]
    )


def real_table(name, root):
    roots, pages = captured(name)
    return pages[roots[root] >> 12]


def model_table(name, root):
    table = getattr(modelled(name).linux, ROOTS[root])
    return [int(entry) for entry in table]


def leaves(read, table, indexes):
    def below(entries, shift, va):
        for index, entry in enumerate(entries):
            start = va + (index << shift)
            if entry & P and (shift == 12 or entry & PS):
                yield Leaf(start, entry & ADDRESS, 1 << shift, entry & RIGHTS)
            elif entry & P:
                yield from below(read(entry & ADDRESS), shift - 9, start)

    for index in indexes:
        if table[index] & P:
            yield from below(read(table[index] & ADDRESS), 30, index << 39)


def real_leaves(name, root, indexes):
    pages = captured(name)[1]
    return [*leaves(lambda pa: pages[pa >> 12], real_table(name, root), indexes)]


def model_leaves(name, root, indexes):
    memory = modelled(name).linux.memory

    def read(pa):
        data = memory.read(pa, 4096)
        return [int.from_bytes(data[at : at + 8], "little") for at in range(0, 4096, 8)]

    return [*leaves(read, model_table(name, root), indexes)]


def covered(found):
    """(va, end, pa) of what is mapped without a break, whatever the sizes and rights of its pages."""
    ranges = []
    for leaf in found:
        if ranges and ranges[-1][1] == leaf.va and leaf.pa - leaf.va == ranges[-1][2] - ranges[-1][0]:
            ranges[-1] = ranges[-1][0], leaf.va + leaf.size, ranges[-1][2]
        else:
            ranges.append((leaf.va, leaf.va + leaf.size, leaf.pa))
    return ranges


def descriptors(name):
    rows = list(csv.DictReader(text_of(TABLES / name / "efi_memmap.csv").splitlines()))
    keys = ("type", "phys", "virt", "pages", "attribute")
    return [EfiMemoryDescriptor(*(int(row[key], 0) for key in keys)) for row in rows]


def passed(name):
    found = modelled(name)
    places = range(found.buffer_pa, found.buffer_pa + 48 * found.linux.memmap_count, 48)
    return [EfiMemoryDescriptor.unpack(found.linux.memory.read(pa, 48)) for pa in places]


@pytest.mark.parametrize("name", CAPTURES)
def test_every_region_has_the_virtual_address_that_the_real_kernel_gave_it(name):
    real, model = descriptors(name), passed(name)
    assert len(real) > 100
    assert real == model


@pytest.mark.parametrize("name", CAPTURES)
def test_the_next_address_is_where_the_real_kernels_variable_stands(name):
    variables = json.loads(text_of(TABLES / name / "tables.json"))["variables"]

    assert int(variables["efi_va"], 16) == modelled(name).linux.efi_va
    assert int(variables["page_offset_base"], 16) == modelled(name).linux.layout.page_offset


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("name", CAPTURES)
def test_the_same_top_level_slots_are_filled_with_the_same_flags(name, root):
    def flags(table):
        return {index: entry & ~ADDRESS for index, entry in enumerate(table) if entry}

    assert flags(real_table(name, root)) == flags(model_table(name, root))


@pytest.mark.parametrize("read", [real_table, model_table])
@pytest.mark.parametrize("name", CAPTURES)
def test_what_the_tables_share_they_share_in_both(name, read):
    init, efi, trampoline = (read(name, root) for root in ROOTS)

    assert trampoline[0] == trampoline[273] == init[273] != 0
    assert init[256:] == trampoline[256:]
    assert init[256:511] == efi[256:511]
    assert init[511] & ADDRESS != efi[511] & ADDRESS
    assert efi[0] & ADDRESS not in {entry & ADDRESS for entry in init}


@pytest.mark.parametrize("name", CAPTURES)
def test_the_efi_table_has_a_page_of_its_own_in_slot_511_with_the_same_entries(name):
    pages = captured(name)[1]
    real = {k: entry for k, entry in enumerate(pages[real_table(name, "efi_mm.pgd")[511] >> 12 & 2**40 - 1]) if entry}
    linux = modelled(name).linux
    own = [linux.memory.read_u64((linux.efi_pgd[511] & ADDRESS) + 8 * k) for k in range(512)]
    kernels = [linux.memory.read_u64((linux.swapper_pg_dir[511] & ADDRESS) + 8 * k) for k in range(512)]

    assert {507, 510, 511} == set(real) == {k for k, entry in enumerate(own) if entry}
    assert own[510:] == kernels[510:]
    assert kernels[507] == 0
    assert {k: entry & ~ADDRESS for k, entry in real.items()} == {k: own[k] & ~ADDRESS for k in real}


WHERE = {"1:1": (range(256), 0), "the window below -4 GiB": ([511], 0xFFEF_0000_0000)}


def efi_leaves(read, name, where):
    indexes, low = WHERE[where]
    return [leaf for leaf in read(name, "efi_mm.pgd", indexes) if low <= leaf.va < 0xFFFF_0000_0000]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("name", CAPTURES)
def test_every_page_that_the_firmware_sees_is_the_same(name, where):
    """Address, frame, size and rights; runtime code's are those that the memory attributes table names."""
    real, model = (efi_leaves(read, name, where) for read in (real_leaves, model_leaves))
    rights = [[leaf._replace(rights=leaf.rights & ~DIRTY) for leaf in found] for found in (real, model)]
    code = [md for md in descriptors(name) if md.type == 5]
    in_code = {leaf.rights & ~DIRTY for leaf in real if any(md.physical_start <= leaf.pa < md.end for md in code)}

    assert len(real) > 500
    assert rights[0] == rights[1]
    assert {0, NX | RW} == in_code


@pytest.mark.parametrize("name", CAPTURES)
def test_the_d_bits_of_the_1_to_1_map_are_the_same(name):
    """In 6.1 every entry is made dirty; since then none is, and the memory attributes table clears what was written."""
    real, model = (efi_leaves(read, name, "1:1") for read in (real_leaves, model_leaves))

    assert real == model
    assert {DIRTY if KERNELS[name] == "6.1" else 0} == {leaf.rights & DIRTY for leaf in real}


@pytest.mark.parametrize("name", CAPTURES)
def test_in_the_window_a_d_bit_tells_what_the_real_firmware_wrote_later(name):
    data = [md for md in descriptors(name) if md.type == 6 and md.runtime]
    real, model = (efi_leaves(read, name, "the window below -4 GiB") for read in (real_leaves, model_leaves))
    written = [one for one, other in zip(real, model, strict=True) if one != other]

    assert (0 if KERNELS[name] == "6.1" else 66) == len(written), next(iter(DIFFERENCES))
    assert all(leaf.rights & DIRTY for leaf in written)
    assert all(any(md.physical_start <= leaf.pa < md.end for md in data) for leaf in written)


@pytest.mark.parametrize("kernel", ["6.12", "7.3"])
def test_in_the_call_itself_the_firmware_writes_through_the_1_to_1_map_alone(kernel):
    """Without a memory attributes table the D bits stay as the call has left them."""
    found = efimm.run(efimm.machine("4G"), kernel)
    memory, root = found.linux.memory, found.linux.efi_pgd.pa
    regions = [md for md in found.linux.memmap if md.runtime and md.type in (5, 6)]

    def dirty(va, pages):
        walks = [efimm.x86.walk(memory, root, va + 4096 * page) for page in range(pages)]
        return [walk.va for walk in walks if walk.entries[-1] & DIRTY]

    low = [va for md in regions for va in dirty(md.physical_start, md.number_of_pages)]
    high = [va for md in regions for va in dirty(md.virtual_start, md.number_of_pages)]
    assert low
    assert [] == high


@pytest.mark.parametrize("name", HIGH)
def test_robins_case_slot_1_of_the_efi_table_maps_the_pages_of_the_array_and_nothing_else(name):
    real, model = (read(name, "efi_mm.pgd", [1]) for read in (real_leaves, model_leaves))
    array = modelled(name).buffer_pa
    dirty = DIRTY if KERNELS[name] == "6.1" else 0

    assert array > 1 << 39
    assert [Leaf(pa, pa, 4096, RW | NX | dirty) for pa in range(array, array + 0x4000, 4096)] == real == model
    for root in ("init_top_pgt", "trampoline_pgd"):
        assert 0 == real_table(name, root)[1] == model_table(name, root)[1]


@pytest.mark.parametrize("name", CAPTURES)
def test_the_direct_map_covers_the_same_memory(name):
    """Not with the same pages: see DIFFERENCES.  The real ones are never larger."""
    slots = range(273, 402)
    real, model = (read(name, "init_top_pgt", slots) for read in (real_leaves, model_leaves))

    assert covered(real) == covered(model)
    sizes = {leaf.va // leaf.size * leaf.size: leaf.size for leaf in model}
    large = [leaf for leaf in real if leaf.size > 4096]
    assert all(any(sizes.get(leaf.va // size * size) == size for size in (leaf.size, GIB)) for leaf in large)


@pytest.mark.parametrize("name", CAPTURES)
def test_the_trampolines_1_to_1_map_is_the_direct_map_from_0(name):
    for read in (real_leaves, model_leaves):
        low = read(name, "trampoline_pgd", [0])
        assert [leaf._replace(va=leaf.va + (273 << 39)) for leaf in low] == read(name, "trampoline_pgd", [273])
        assert all(leaf.va == leaf.pa for leaf in low)


@pytest.mark.parametrize("name", HIGH)
def test_the_oracle_of_qemu_agrees_with_the_model_on_what_the_firmware_sees(name):
    """QEMU's own walker on the real tables (its gva2gpa), the model's on its own: addresses of the firmware's half."""
    linux = modelled(name).linux
    oracle = csv.DictReader(text_of(TABLES / name / "oracle.csv").splitlines())
    rows = [row for row in oracle if row["root"] == "efi_mm.pgd"]
    asked = [(int(row["va"], 16), row["pa"]) for row in rows]
    window = range(0xFFFF_FFEF_0000_0000, 0xFFFF_FFFF_0000_0000)
    firmware = [(va, pa) for va, pa in asked if va < 1 << 47 or va in window]

    assert len(firmware) > 300
    wrong = []
    for va, pa in firmware:
        found = efimm.x86.walk(linux.memory, linux.efi_pgd.pa, va).pa
        if found != (None if pa == "fault" else int(pa, 16)):
            wrong.append((hex(va), pa, found))
    assert [] == wrong


@pytest.mark.parametrize("name", CAPTURES)
def test_the_verdict_is_what_happened(name):
    """The real kernels went on with their runtime services."""
    assert modelled(name).verdict == "success"
    assert "Unable to switch EFI" not in text_of(TABLES / name / "dmesg.txt")


@pytest.mark.parametrize("name", CAPTURES)
def test_a_builds_addresses_are_read_off_the_tables_of_its_boot(name):
    """So another build, or one that KASLR has moved, takes the place of the record's own."""
    record = efimm.KERNELS[KERNELS[name]]
    memory, roots, _mode = efimm.x86.load_tables(TABLES / name)

    assert record.image == record.image.in_tables(memory, roots["init_top_pgt"], record.layout.phys_base)


def test_kaslr_moves_the_three_areas_where_it_is_told():
    """The bases of a boot of 6.1 with KASLR (its direct map in slot 280), the other two made up."""
    bases = 0xFFFF_8C70_0000_0000, 0xFFFF_A1B4_C000_0000, 0xFFFF_D5E0_4000_0000
    machine = efimm.machine("4G", kaslr=",".join(map(hex, bases)))
    linux = efimm.run(machine, "7.3").linux
    names = ("direct map", "vmalloc", "vmemmap")

    assert bases == tuple(linux.layout.region(name).start for name in names)
    for before, after in pairwise(linux.layout.regions[1:]):
        assert before.end == after.start
    slots = set(linux.swapper_pg_dir.slots())
    assert {base >> 39 & 511 for base in bases} <= slots
    assert 65 == len(slots & set(linux.layout.region("vmalloc").slots))
    assert linux.efi_pgd.words(256, 255) == linux.swapper_pg_dir.words(256, 255)
    assert "success" == efimm.run(machine, "7.3").verdict


@pytest.mark.parametrize(
    "bases", ["0xffff8c7000000000,0xffffa1b4c0000000", "0xffff8c7000000000,0xffff8c7000000000,0xffffd5e040000000"]
)
def test_areas_that_cannot_be_are_refused(bases):
    with pytest.raises(efimm.MachineError):
        efimm.run(efimm.machine("4G", kaslr=bases), "7.3")
