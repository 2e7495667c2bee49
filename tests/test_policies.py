"""Robin's three policies: what each maps, against the memory map itself; and that a policy can fail."""

from dataclasses import replace

import pytest

import efimm
from efimm.policies import POLICIES, calling_with, compare_policies, policies_text
from efimm.run import at_call
from efimm.x86 import walk

MACHINES = ("1T", "hp-superdome2-3tib", "amd-ethanol-x-1tib")
GIB = 1 << 30


def made(name):
    return efimm.machine(name) if name == "1T" else efimm.machine(map=name)


@pytest.mark.parametrize("name", MACHINES)
def test_each_policy_maps_what_it_says(name):
    machine = made(name)
    found = {row.name: row for row in compare_policies(machine)}
    listed = {pfn for md in machine.map.descriptors for pfn in range(md.physical_start >> 30, (md.end - 1 >> 30) + 1)}

    assert found["zero-to-top"].mapped == machine.highest_ram
    assert found["efi-table"].mapped <= len(listed) * GIB
    assert found["scan"].mapped >= found["efi-table"].mapped
    assert found["zero-to-top"].not_ram == machine.highest_ram - machine.map.ram_bytes
    assert all(row.ram_missed == 0 and row.verdict == "success" for row in found.values())
    assert (found["hpa-sync"].tables, found["hpa-sync"].writes) == (0, 0)
    assert all(found[record.name].tables > 0 for record in POLICIES)
    assert max(map(len, policies_text(list(found.values())).splitlines())) <= 72


@pytest.mark.parametrize("record", POLICIES, ids=lambda record: record.name)
def test_every_end_of_every_range_is_mapped_to_itself(record):
    linux = efimm.boot(made("amd-ethanol-x-1tib"), record)
    ends = [pa for start, end in linux.map.ram for pa in (start, end - 1)]
    ends += [pa for md in linux.map.descriptors if md.runtime for pa in (md.physical_start, md.end - 1)]
    assert at_call(linux, lambda cpu: [walk(cpu.memory, cpu.cr3, pa).pa for pa in ends]) == ends


def test_a_policy_that_forgets_high_memory_fails():
    low = replace(POLICIES[0], name="low", efi_call_phys=calling_with(lambda _linux: [(0, 512 * GIB)]))
    assert efimm.run(efimm.machine("256G"), low).verdict == "success"
    assert efimm.run(efimm.machine("1T"), low).verdict == "page-fault"
