"""Linux 3.14 (Borislav Petkov, d2f7cbe7b26a): the firmware runs on trampoline_pgd, with its regions below -4 GiB.

Sources, all v3.14.1: arch/x86/platform/efi/efi.c and efi_64.c, efi_stub_64.S (SWITCH_PGT, RESTORE_PGT),
arch/x86/mm/init.c (init_mem_mapping), arch/x86/kernel/setup.c, arch/x86/realmode/init.c.

The array is mapped for the call, wherever it lies: the bug of 2012 is gone.  But trampoline_pgd shares its slot 0 with
the direct map's first slot, and slot 511 with kernel text: what is mapped there for the firmware, writable and
executable, is in the kernel's own table as well, and cannot be taken out again without harm (the comment in
efi_enter_virtual_mode says so of the array).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..linux import efi, efi_map, setup
from ..linux.direct_map import alloc_low_pages, init_memory_mapping
from ..linux.efi import should_map_region
from ..linux.efi_map import efi_map_region, efi_setup_page_tables
from ..linux.i386.efi import map_region
from ..linux.layout import PGDIR_SIZE, pgd_index
from ..linux.setup import trampoline_cr3, write_real_mode_header
from ..linux.state import Linux, Linux32
from ..uefi import EfiStatus
from ..uefi.memmap import EfiMemoryDescriptor
from ..x86 import PageTable
from . import v3_5

ISA_END_ADDRESS = 0x10_0000


def setup_arch(linux: Linux) -> None:
    """The trampoline takes entries of the direct map, and so is set up behind it."""
    setup.setup_memory(linux)
    setup.init_mem_mapping(linux)
    setup.setup_real_mode(linux)


def init_mem_mapping(linux: Linux) -> None:
    """The first MiB, and otherwise RAM only, from the top down: holes and reserved ranges stay unmapped.

    Linux goes down in steps that grow from 2 MiB on; since a page may be as large as the RAM around it allows
    (adjust_range_page_size_mask), the entries are those of one step for each range of RAM, as here.
    """
    init_memory_mapping(linux, 0, ISA_END_ADDRESS, alloc_low_pages)
    for start, end in reversed(linux.memblock.memory):
        if end > ISA_END_ADDRESS:
            init_memory_mapping(linux, max(start, ISA_END_ADDRESS), end, alloc_low_pages)
    linux.max_pfn_mapped = linux.max_pfn
    linux.max_low_pfn_mapped = linux.max_low_pfn
    linux.cpu.write_cr3(linux.swapper_pg_dir.pa)
    linux.cpu.flush_tlb_all()


def sync_global_pgds(linux: Linux, start: int, end: int) -> None:
    """3.5's loop; but callers now give the last address of a range, `end - 1`, and it is the last one looked at."""
    for address in range(start, end, PGDIR_SIZE):
        v3_5.sync_pgd(linux, pgd_index(address))


def setup_real_mode(linux: Linux) -> None:
    """Two entries again, now copies of the kernel's: slot 0 is the direct map's first, slot 511 is kernel text."""
    write_real_mode_header(linux)
    linux.trampoline_pgd[0] = linux.swapper_pg_dir[pgd_index(linux.layout.page_offset)]
    linux.trampoline_pgd[511] = linux.swapper_pg_dir[511]


def efi_enter_virtual_mode(linux: Linux) -> EfiStatus | None:
    """Switch the firmware, but after kexec, when its addresses are known; they are all that is mapped then."""
    if linux.efi_setup:
        efi_map.kexec_enter_virtual_mode(linux, one_to_one=False)
        return None
    return efi.set_virtual_address_map(linux)


def efi_alloc_page_tables(linux: Linux) -> PageTable:
    """None are made: the firmware runs on the trampoline's table."""
    return linux.trampoline_pgd


def efi_map_regions(linux: Linux) -> list[EfiMemoryDescriptor]:
    """The regions in the order of the firmware's map, so that the first gets the highest address."""
    return [efi_map_region(linux, place) for place, md in enumerate(linux.memmap) if should_map_region(md)]


def efi_sync_low_kernel_mappings(linux: Linux) -> None:
    """Copy the kernel's slots from the direct map up to 510: the firmware's arguments and the stack are there."""
    for index in range(linux.layout.kernel_pgd_boundary, 511):
        linux.trampoline_pgd[index] = linux.swapper_pg_dir[index]


@contextmanager
def efi_call(linux: Linux) -> Iterator[None]:
    """Every call, before the switch and after it, runs on the trampoline's table (efi_callN in efi_stub_64.S).

    After kexec none does: SWITCH_PGT looks at efi_scratch.use_pgd, which efi_setup_page_tables sets, and that is passed
    by.  The calls work on the kernel's own table, since slot 511 with the firmware's window is shared (753b11ef8e92 put
    the set-up there, in 4.6 as recalled).
    """
    if linux.efi_setup:
        yield
        return
    with linux.trace.span("kernel", "efi_sync_low_kernel_mappings, SWITCH_PGT", "cr3-switch"):
        efi_sync_low_kernel_mappings(linux)
        prev_cr3 = linux.cpu.cr3
        linux.cpu.write_cr3(trampoline_cr3(linux))
    yield
    with linux.trace.span("kernel", "RESTORE_PGT", "cr3-back"):
        linux.cpu.write_cr3(prev_cr3)
        linux.cpu.flush_tlb_all()


def efi_runtime_update_mappings(_linux: Linux) -> None:
    """Everything stays writable and executable."""


def efi_map_regions_32(linux: Linux32) -> list[EfiMemoryDescriptor]:
    """i386 no longer passes boot services: the line that does is for CONFIG_X86_64 alone."""
    return [map_region(linux, place) for place, md in enumerate(linux.memmap) if md.runtime]


I386 = replace(v3_5.I386, efi_map_regions=efi_map_regions_32)

# No boot of 3.14 was recorded: 3.5's addresses, without the tables that its head_64.S no longer links.
IMAGE = replace(v3_5.IMAGE, level3_ident_pgt=None, level2_ident_pgt=None)

KERNEL = replace(
    v3_5.KERNEL,
    name="3.14",
    order=6,
    title="Linux 3.14 (March 2014)",
    source="arch/x86/platform/efi/efi.c and efi_64.c, v3.14.1 (Borislav Petkov, d2f7cbe7b26a)",
    image=IMAGE,
    setup_arch=setup_arch,
    init_mem_mapping=init_mem_mapping,
    setup_real_mode=setup_real_mode,
    sync_global_pgds=sync_global_pgds,
    efi_enter_virtual_mode=efi_enter_virtual_mode,
    efi_alloc_page_tables=efi_alloc_page_tables,
    efi_map_regions=efi_map_regions,
    efi_setup_page_tables=efi_setup_page_tables,
    efi_call_phys=efi_call,
    efi_call_virt=efi_call,
    efi_runtime_update_mappings=efi_runtime_update_mappings,
    efi_runtime_map=efi_map.save_runtime_map,
    known_bugs=(),
    i386=I386,
)
