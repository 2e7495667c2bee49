"""drgn opens our dump as it opens a crash kernel's, and walks to the same places: a second judge of the tables.

The dumps are of this test's own making; drgn, which has an x86-64 walker of its own in C, finds the table by the
VMCOREINFO note in the file.
"""

import importlib
import random
import struct

import pytest

import efimm
from efimm.linux.layout import START_KERNEL_MAP, V3_5_LAYOUT
from efimm.linux.vmcore import dump, vmcoreinfo
from efimm.run import at_call
from efimm.x86 import LONG5, Entry, mapped_ranges, walk

drgn = pytest.importorskip("drgn", reason="drgn is not installed")

MACHINES = {"small": ("2G", "2M"), "wide": ("1T", "1G"), "small pages": ("3G", "4K"), "largest": ("64T", "2M")}


def program(path):
    opened = drgn.Program()
    opened.set_core_dump(path)
    return opened


def follow(opened, table, va):
    """drgn's translation by the table at kernel address `table`.

    The public helper wants debugging information, so its private core is asked.
    """
    try:
        found = importlib.import_module("_drgn")._linux_helper_follow_phys(opened, table, va)
    except drgn.FaultError:
        return None
    return found


def questions(linux, count):
    """Addresses in every region of the address space: around the edges of what is mapped, inside, and in the holes."""
    rng = random.Random(linux.machine.ram)
    ranges, regions = mapped_ranges(linux.memory, linux.cpu.cr3, linux.layout.mode), linux.layout.regions
    vas = [edge + offset for found in ranges for edge in (found.va, found.end) for offset in (-1, 0, 0x1000)]
    vas += [found.va + rng.randrange(found.size) for found in rng.choices(ranges, k=count)]
    vas += [rng.randrange(region.start, region.end) for region in regions for _ in range(count // len(regions))]
    return [va for va in vas if 0 <= va < 1 << 64 and linux.cpu.mode.is_canonical(va)]


@pytest.mark.parametrize(("ram", "page_size"), MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("kernel", ["3.5", "hpa-sync"])
def test_every_address_of_a_dump(tmp_path, kernel, ram, page_size):
    linux = efimm.boot(efimm.machine(ram, page_size=page_size), kernel)
    dump(linux, tmp_path / "core.elf")
    opened = program(tmp_path / "core.elf")
    swapper, trampoline = linux.swapper_pg_dir.pa, linux.trampoline_pgd.pa
    asked = questions(linux, 900)
    for root, table in ((swapper, START_KERNEL_MAP + swapper), (trampoline, linux.phys_to_virt(trampoline))):
        found = {va: follow(opened, table, va) for va in asked}
        assert len(found) > 1000
        assert found == {va: walk(linux.memory, root, va).pa for va in asked}
        mapped = [
            region.name
            for region in V3_5_LAYOUT.regions
            if any(found[va] for va in asked if region.start <= va < region.end)
        ]
        expected = {"direct map", "vmalloc", "vmemmap", "kernel text"} if root == swapper else {"kernel text"}
        assert expected <= set(mapped)


@pytest.mark.parametrize("kaslr", [None, 0xFF22_8CFB_0000_0000])
def test_every_address_of_a_dump_with_five_levels(tmp_path, kaslr):
    linux = efimm.run(efimm.machine("1T", arch="x86_64-la57", kaslr=kaslr), "6.1").linux
    dump(linux, tmp_path / "core.elf")
    opened, asked = program(tmp_path / "core.elf"), questions(linux, 900)
    for table in (linux.swapper_pg_dir, linux.trampoline_pgd, linux.efi_pgd):
        found = {va: follow(opened, linux.phys_to_virt(table.pa), va) for va in asked}
        assert found == {va: walk(linux.memory, table.pa, va, LONG5).pa for va in asked}
        assert sum(pa is not None for pa in found.values()) > 100


def test_memory_is_read_through_the_tables_and_by_physical_address(tmp_path):
    linux = efimm.boot(efimm.machine("1T"), "3.5")
    at_call(linux, lambda _: dump(linux, tmp_path / "core.elf"))
    opened = program(tmp_path / "core.elf")
    buffer, size = linux.new_memmap, 48 * linux.memmap_count
    assert opened.read(linux.virt_to_phys(buffer), size, True) == linux.cpu.read(buffer, size)
    assert opened.read(buffer, size) == linux.cpu.read(buffer, size)
    entry = struct.unpack("<Q", opened.read(linux.swapper_pg_dir.pa + 8 * 272, 8, True))[0]
    assert Entry(entry) == linux.swapper_pg_dir[272]
    with pytest.raises(drgn.FaultError):
        opened.read(1 << 51, 8, True)


def test_drgn_finds_what_the_note_says(tmp_path):
    linux = efimm.boot(efimm.machine("4G"), "3.5")
    dump(linux, tmp_path / "core.elf")
    opened = program(tmp_path / "core.elf")
    assert opened.platform.arch == drgn.Architecture.X86_64
    assert opened["VMCOREINFO"].string_().decode() == vmcoreinfo(linux)


@pytest.mark.parametrize("arch", ["i386", "i386-pae"])
def test_a_32_bit_dump_has_the_bytes(tmp_path, arch):
    # drgn has no walker for i386: the file is read as an ELF file only.
    linux = efimm.boot(efimm.machine("2G", arch=arch), "3.5")
    dump(linux, tmp_path / "core.elf")
    opened = program(tmp_path / "core.elf")
    assert opened.platform.arch == drgn.Architecture.I386
    assert opened.read(linux.swapper_pg_dir.pa, 4096, True) == linux.memory.read(linux.swapper_pg_dir.pa, 4096)
    assert ("X86_PAE" in vmcoreinfo(linux)) == (arch == "i386-pae")


def test_gigabytes_are_refused(tmp_path):
    linux = efimm.boot(efimm.machine("64T", page_size="4K"), "3.5")
    with pytest.raises(ValueError, match="larger pages"):
        dump(linux, tmp_path / "core.elf")
    assert not (tmp_path / "core.elf").exists()
