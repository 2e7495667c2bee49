"""Thirty-one changes to kernels and layouts, each with what the kernel's C says must come of it.

`python tests/kernels/mutations.py` prints them, test_mutations.py runs them.  A mutation is a record with one function
replaced, or one line of the shared code taken away for the moment.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[2]))

import efimm
from efimm.cli import own_code
from efimm.kernels import KERNELS, hpa_sync, rhel6, v3_5, v3_14, v4_6, v6_1, v7_3
from efimm.linux import Kernel, efi_map, layout
from efimm.linux.direct_map import arch_add_memory
from efimm.linux.efi import set_virtual_address_map
from efimm.linux.layout import PAGE_ENC, PGDIR_SIZE, pgd_index
from efimm.linux.page_alloc import alloc_pages
from efimm.linux.pageattr import kernel_map_pages_in_pgd
from efimm.linux.pgtable import pgd_alloc
from efimm.linux.setup import do_boot_cpu, write_real_mode_header
from efimm.scenarios import SCENARIOS, after_kexec
from efimm.uefi import runtime
from efimm.uefi.memmap import EFI_MEMORY_RO, EFI_MEMORY_RUNTIME, EFI_MEMORY_XP
from efimm.uefi.runtime import EDK2, FirmwareKind
from efimm.x86 import PageTable, walk
from efimm.x86.modes import NX, RW, D

GIB = 1 << 30
KASLR = 0xFFFF_8C70_0000_0000


@dataclass(frozen=True)
class Mutation:
    """`look` is run as things are and, inside `change`, as they are made; `expected` are the two answers."""

    what: str
    why: str
    look: Callable[[Kernel], object]
    kernel: Kernel
    mutant: Kernel
    expected: tuple[object, object]
    change: tuple[str, Any] | None = None

    def run(self):
        """The answers before and after."""
        before = self.look(self.kernel)
        if self.change is None:
            return before, self.look(self.mutant)
        with patch(*self.change):
            return before, self.look(self.mutant)


def verdict(kernel, ram="1T", **options):
    """Verdict and place of the fault."""
    found = efimm.run(efimm.machine(ram, **options), kernel)
    place = f" {found.fault.level}[{found.fault.index}]" if found.fault else ""
    return f"{found.verdict}{place}"


def scenario(name):
    """The verdict in a scenario of the gauntlet."""
    [chosen] = [one for one in SCENARIOS if one.name == name]
    return lambda kernel: chosen.run(kernel).verdict


def second_processor(kernel, **options):
    """Whether another processor starts."""
    try:
        do_boot_cpu(efimm.boot(efimm.machine("4G", **options), kernel))
    except efimm.PageFault as fault:
        return f"page fault in {fault.level}"
    return "starts"


def synced(kernel):
    """Whether a process has the slot in which RAM ends that begins in the slot before, 512 GiB earlier."""
    linux = efimm.boot(efimm.machine("200G"), kernel)
    process = pgd_alloc(linux, "process")
    arch_add_memory(linux, 260 * GIB, 512 * GIB)
    return bool(process.pgd[linux.layout.kernel_pgd_boundary + 1])


def across_a_slot(kernel):
    """Whether a process has the slot in which RAM of 300 GiB ends that begins at 768 GiB."""
    linux = efimm.boot(efimm.machine("256G"), kernel)
    process = pgd_alloc(linux, "process")
    arch_add_memory(linux, 768 * GIB, 300 * GIB)
    return bool(process.pgd[linux.layout.kernel_pgd_boundary + 2])


def dirty_entries(kernel):
    """Of the first pages of the firmware's runtime data at their new address, how many are dirty."""
    linux = efimm.run(efimm.machine("4G"), kernel).linux
    md = next(md for md in linux.memmap if md.type == 6 and md.runtime)
    walks = [walk(linux.memory, linux.efi_pgd.pa, md.virtual_start + 4096 * k) for k in range(16)]
    return f"{sum(bool(found.entries[-1] & D) for found in walks)} of 16"


def call_cr3_after_kexec(kernel):
    """The table on which a kernel started by kexec calls."""
    linux = after_kexec(efimm.boot(efimm.machine("4G"), kernel)).linux
    return linux.swapper_pg_dir.name if linux.call_cr3 == linux.swapper_pg_dir.pa else "another"


