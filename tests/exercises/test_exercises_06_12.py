"""The tasks of notebooks 06 to 12: what is nearly right is refused, and told why; what is right passes."""

from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from random import Random

import pytest

import efimm
from efimm import KERNELS, locks
from efimm.exercises import ask, check
from efimm.kernels import hpa_sync, v3_5
from efimm.linux.direct_map import arch_add_memory
from efimm.linux.pgtable import pgd_alloc
from efimm.locks.xen import XenTable
from efimm.x86 import mapped_ranges

GIB, SLOT, PAGE_OFFSET = 1 << 30, 512 << 30, 0xFFFF_8800_0000_0000
V3_5, HPA = KERNELS["3.5"], KERNELS["hpa-sync"]


def asks_first(linux):
    processes = linux.pgd_list
    return processes.locked() if processes.make_table is XenTable else processes


def empty_slots(linux):
    """Forgets that an entry may be there and lead elsewhere."""
    first = linux.layout.kernel_pgd_boundary
    return [slot for slot in range(128) if linux.swapper_pg_dir[first + slot] and not linux.trampoline_pgd[slot]]


def same_words(linux):
    """Takes other flags for another table."""
    first, table = linux.layout.kernel_pgd_boundary, linux.trampoline_pgd
    entries = {slot: linux.swapper_pg_dir[first + slot] for slot in range(128)}
    return [slot for slot, entry in entries.items() if entry and table[slot] != entry]


def walk_of_two_levels(words, cr3, va, _pae):
    entry = words.get(cr3 + 4 * (va >> 22), 0)
    if entry & 0x80 or not entry & 1:
        return (entry & 0xFFC0_0000) + (va & 0x3F_FFFF) if entry & 1 else None
    entry = words.get((entry & ~0xFFF) + 4 * (va >> 12 & 1023), 0)
    return (entry & ~0xFFF) + (va & 0xFFF) if entry & 1 else None


def converted_without_a_look_at_the_attribute(pointer, regions):
    found = (r for r in regions if r.physical_start <= pointer < r.end)
    return next((pointer - r.physical_start + r.virtual_start for r in found), None)


def all_that_was_told(linux):
    return [region for region in linux.memmap if region.virtual_start]


def aliases_by_word(slots):
    return [pair for pair in combinations(sorted(slots), 2) if slots[pair[0]] == slots[pair[1]]]


@contextmanager
def all_slots_and_none_given_back(linux):
    pgd = linux.swapper_pg_dir
    with V3_5.efi_call_phys(linux):
        for slot in range(1, 128):
            pgd[slot] = pgd[272 + slot]
        yield


@contextmanager
def slots_rounded_down(linux):
    pgd, slots = linux.swapper_pg_dir, range(1, linux.machine.highest_ram // SLOT)
    with V3_5.efi_call_phys(linux):
        for slot in slots:
            pgd[slot] = pgd[272 + slot]
        yield
    for slot in slots:
        pgd[slot] = 0


def ends_of_the_slots(memory, root):
    parts = [part for part in mapped_ranges(memory, root) if part.va >= PAGE_OFFSET]
    return sorted({part.va for part in parts} | {part.end - 8 for part in parts})


def random_addresses(_memory, _root):
    random = Random(1)
    return [PAGE_OFFSET + random.randrange(2 << 40) for _ in range(1000)]


@pytest.mark.parametrize(
    ("name", "submitted", "said"),
    [
        ("06.6", V3_5, "takes 20 inner locks"),
        ("06.6", locks.HISTORIES["no page_table_lock"], "under Xen can end so"),
        ("06.6", locks.HISTORIES["a79e53d8^"], "DEADLOCK"),
        ("07.5", empty_slots, "expected"),
        ("07.5", same_words, "expected"),
        ("08.5", walk_of_two_levels, "True) gave"),
        ("09.5", converted_without_a_look_at_the_attribute, "the firmware makes"),
        ("09.6", all_that_was_told, "not used by the firmware at run time"),
        ("09.6", V3_5.efi_runtime_map, "EFI_UNSUPPORTED"),
        ("10.5", aliases_by_word, "expected"),
        ("11.4", V3_5.efi_call_phys, "is not mapped to itself"),
        ("11.4", all_slots_and_none_given_back, "are still there"),
        ("11.4", slots_rounded_down, "is not mapped to itself"),
        ("12.5", random_addresses, "went unread"),
        ("12.5", ends_of_the_slots, "went unread"),
        ("12.5", lambda _memory, _root: range(PAGE_OFFSET, PAGE_OFFSET + (7000 << 12), 4096), "at most 6000"),
    ],
)
def test_what_is_nearly_right_is_refused_with_the_reason(name, submitted, said):
    feedback = check(name, submitted)

    assert not feedback
    assert said in feedback.text


@pytest.mark.parametrize(
    ("name", "submitted"),
    [
        ("06.6", replace(V3_5, for_each_mm=asks_first)),
        ("11.4", KERNELS["3.8"].efi_call_phys),
        ("12.5", lambda _memory, _root: range(1 << 29, 4096 * GIB, GIB)),  # by identity addresses, needed or not
    ],
)
def test_what_is_right_in_another_way_than_the_solution_passes(name, submitted):
    assert check(name, submitted)


# hpa's fix


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        (V3_5, "CR3 was"),
        (KERNELS["3.8"], "CR3 was"),
        (KERNELS["3.14"], "was not mapped to itself during the call"),
        *((replace(HPA, **{part: getattr(V3_5, part)}), "") for part in ("setup_real_mode", "pgd_populate")),
        (replace(HPA, sync_global_pgds=v3_5.sync_global_pgds), "was not mapped to itself during the call"),
        (replace(HPA, i386=V3_5.i386), "on i386"),
        (replace(HPA, i386=replace(HPA.i386, memmap_pointer=KERNELS["va-patch"].i386.memmap_pointer)), "wrong-memory"),
    ],
    ids=["3.5", "3.8", "3.14", "no boot", "no populate", "no sync", "no 32 bits", "va on 32 bits"],
)
def test_half_of_hpas_fix_is_refused(kernel, said):
    feedback = check("11.5", kernel)

    assert not feedback
    assert said in feedback.text


@pytest.mark.parametrize("seed", range(4))
def test_hpas_fix_passes_whatever_the_machines(seed):
    assert check("11.5", HPA, seed)


def test_a_fix_that_lends_a_slot_of_the_kernels_table_is_refused():
    @contextmanager
    def lending(linux):
        with hpa_sync.efi_call_phys(linux):
            linux.swapper_pg_dir[0] = linux.swapper_pg_dir[272]
            yield
            linux.swapper_pg_dir[0] = 0

    assert "swapper_pg_dir was written at slot 0" in check("11.5", replace(HPA, efi_call_phys=lending)).text


# what the questions say beside their answers


def test_a_process_can_miss_the_last_slot_of_memory_that_begins_within_a_slot():
    """The loop of 3.5 steps by 512 GiB from the first address, which 06.4 asks for; hpa-sync's pgd_populate helps."""
    last = {}
    for name in ("3.5", "hpa-sync"):
        linux = efimm.boot(efimm.machine("128G"), name)
        shell = pgd_alloc(linux, "shell")
        arch_add_memory(linux, 20 * SLOT + 400 * GIB, 200 * GIB)
        last[name] = [bool(table[293]) for table in (linux.swapper_pg_dir, shell.pgd)]

    assert last == {"3.5": [True, False], "hpa-sync": [True, True]}


def test_both_ends_of_06_4_are_drawn():
    said = {ask("06.4", seed).why.startswith("The process lacks") for seed in range(20)}

    assert said == {True, False}
