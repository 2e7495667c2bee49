"""The kernels of the story beside each other: what each differs in, and what becomes of the call where they differ.

The rows of the oracle table of the reference facts (section 11) that concern x86-64 are here; expected values are
arithmetic on addresses, or what a source of that kernel says.
"""

from __future__ import annotations

import pytest

import efimm
from efimm.run import walk_at_call
from efimm.trace import EntryWrite, writes

LINE, GIB = 512 << 30, 1 << 30

CHANGES = {
    ("va-patch", "3.5"): ["memmap_pointer"],
    ("hpa-sync", "3.5"): ["setup_real_mode", "pgd_populate", "sync_global_pgds", "efi_call_phys"],
    ("3.8", "3.5"): ["init_mem_mapping", "efi_call_phys"],
}


def outcome(kernel: str, ram: str = "1T", **options: object) -> efimm.Outcome:
    return efimm.run(efimm.machine(ram, **options), kernel)  # type: ignore[arg-type]  # passed on as they are


@pytest.mark.parametrize(("new", "old"), CHANGES)
def test_a_kernel_differs_in_exactly_the_functions_that_its_history_names(new: str, old: str) -> None:
    assert CHANGES[new, old] == efimm.KERNELS[new].differs_from(efimm.KERNELS[old])


def test_kernels_stand_in_the_order_of_their_dates() -> None:
    orders = [kernel.order for kernel in efimm.KERNELS.values()]

    assert sorted(set(orders)) == orders


# Nathan Zimmer's loop (oracle 9 and 10)


@pytest.mark.parametrize(("ram", "slots"), [("1G", 1), ("509G", 1), ("512G", 2), ("1T", 3), ("1500G", 3), ("64T", 128)])
def test_nathans_loop_borrows_a_slot_for_every_512_gib_that_ram_reaches(ram: str, slots: int) -> None:
    found = outcome("3.8", ram)
    low = [w for w in writes(found.trace.events, "swapper_pg_dir") if w.index < 256]

    assert found.verdict == "success"
    assert [*range(slots), *range(slots)] == [write.index for write in low], "filled, then given back"
    assert all(write.old == 0 for write in low[:slots])
    assert all(write.new == 0 for write in low[slots:])


@pytest.mark.parametrize("buffer", [0x12345000, 0x7FFFFFF000, 0x7FFFFFFF80, 0x8000001000, 0xFFFFFFF000, 0x10000000000])
def test_nathans_loop_reaches_every_byte_of_ram(buffer: int) -> None:
    assert outcome("3.8", "2T", buffer=buffer).verdict == "success"


def test_nathans_loop_ends_where_ram_ends() -> None:
    """A runtime device above all RAM has a kernel address, and no identity map during the call."""
    machine = efimm.machine(map="hp-superdome2-3tib")
    device = next(md.physical_start for md in machine.map.descriptors if md.physical_start > 1 << 43)

    assert efimm.run(machine, "3.8").verdict == "success"
    walk = walk_at_call(machine, "3.8", device)
    assert (None, "pgd", device >> 39, 0) == (walk.pa, walk.last.level.name, walk.last.index, walk.last.entry)


def test_in_3_8_a_hole_above_4_gib_is_not_mapped_and_in_3_5_it_is() -> None:
    """The machine of the evidence: RAM below 2 GiB and from 512 GiB on, the rest of e820 reserved."""
    machine, hole = efimm.machine(map="qemu-ovmf-514gib-linux-3.5"), 0x40_0000_0000

    assert walk_at_call(machine, "3.5", hole).pa == hole
    assert walk_at_call(machine, "3.8", hole).pa is None


def test_the_loop_writes_nothing_but_the_top_level() -> None:
    """It costs no table: every slot it fills leads to a table that the direct map has."""
    linux = efimm.boot(efimm.machine("2T"), "3.8")
    direct = {index - 272: entry for index, entry in linux.swapper_pg_dir.slots().items() if 272 <= index < 400}
    with linux.trace.record() as story:
        efimm.efi_enter_virtual_mode(linux)
    filled = {
        event.index: event.new
        for event in story
        if isinstance(event, EntryWrite) and event.table == "swapper_pg_dir" and event.index < 256 and event.new
    }

    assert direct == filled