def boot_data(kernel):
    """A firmware that reads boot data under the kernel's image during the call."""

    def set_virtual_address_map(firmware, cpu, *arguments):
        cpu.read(0x90_0000, 8)
        return runtime.set_virtual_address_map(firmware, cpu, *arguments)

    return verdict(kernel, "4G", firmware=replace(EDK2, name="mine", set_virtual_address_map=set_virtual_address_map))


def firmware_from_a_file(kernel):
    """The firmware of docs/firmware.md, which looks at a device in the switch, loaded as `--firmware mine.py` is."""
    page = (Path(__file__).parents[2] / "docs" / "firmware.md").read_text(encoding="utf-8")
    with TemporaryDirectory() as folder, patch("efimm.cli.own_code._loaded", []):
        path = Path(folder, "mine.py")
        path.write_text(page.split("```python\n")[1].split("```")[0])
        return verdict(kernel, "4G", firmware=own_code.load(str(path), "FIRMWARE", FirmwareKind, "a firmware"))


def write_to_its_code(kernel):
    """A firmware whose GetTime writes to its own code, which its memory attributes table calls read-only."""

    def get_time(firmware, cpu, bias, *arguments):
        cpu.write(firmware.layout.image("PcRtc").base + bias, bytes(8))
        return runtime.get_time(firmware, cpu, bias, *arguments)

    plain = efimm.machine("4G").map
    code = next(md for md in plain.descriptors if md.type == 5)
    text = replace(code, number_of_pages=code.number_of_pages // 2, attribute=EFI_MEMORY_RUNTIME | EFI_MEMORY_RO)
    data = replace(text, physical_start=text.end, attribute=EFI_MEMORY_RUNTIME | EFI_MEMORY_XP)
    firmware = replace(EDK2, name="mine", get_time=get_time)
    return efimm.run(efimm.machine(map=replace(plain, memattr=(text, data)), firmware=firmware), kernel).verdict


def direct_map_slots(kernel):
    """The top-level entries of the direct map of a small machine."""
    linux = efimm.boot(efimm.machine("4G"), kernel)
    return [slot for slot in linux.swapper_pg_dir.slots() if slot in linux.layout.region("direct map").slots]


def trampoline_at_the_top(linux):
    """hpa's trampoline, with its table where memblock gives a page."""
    linux.trampoline_pgd = PageTable(linux.memory, linux.memblock.alloc(4096), "trampoline_pgd", linux.trace)
    hpa_sync.setup_real_mode(linux)


def whole_slot_in_the_trampoline(linux):
    """6.1's trampoline without the table of its own that KASLR needs."""
    write_real_mode_header(linux)
    for index in (0, *range(pgd_index(linux.layout.page_offset), 512)):
        source = pgd_index(linux.layout.page_offset) if index == 0 else index
        linux.trampoline_pgd[index] = linux.swapper_pg_dir[source]


@contextmanager
def next_slot_borrowed(linux):
    """3.5's prelog with the entry beside the right one."""
    linux.swapper_pg_dir[0] = linux.swapper_pg_dir[273]
    linux.cpu.flush_tlb_all()
    yield


@contextmanager
def one_slot_less(linux):
    """Nathan Zimmer's loop, ended one too early, for code that is executable all the same."""
    efi_map.early_code_mapping_set_exec(linux, executable=True)
    for index in range((linux.max_pfn << 12) // PGDIR_SIZE):
        linux.swapper_pg_dir[index] = linux.swapper_pg_dir[272 + index]
    linux.cpu.flush_tlb_all()
    yield


@contextmanager
def on_the_trampoline(linux):
    """3.14's SWITCH_PGT without its question for use_pgd."""
    v3_14.efi_sync_low_kernel_mappings(linux)
    linux.cpu.write_cr3(linux.trampoline_pgd.pa)
    yield


def without_the_kernel_half(linux):
    """RHEL 6's table with the regions alone."""
    efi_pgd = PageTable(linux.memory, alloc_pages(linux, 1), "efi_pgd", linux.trace)
    for md in linux.memmap:
        if md.runtime:
            rhel6.map_region(linux, efi_pgd, md)
    return efi_pgd


def forwards(linux):
    """4.6's regions in the order of the map."""
    places = [place for place, md in enumerate(linux.memmap) if efi_map.should_map_region(md)]
    return [efi_map.efi_map_region(linux, place) for place in places]


def everything_nx(linux):
    """6.1's regions, none executable."""
    places = [place for place, md in enumerate(linux.memmap) if efi_map.should_map_region(md)]
    return [efi_map.efi_map_region(linux, place, lambda _md: RW | NX) for place in reversed(places)]


def kexec_without_1_to_1(linux):
    """6.1's switch with v4.8's efi_map_region_fixed."""
    if linux.efi_setup:
        return efi_map.kexec_enter_virtual_mode(linux, v6_1.region_flags, one_to_one=False)
    return set_virtual_address_map(linux)


def slot_0_whole(linux):
    """The same with five levels: the direct map's first slot, as without KASLR."""
    write_real_mode_header(linux)
    first = linux.layout.kernel_pgd_boundary
    for index in (0, *range(first, 512)):
        linux.trampoline_pgd[index] = linux.swapper_pg_dir[index or first]


def array_in_plain(linux, pa_memmap, num_pages):
    """6.1's line for the array without _PAGE_ENC."""
    linux.kernel.kernel_map_pages_in_pgd(linux, linux.efi_pgd, pa_memmap, pa_memmap, num_pages, NX | RW)


def regions_encrypted(linux):
    """6.1's regions as in a guest of SEV, on a machine whose firmware knows of no encryption."""
    places = [place for place, md in enumerate(linux.memmap) if efi_map.should_map_region(md)]

    def flags(md):
        return v6_1.region_flags(md) | PAGE_ENC

    return [efi_map.efi_map_region(linux, place, flags) for place in reversed(places)]


def get_time_lies(kernel, **options):
    """Where the runtime table says that GetTime is, after the switch."""
    linux = efimm.run(efimm.machine("1T", **options), kernel).linux
    table, tables = linux.firmware.layout.runtime_table, linux.firmware.tables
    moved = linux.memory.read_u64(table + tables.service("GetTime")) != linux.firmware.service("GetTime")
    return "at its new address" if moved else "where it was"


def slot_of_the_array(kernel, **options):
    """The top-level entry through which the firmware gets the array of a machine of 1 TiB."""
    return efimm.run(efimm.machine("1T", **options), kernel).slot


def mutated(name, **fields):
    """A kernel and its mutant."""
    return KERNELS[name], replace(KERNELS[name], **fields)


def same(name):
    """A kernel whose shared code is changed."""
    return KERNELS[name], KERNELS[name]


MOVED_DOWN = replace(
    layout.V6_1_LAYOUT,
    page_offset=layout.PAGE_OFFSET,
    regions=tuple(
        replace(region, start=layout.PAGE_OFFSET) if region.name == "direct map" else region
        for region in layout.V6_1_LAYOUT.regions
        if region.name != "LDT remap"
    ),
)

MUTATIONS = (
    Mutation(
        "6.1 with 3.5's loop of sync_global_pgds",
        "fc5f9d5f151c",
        across_a_slot,
        *mutated("6.1", sync_global_pgds=v3_5.sync_global_pgds),
        (True, False),
    ),
    Mutation(
        "3.5's callers pass end - 1",
        "init_64.c:603, v3.5",
        synced,
        *mutated("3.5", sync_global_pgds=v3_14.sync_global_pgds),
        (True, False),
    ),
    Mutation(
        "4.6 marks boot services as 3.14 does",
        "quirks.c, v4.8; nothing else lies below 1 GiB",
        boot_data,
        *mutated("4.6", efi_reserve_boot_services=v3_14.KERNEL.efi_reserve_boot_services),
        ("success", "page-fault pud[0]"),
    ),
    Mutation(
        "6.1 without the 1:1 line after kexec",
        "efi_map_region_fixed, v4.9",
        scenario("kexec, physical clock"),
        *mutated("6.1", efi_enter_virtual_mode=kexec_without_1_to_1),
        ("success", "wrong-memory"),
    ),
    Mutation(
        "3.14 calls on the trampoline after kexec",
        "SWITCH_PGT asks use_pgd, v3.14",
        call_cr3_after_kexec,
        *mutated("3.14", efi_call_virt=on_the_trampoline),
        ("swapper_pg_dir", "another"),
    ),
    Mutation(
        "hpa's table above 4 GiB",
        "trampoline_pgd is a u32",
        verdict,
        *mutated("hpa-sync", setup_real_mode=trampoline_at_the_top),
        ("success", "page-fault pgd[511]"),
    ),
    Mutation(
        "and a second processor on it",
        "movl %eax, %cr3",
        second_processor,
        *mutated("hpa-sync", setup_real_mode=trampoline_at_the_top),
        ("starts", "page fault in pgd"),
    ),
    Mutation(
        "6.1's trampoline under KASLR, slot 0 whole",
        "init_trampoline, v4.9",
        partial(second_processor, kaslr=KASLR),
        *mutated("6.1", setup_real_mode=whole_slot_in_the_trampoline),
        ("starts", "page fault in pud"),
    ),
    Mutation(
        "regions are not merged",
        "efi_merge_regions, v4.9",
        partial(verdict, firmware="contiguous"),
        *same("3.14"),
        ("success", "wrong-memory"),
        ("efimm.linux.efi.merge_regions", lambda _memmap: None),
    ),
    Mutation(
        "4.6 maps regions first to last",
        "efi_map_next_entry (a5caa209ba9c)",
        partial(verdict, firmware="properties-table"),
        *mutated("4.6", efi_map_regions=forwards),
        ("success", "wrong-memory"),
    ),
    Mutation(
        "6.1 without page 0",
        "efi_setup_page_tables, v6.1",
        partial(verdict, firmware="page-0"),
        *mutated("6.1", efi_setup_page_tables=v4_6.KERNEL.efi_setup_page_tables),
        ("success", "page-fault pmd[0]"),
    ),
    Mutation(
        "7.3 without the line for the array",
        "efi_setup_page_tables",
        verdict,
        *mutated("7.3", efi_setup_page_tables=lambda *_: None),
        ("success", "page-fault pgd[2]"),
    ),
    Mutation(
        "6.1's regions none executable",
        "__map_region: _PAGE_NX unless code",
        verdict,
        *mutated("6.1", efi_map_regions=everything_nx),
        ("success", "page-fault pte[256]"),
    ),
    Mutation(
        "6.12 keeps the D bit",
        "mask_clr without _PAGE_DIRTY, v6.1",
        dirty_entries,
        *mutated("6.12", kernel_map_pages_in_pgd=kernel_map_pages_in_pgd),
        ("0 of 16", "16 of 16"),
    ),
    Mutation(
        "7.3 leaves LASS on",
        "efi_disable_lass, v7.2",
        scenario("LASS, physical clock"),
        *mutated("7.3", efi_call_virt=v6_1.efi_call),
        ("success", "wrong-memory"),
    ),
    Mutation(
        "7.3's build has espfix",
        "CONFIG_X86_16BIT",
        lambda k: bool(efimm.boot(efimm.machine("4G"), k).swapper_pg_dir[510]),
        *mutated("7.3", image=replace(v7_3.IMAGE, espfix=True)),
        (False, True),
    ),
    Mutation(
        "3.8 borrows one slot less",
        "n_pgds = DIV_ROUND_UP",
        verdict,
        *mutated("3.8", efi_call_phys=one_slot_less),
        ("success", "page-fault pgd[2]"),
    ),
    Mutation(
        "3.5 borrows the next slot",
        "pgd_offset_k(0x0UL), *pgd_offset_k(vaddress)",
        partial(verdict, ram="900G", buffer=0x1234_5000),
        *mutated("3.5", efi_call_phys=next_slot_borrowed),
        ("success", "page-fault pud[1]"),
    ),
    Mutation(
        "hpa's sync at the kernel's index alone",
        '"just adding it [...] is insufficient"',
        verdict,
        *mutated("hpa-sync", setup_real_mode=v3_5.setup_real_mode, sync_global_pgds=v3_5.sync_global_pgds),
        ("success", "page-fault pgd[2]"),
    ),
    Mutation(
        "RHEL 6's table without the kernel's half",
        "efi_pagetable_init",
        verdict,
        *mutated("rhel6", efi_alloc_page_tables=without_the_kernel_half),
        ("success", "wrong-memory"),
    ),
    Mutation(
        "old-map does not make the code executable",
        "early_code_mapping_set_exec",
        verdict,
        *same("old-map"),
        ("success", "page-fault pte[256]"),
        ("efimm.kernels.v3_8.early_code_mapping_set_exec", lambda *_args, **_kwargs: None),
    ),
    Mutation(
        "page-table isolation puts no NX",
        "de53c3786a3c",
        partial(verdict, kpti=True),
        *same("old-map"),
        ("page-fault pte[256]", "success"),
        ("efimm.kernels.v3_8.set_pgd", lambda _linux, table, index, entry: table.__setitem__(index, entry)),
    ),
    Mutation(
        "6.1's direct map where 3.5 had it",
        "LDT remap in slot 272 since 4.20 (mm.rst)",
        direct_map_slots,
        *mutated("6.1", layout=MOVED_DOWN),
        ([273], [272]),
    ),
    Mutation(
        "6.1 without its layout of five levels",
        "pgtable_l5_enabled, __PAGE_OFFSET_BASE_L5, v6.1",
        partial(slot_of_the_array, arch="x86_64-la57"),
        *mutated("6.1", layout_la57=None),
        (0, 2),
    ),
    Mutation(
        "five levels under KASLR, slot 0 whole",
        "init_trampoline_kaslr: p4d_page_tramp, v6.1",
        partial(second_processor, arch="x86_64-la57", kaslr=0xFF22_8CFB_0000_0000),
        *mutated("6.1", setup_real_mode=slot_0_whole),
        ("starts", "page fault in p4d"),
    ),
    Mutation(
        "memory is encrypted, the array mapped in plain",
        "pf = _PAGE_NX | _PAGE_RW | _PAGE_ENC, v6.1; the 1:1 map hides it; from the C, not judged",
        partial(get_time_lies, sme=True),
        *mutated("6.1", efi_setup_page_tables=array_in_plain),
        ("at its new address", "where it was"),
    ),
    Mutation(
        "memory is encrypted, and the firmware's regions mapped so",
        "__map_region: _PAGE_ENC with CC_ATTR_GUEST_MEM_ENCRYPT alone, v6.1; from the C, not judged",
        scenario("memory encryption (SME)"),
        *mutated("6.1", efi_map_regions=regions_encrypted),
        ("success", "wrong-memory"),
    ),
    Mutation(
        "32-bit firmware, and RAM is not mapped 1:1",
        "should_map_region: EFI_CONVENTIONAL_MEMORY if efi_is_mixed(), v6.1; from the C, not judged",
        scenario("32-bit firmware, 2G"),
        *same("6.1"),
        ("success", "page-fault"),
        ("efimm.linux.efi.LOADER_OR_FREE", ()),
    ),
    Mutation(
        "the memory attributes table is not applied",
        "efi_memattr_apply_permissions, v6.1",
        write_to_its_code,
        *mutated("7.3", efi_runtime_update_mappings=v4_6.KERNEL.efi_runtime_update_mappings),
        ("wrong-memory", "success"),
    ),
    Mutation(
        "a firmware from a file is loaded, and edk2 called",
        "docs/firmware.md: the device is not in the memory map",
        firmware_from_a_file,
        *same("3.5"),
        ("page-fault pud[3]", "success"),
        ("efimm.linux.setup.find_firmware", lambda _firmware: EDK2),
    ),
    Mutation(
        "the window for the firmware is 1 MiB",
        "EFI_VA_END",
        verdict,
        *same("6.1"),
        ("success", "wrong-memory"),
        ("efimm.linux.efi_map.EFI_VA_END", layout.EFI_VA_START - (1 << 20)),
    ),
)


def main():
    """Print each mutation with what came of it."""
    for number, each in enumerate(MUTATIONS, 1):
        before, after = each.run()
        sign = "as the C says" if (before, after) == each.expected else f"NOT {each.expected}"
        print(f"{number:>2} {each.what} ({each.why})\n     {before} -> {after}: {sign}")  # noqa: T201 - what the script is for


if __name__ == "__main__":
    main()
