"""Two oopses of real machines, their conditions given to the model: the same fault comes out, number by number.

From the log come the array's address, the machine's peculiarity and nothing else; the address that faults, the error
code and the level at which the walk ends are the model's.
"""

import re

from captures import listings

import efimm
from efimm.run import enter
from efimm.x86.modes import NX, P

IBM = "oops-ibm-x3850-x5-efi-call4-kmemcheck-linux-3.11.txt"
HUAWEI = "oops-huawei-fusionserver-9032-efi-call4-old-map-nx-linux-3.10.txt"


def read(name):
    """The registers of an oops, and its page-table line, as numbers."""
    log = listings()[name]
    numbers = {key: int(value, 16) for key, value in re.findall(r"\b(R\w\w|CR2|Oops): ([0-9a-f]{4,16})\b", log)}
    numbers["address"] = int(re.findall(r"paging request at ([0-9a-f]+)", log)[0], 16)
    walk = {level: int(entry, 16) for level, entry in re.findall(r"\b(PGD|PUD|PMD|PTE) ([0-9a-f]+)", log)}
    return numbers, walk


def test_ibm_x3850_the_array_was_hidden_by_kmemcheck():
    """kmemcheck had taken the present bit of the page, as its entry shows; the identity map shares that entry."""
    said, entries = read(IBM)
    assert not entries["PTE"] & P
    array = said["RCX"]
    linux = efimm.boot(efimm.machine("256G", page_size="4K", buffer=array), "3.8")

    def hide(cpu):
        leaf = cpu.walk(linux.phys_to_virt(array)).last
        assert leaf is not None
        cpu.memory.write_u64(leaf.pa, leaf.entry & ~P)
        cpu.flush_tlb_all()

    linux.firmware.watchers.append(hide)
    fault = enter(linux).fault
    assert fault is not None
    assert (fault.cr2, fault.error_code, fault.level) == (said["address"], said["Oops"], "pte")
    assert fault.cr2 - array == 0x20
    for ours, theirs in zip(fault.walk.entries, entries.values(), strict=True):
        assert ours & P == theirs & P
    assert fault.walk.entries[-1] >> 12 == entries["PTE"] >> 12


def test_huawei_9032_the_borrowed_slot_was_not_executable():
    """Page-table isolation had set NX in the top-level entry; the array lay at 9 TiB, and played no part."""
    said, entries = read(HUAWEI)
    assert entries["PGD"] & NX
    machine = efimm.machine("12T", page_size="4K", buffer=said["R13"], kpti=True)
    outcome = efimm.run(machine, "old-map")
    fault = outcome.fault
    assert fault is not None
    assert (fault.error_code, fault.kind, fault.level) == (said["Oops"], "fetch", "pte")
    assert fault.cr2 == outcome.linux.firmware.service("SetVirtualAddressMap")
    assert said["address"] == said["RDI"] == said["CR2"]
    for ours, theirs in zip(fault.walk.entries, entries.values(), strict=True):
        assert ours & (NX | P) == theirs & (NX | P)
    assert outcome.pointer == said["R13"]


def test_without_the_peculiarity_nothing_faults():
    for name, kernel, register in ((IBM, "3.8", "RCX"), (HUAWEI, "old-map", "R13")):
        array = read(name)[0][register]
        assert efimm.run(efimm.machine("12T", buffer=array), kernel).verdict == "success"
