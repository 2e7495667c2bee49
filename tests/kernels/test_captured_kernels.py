"""Linux 6.1, 6.12 and 7.3 as they really were: page tables of Debian's kernels, against those that the model makes.

Captured in November 2026 in QEMU with OVMF: `a` has 2 GiB of RAM, `b` also RAM from 512 to 516 GiB, where its kernel
put the descriptor array of its own accord.  held.py says what the model gets, and how further captures are tried.
"""

import csv

import pytest
from captures import TABLES, text_of
from held import (
    ADDRESS,
    CAPTURES,
    DIRTY,
    FOLDERS,
    GIB,
    HIGH,
    KERNELS,
    LINE,
    NX,
    ROOTS,
    RW,
    Leaf,
    below,
    covered,
    descriptors,
    kaslr_of,
    layout_of,
    model_leaves,
    model_table,
    modelled,
    passed,
    real_leaves,
    real_table,
    record_of,
    variable,
)

import efimm

# What is not the same, and why.  Everything else has to be.
DIFFERENCES = {
    "D bits of runtime data in the window, since 6.12": "OVMF has written variables by then, the model's firmware none",
    "sizes and rights of direct-map pages": "Linux makes its text, read-only data and BPF programs read-only later",
    "what vmalloc, vmemmap, cpu entry area, espfix and text slots lead to": "the model has little of it",
    "where table pages lie": "Linux takes them from its image and from memblock in other steps",
}


@pytest.mark.parametrize("name", CAPTURES)
def test_every_region_has_the_virtual_address_that_the_real_kernel_gave_it(name):
    real, model = descriptors(name), passed(name)
    assert len(real) > 100
    assert real == model


@pytest.mark.parametrize("name", CAPTURES)
def test_the_next_address_is_where_the_real_kernels_variable_stands(name):
    layout = layout_of(name)

    assert variable(name, "efi_va") == modelled(name).linux.efi_va
    assert variable(name, "page_offset_base") == layout.page_offset
    assert variable(name, "pgdir_shift") == layout.pgdir_shift
    assert variable(name, "__pgtable_l5_enabled") == layout.pgtable_l5_enabled


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
    first = layout_of(name).kernel_pgd_boundary

    assert trampoline[first] == init[first] != 0
    assert init[256:] == trampoline[256:]
    assert init[256:511] == efi[256:511]
    assert init[511] & ADDRESS != efi[511] & ADDRESS
    assert efi[0] & ADDRESS not in {entry & ADDRESS for entry in init}


@pytest.mark.parametrize("read", [real_table, model_table])
@pytest.mark.parametrize("name", CAPTURES)
def test_slot_0_of_the_trampoline_is_the_direct_maps_or_a_table_of_its_own(name, read):
    """The latter under KASLR, and for the first GiB alone."""
    init, _efi, trampoline = (read(name, root) for root in ROOTS)
    layout = layout_of(name)
    own, kernels = trampoline[0], init[layout.kernel_pgd_boundary]
    if kaslr_of(name) is None:
        assert own == kernels
        return
    for level in layout.mode.levels[1:-2]:
        assert own & ADDRESS != kernels & ADDRESS
        table = below(name, read, own)
        assert not any(table[1:])
        own, kernels = table[0], below(name, read, kernels)[level.index(layout.page_offset)]
    assert own == kernels


@pytest.mark.parametrize("name", CAPTURES)
def test_the_efi_table_has_pages_of_its_own_down_to_the_window_with_the_same_entries(name):
    """In slot 511; with five levels a p4d table too, in whose last entry alone it is not the kernel's."""
    sides = (real_table, model_table)
    efi, kernels = ([read(name, root)[511] for read in sides] for root in ("efi_mm.pgd", "init_top_pgt"))
    if layout_of(name).pgtable_l5_enabled:
        p4ds, k4ds = ([below(name, *each) for each in zip(sides, entries, strict=True)] for entries in (efi, kernels))
        assert [p4d[:511] for p4d in p4ds] == [k4d[:511] for k4d in k4ds]
        assert len({tuple(k for k, entry in enumerate(p4d) if entry) for p4d in p4ds}) == 1
        efi, kernels = [p4d[511] for p4d in p4ds], [k4d[511] for k4d in k4ds]
    real, own = (below(name, *each) for each in zip(sides, efi, strict=True))
    kernels_own = below(name, model_table, kernels[1])

    assert [507, 510, 511] == [k for k, e in enumerate(real) if e] == [k for k, e in enumerate(own) if e]
    assert own[510:] == kernels_own[510:]
    assert kernels_own[507] == 0
    assert [entry & ~ADDRESS for entry in real] == [entry & ~ADDRESS for entry in own]


