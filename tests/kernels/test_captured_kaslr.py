"""Kernels that KASLR has moved, and such with five levels: real boots stopped at the call, against the model.

Their consoles told the memory map; where KASLR had put image and direct map is read off the tables.
"""

from dataclasses import asdict, replace
from functools import cache
from itertools import pairwise

import pytest
import test_captured_kernels as tests
from captures import opened, text_of
from held import (
    ADDRESS,
    BASES,
    FOLDERS,
    KERNELS,
    ROOTS,
    facts,
    kaslr_of,
    leaves,
    model_table,
    modelled,
    passed_by,
    real_table,
    record_of,
)

import efimm
from efimm.judges import linux as real_linux
from efimm.judges.linux.prediction import predict
from efimm.judges.tables import reachable
from efimm.machines import linux_runs
from efimm.uefi import read_map
from efimm.x86.modes import LONG5
from efimm.x86.tablefile import save_tables

# Boots with KASLR, two of them with five levels, stopped at the call: the tables as the firmware got them.
RUNS = {name: path for name, path in linux_runs().items() if not real_linux.recall(path).changes}


@cache
def at_the_call(name):
    told = real_linux.recall(RUNS[name])
    return told.call.moment, predict(told)[0].moment


def seen_by_the_firmware(moment):
    def read(pa):
        return [moment.memory.read_u64(pa + 8 * k) for k in range(512)]

    found = [*leaves(read, read(moment.cr3), (*range(256), 511), moment.mode)]
    window = range((1 << 64) - 0x11_0000_0000, (1 << 64) - 0x1_0000_0000)
    return [leaf for leaf in found if leaf.va < 1 << 63 or leaf.va in window]


def test_there_are_boots_with_kaslr_and_with_five_levels():
    modes = {at_the_call(name)[0].mode for name in RUNS}
    assert LONG5 in modes
    assert len(modes) == 2


@pytest.mark.parametrize("name", RUNS)
def test_at_the_call_every_page_that_the_firmware_sees_is_the_same_with_its_d_bit(name):
    real, model = map(seen_by_the_firmware, at_the_call(name))

    assert len(real) > 500
    assert real == model


@pytest.mark.parametrize("name", RUNS)
def test_at_the_call_what_leads_to_the_window_is_filled_as_in_the_real_table(name):
    """Slot 511 with its flags; with five levels every entry of its p4d table; then the pud table's."""

    def filled(moment):
        table, found = moment.cr3, []
        for level in moment.mode.levels[:-2]:
            entries = {k: moment.memory.read_u64(table + 8 * k) for k in range(512)}
            first = 511 if level is moment.mode.levels[0] else 0
            found.append({k: entry & ~ADDRESS for k, entry in entries.items() if entry and k >= first})
            table = entries[511] & ADDRESS
        return found

    real, model = map(filled, at_the_call(name))
    assert real == model
    assert [507, 510, 511] == [*real[-1]]


def test_the_comparison_itself_goes_with_other_bases_and_five_levels(tmp_path, monkeypatch):
    """The model's own tables saved as a capture, KASLR and LA57 on: no evidence, but the plumbing for such captures."""
    bases = 0xFF22_8CFB_0000_0000, 0xFF77_1234_4000_0000, 0xFFCA_9876_8000_0000
    own = modelled_as_a_capture(tmp_path / "made-up", "b-600g-nokaslr", bases)
    monkeypatch.setitem(FOLDERS, "made-up", tmp_path / "made-up")
    monkeypatch.setitem(KERNELS, "made-up", "6.1")

    assert kaslr_of("made-up") == ",".join(map(hex, bases))
    assert own.linux.kernel.image == record_of("made-up").image != efimm.KERNELS["6.1"].image
    for read in (real_table, model_table):
        tests.test_what_the_tables_share_they_share_in_both("made-up", read)
        tests.test_slot_0_of_the_trampoline_is_the_direct_maps_or_a_table_of_its_own("made-up", read)
    for root in ROOTS:
        tests.test_the_same_top_level_slots_are_filled_with_the_same_flags("made-up", root)
    for where in tests.WHERE:
        tests.test_every_page_that_the_firmware_sees_is_the_same("made-up", where)
    for test in (
        tests.test_every_region_has_the_virtual_address_that_the_real_kernel_gave_it,
        tests.test_the_next_address_is_where_the_real_kernels_variable_stands,
        tests.test_the_efi_table_has_pages_of_its_own_down_to_the_window_with_the_same_entries,
        tests.test_robins_case_the_efi_table_maps_the_pages_of_the_array_and_nothing_else_above_512_gib,
        tests.test_the_direct_map_covers_the_same_memory,
        tests.test_the_trampolines_1_to_1_map_is_the_direct_map_from_0,
    ):
        test("made-up")


def modelled_as_a_capture(folder, name, bases, moved=0x2A0_0000):
    """What the model makes of capture `name` with KASLR at `bases`, the image `moved`, five levels: in `folder`."""
    kernel = efimm.KERNELS[KERNELS[name]]
    image = {key: pa + moved for key, pa in asdict(kernel.image).items() if type(pa) is int and pa}
    layouts = {
        key: replace(getattr(kernel, key), phys_base=getattr(kernel, key).phys_base + moved)
        for key in ("layout", "layout_la57")
    }
    kernel = replace(kernel, image=replace(kernel.image, **image), **layouts)
    machine = efimm.machine(
        map=read_map(opened(FOLDERS[name] / "dmesg.txt")),
        buffer=modelled(name).buffer_pa,
        arch="x86_64-la57",
        kaslr=",".join(map(hex, bases)),
    )
    found = efimm.run(machine, kernel)
    linux = found.linux
    pages = {}
    for table in ROOTS.values():
        pages |= reachable(linux.memory, getattr(linux, table).pa, linux.layout.mode, 46)
    variables = {
        **dict(zip(BASES, map(hex, bases), strict=True)),
        "phys_base": hex(linux.layout.phys_base),
        "efi_va": hex(linux.efi_va),
        "pgdir_shift": "0x30",
        "__pgtable_l5_enabled": "0x1",
    }
    about = facts(name) | {
        "mode": "5level",
        "roots": {root: hex(getattr(linux, table).pa) for root, table in ROOTS.items()},
        "variables": variables,
    }
    save_tables(folder, pages, about)
    (folder / "dmesg.txt").write_text(text_of(FOLDERS[name] / "dmesg.txt"))
    rows = [
        (md.type, hex(md.physical_start), hex(md.virtual_start), md.number_of_pages, hex(md.attribute))
        for md in passed_by(found)
    ]
    text = "\n".join(",".join(map(str, row)) for row in [("type", "phys", "virt", "pages", "attribute"), *rows])
    (folder / "efi_memmap.csv").write_text(text + "\n")
    return found


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
