"""A booted kernel that is copied: each goes its own way, and both ways are those of a kernel that was booted for it."""

from dataclasses import replace

import pytest

import efimm
from efimm.linux.direct_map import arch_add_memory
from efimm.linux.pgtable import pgd_alloc
from efimm.linux.state import copy_of
from efimm.machines import load_map
from efimm.run import boot, enter

# The machine, and another place for the array than the allocator's.
ON = {
    "1T": (lambda: efimm.machine("1T"), 0x4000_0000),
    "la57": (lambda: efimm.machine("1T", arch="x86_64-la57"), 0x4000_0000),
    "superdome": (lambda: efimm.machine(map=load_map("hp-superdome2-3tib")), 0x200_0000_0000),
    "i386": (lambda: efimm.machine("1G", arch="i386"), 0x1000_0000),
    "i386-pae": (lambda: efimm.machine("1G", arch="i386-pae"), 0x1000_0000),
}


@pytest.mark.parametrize("on", ON)
@pytest.mark.parametrize("kernel", efimm.KERNELS)
def test_a_copy_does_what_a_booted_kernel_does_and_the_original_stays(kernel, on):
    """In all that its trace tells, with the array at another place than the original's."""
    make, place = ON[on]
    where = make()
    if not efimm.KERNELS[kernel].has_build_for(where.arch):
        return
    first = boot(where, kernel)
    before = [str(event) for event in first.trace.events]
    moved = replace(where, buffer=place)
    copied, booted = enter(replace(copy_of(first), machine=moved)), efimm.run(moved, kernel)

    assert copied.summary() == booted.summary()
    assert [*map(str, copied.trace.events)] == [*map(str, booted.trace.events)]
    assert copied.linux.cpu.registers == booted.linux.cpu.registers
    assert copied.linux.memory.frames_in_use == booted.linux.memory.frames_in_use
    assert [*map(str, first.trace.events)] == before
    assert enter(first).summary() == efimm.run(where, kernel).summary()


def test_what_one_writes_the_other_does_not_see():
    first = boot(efimm.machine("1G"), "3.5")
    other = copy_of(first)
    first.swapper_pg_dir[3] = 0x1063
    other.memory.write_u64(0x5000, 7)
    other.cpu.invlpg(first.layout.page_offset)

    assert (other.swapper_pg_dir[3], first.memory.read_u64(0x5000)) == (0, 0)
    assert other.efi_pgd is other.swapper_pg_dir
    assert other.firmware.memory is other.cpu.memory is other.swapper_pg_dir.memory is other.memory


def test_processes_are_copied_with_tables_of_their_own():
    first = boot(efimm.machine("1G"), "3.5")
    made = [pgd_alloc(first, name) for name in ("init", "shell")]
    made[0].cpumask = frozenset({1})
    other = copy_of(first)
    arch_add_memory(other, 512 << 30, 1 << 30)
    slot = other.layout.pgd_index(other.phys_to_virt(512 << 30))

    assert [(mm.pgd.name, mm.cpumask) for mm in other.pgd_list] == [(mm.pgd.name, mm.cpumask) for mm in first.pgd_list]
    assert all(mm.pgd[slot] == other.swapper_pg_dir[slot] != 0 for mm in other.pgd_list)
    assert [first.swapper_pg_dir[slot], *(mm.pgd[slot] for mm in made)] == [0, 0, 0]