WHERE = {"1:1": (range(256), 0, 1 << 63), "the window below -4 GiB": ([511], -0x11_0000_0000, -0x1_0000_0000)}


def efi_leaves(read, name, where):
    indexes, low, high = WHERE[where]
    return [leaf for leaf in read(name, "efi_mm.pgd", indexes) if low % (1 << 64) <= leaf.va < high % (1 << 64)]


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

    if FOLDERS[name].parent == TABLES or KERNELS[name] == "6.1":
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
def test_robins_case_the_efi_table_maps_the_pages_of_the_array_and_nothing_else_above_512_gib(name):
    """In slot 1; with five levels in slot 0, which has room for 256 TiB: slot 1 of the p4d table."""
    real, model = (read(name, "efi_mm.pgd", range(256)) for read in (real_leaves, model_leaves))
    array = modelled(name).buffer_pa
    dirty = DIRTY if KERNELS[name] == "6.1" else 0
    pages = [Leaf(pa, pa, 4096, RW | NX | dirty) for pa in range(array, array + 0x4000, 4096)]

    assert array > LINE
    assert pages == [leaf for leaf in real if leaf.va >= LINE] == [leaf for leaf in model if leaf.va >= LINE]
    for read in (real_leaves, model_leaves):
        assert [] == [leaf for leaf in read(name, "init_top_pgt", range(256)) if leaf.va >= LINE]


@pytest.mark.parametrize("name", CAPTURES)
def test_the_direct_map_covers_the_same_memory(name):
    """Not with the same pages: see DIFFERENCES.  The real ones are never larger."""
    area = layout_of(name).region("direct map")
    real, model = (
        [leaf for leaf in read(name, "init_top_pgt", area.slots) if area.start <= leaf.va < area.end]
        for read in (real_leaves, model_leaves)
    )

    assert covered(real) == covered(model)
    sizes = {leaf.va // leaf.size * leaf.size: leaf.size for leaf in model}
    large = [leaf for leaf in real if leaf.size > 4096]
    assert all(any(sizes.get(leaf.va // size * size) == size for size in (leaf.size, GIB)) for leaf in large)


@pytest.mark.parametrize("name", CAPTURES)
def test_the_trampolines_1_to_1_map_is_the_direct_map_from_0(name):
    """Of the whole first slot, or under KASLR of the first GiB."""
    area = layout_of(name).region("direct map")
    upto = GIB if kaslr_of(name) else 1 << layout_of(name).pgdir_shift
    for read in (real_leaves, model_leaves):
        low, direct = (read(name, "trampoline_pgd", indexes) for indexes in ([0], area.slots))
        first = [leaf for leaf in direct if area.start <= leaf.va < min(area.start + upto, area.end)]
        assert [leaf._replace(va=leaf.va + area.start) for leaf in low] == first != []
        assert all(leaf.va == leaf.pa for leaf in low)


@pytest.mark.parametrize("name", HIGH)
def test_the_oracle_of_qemu_agrees_with_the_model_on_what_the_firmware_sees(name):
    """QEMU's own walker on the real tables (its gva2gpa), the model's on its own: addresses of the firmware's half."""
    linux = modelled(name).linux
    oracle = csv.DictReader(text_of(FOLDERS[name] / "oracle.csv").splitlines())
    rows = [row for row in oracle if row["root"] == "efi_mm.pgd"]
    asked = [(int(row["va"], 16), row["pa"]) for row in rows]
    window = range(0xFFFF_FFEF_0000_0000, 0xFFFF_FFFF_0000_0000)
    firmware = [(va, pa) for va, pa in asked if va < 1 << 63 or va in window]

    assert len(firmware) > 300
    wrong = []
    for va, pa in firmware:
        found = efimm.x86.walk(linux.memory, linux.efi_pgd.pa, va, linux.layout.mode).pa
        if found != (None if pa == "fault" else int(pa, 16)):
            wrong.append((hex(va), pa, found))
    assert [] == wrong


@pytest.mark.parametrize("name", CAPTURES)
def test_the_verdict_is_what_happened(name):
    """The real kernels went on with their runtime services."""
    assert modelled(name).verdict == "success"
    assert "Unable to switch EFI" not in text_of(FOLDERS[name] / "dmesg.txt")


@pytest.mark.parametrize("name", [name for name in CAPTURES if FOLDERS[name].parent == TABLES])
def test_a_builds_addresses_are_read_off_the_tables_of_its_boot(name):
    """So another build, or one that KASLR has moved, takes the place of the record's own."""
    assert efimm.KERNELS[KERNELS[name]].image == record_of(name).image
