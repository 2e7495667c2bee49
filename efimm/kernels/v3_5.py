"""Linux 3.5, the kernel of the thread: the call borrows one top-level entry, slot 272 into slot 0.

Sources, all v3.5: arch/x86/platform/efi/efi_64.c (efi_call_phys_prelog, efi_call_phys_epilog), efi.c
(efi_enter_virtual_mode), arch/x86/realmode/init.c (setup_real_mode), arch/x86/mm/init_64.c (sync_global_pgds); for
i386 arch/x86/platform/efi/efi_32.c and arch/x86/kernel/setup.c.  The names of functions that are one line of a longer
one there, or nothing, are those they got later (v3.9 to v4.9).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..linux import efi, setup
from ..linux.direct_map import init_memory_mapping, one_block_3_5
from ..linux.efi_map import early_code_mapping_set_exec, old_map_regions, runtime_code_page_mkexec
from ..linux.i386.efi import efi_map_regions as efi_map_regions_32
from ..linux.layout import KERNPG_TABLE, PAGE_TABLE, PGDIR_SIZE, V3_5_LAYOUT, KernelImage, pgd_index
from ..linux.pageattr import kernel_map_pages_in_pgd
from ..linux.pgtable import clone_pgd_range
from ..linux.setup import write_real_mode_header
from ..linux.smp import SpinLock
from ..linux.state import Kernel, Kernel32, KnownBug, Linux, Linux32, Mm
from ..linux.tables import set_pgd
from ..uefi.memmap import EfiMemoryDescriptor
from ..x86 import Entry, PageTable
from ..x86.memory import PAGE_SHIFT, PAGE_SIZE


def setup_arch(linux: Linux) -> None:
    """Memory is found, the trampoline set up, and only then is the direct map built."""
    setup.setup_memory(linux)
    setup.setup_real_mode(linux)
    setup.init_mem_mapping(linux)


def init_mem_mapping(linux: Linux) -> None:
    """From 0 to the end of low RAM and from 4 GiB to the end of RAM, reserved or not (setup_arch, kernel/setup.c)."""
    linux.max_low_pfn_mapped = init_memory_mapping(linux, 0, linux.max_low_pfn << PAGE_SHIFT, one_block_3_5)
    linux.max_pfn_mapped = linux.max_low_pfn_mapped
    if linux.max_pfn > linux.max_low_pfn:
        linux.max_pfn_mapped = init_memory_mapping(linux, 1 << 32, linux.max_pfn << PAGE_SHIFT, one_block_3_5)


def setup_real_mode(linux: Linux) -> None:
    """Two entries, never touched again: slot 0 for the identity map of the first 512 GiB, slot 511 for kernel text."""
    write_real_mode_header(linux)
    image = linux.kernel.image
    if image.level3_ident_pgt is None:
        raise ValueError("this kernel's image has no level3_ident_pgt for the trampoline")
    linux.trampoline_pgd[0] = image.level3_ident_pgt + KERNPG_TABLE
    linux.trampoline_pgd[511] = image.level3_kernel_pgt + KERNPG_TABLE


def pgd_populate(linux: Linux, index: int, pud: int, count: int) -> None:
    """Link `count` lower tables, one page after the other, into swapper_pg_dir (arch/x86/include/asm/pgalloc.h)."""
    linux.swapper_pg_dir.fill(index, count, pud | PAGE_TABLE, PAGE_SIZE)


def sync_global_pgds(linux: Linux, start: int, end: int) -> None:
    """Copy kernel top-level entries into every table on pgd_list that lacks them.

    It goes from `start` by 512 GiB up to `end`, and `end` itself counts, although callers mean the address behind their
    range.  Where a range does not begin at a slot's start, the slot in which it ends may be passed over.
    """
    for address in range(start, end + 1, PGDIR_SIZE):
        sync_pgd(linux, pgd_index(address))


def sync_pgd(linux: Linux, slot: int) -> None:
    """The body of that loop.  Fills empty slots only; does not visit swapper_pg_dir (the source) nor trampoline_pgd."""
    pgd_ref = linux.swapper_pg_dir[slot]
    if not pgd_ref:
        return
    with linux.kernel.hold_pgd_lock(linux):
        for mm in linux.kernel.for_each_mm(linux):
            pgd = mm.pgd.setdefault(slot, pgd_ref)
            if pgd != pgd_ref and Entry(pgd).address != pgd_ref.address:
                raise AssertionError(f"BUG_ON: {mm.pgd.name}[{slot}] leads elsewhere")


def hold_pgd_lock(linux: Linux) -> SpinLock:
    """spin_lock(&pgd_lock), with interrupts as they are (a79e53d85683, 2011-02-16)."""
    return linux.pgd_list.lock


def for_each_mm(linux: Linux) -> Iterable[Mm]:
    """With each one's page_table_lock held, "only for Xen" as the comment has it (617d34d9e5d8, 2010-09-21)."""
    return linux.pgd_list.locked()


def efi_alloc_page_tables(linux: Linux) -> PageTable:
    """None are made: the firmware runs on the kernel's own table."""
    return linux.swapper_pg_dir


def efi_setup_page_tables(_linux: Linux, _pa_memmap: int, _num_pages: int) -> None:
    """Nothing is mapped for the array."""


@contextmanager
def efi_call_phys(linux: Linux) -> Iterator[None]:
    """efi_call_phys_prelog, the call, efi_call_phys_epilog.  After a fault in the firmware, the epilog does not run."""
    early_code_mapping_set_exec(linux, executable=True)
    with linux.trace.span("kernel", "efi_call_phys_prelog", "prelog"):
        pgd = linux.swapper_pg_dir
        save_pgd = pgd[0]
        set_pgd(linux, pgd, 0, pgd[pgd_index(linux.layout.phys_to_virt(0))])
        linux.cpu.flush_tlb_all()
    yield
    with linux.trace.span("kernel", "efi_call_phys_epilog", "epilog"):
        set_pgd(linux, pgd, 0, save_pgd)
        linux.cpu.flush_tlb_all()
    early_code_mapping_set_exec(linux, executable=False)


@contextmanager
def efi_call_virt(_linux: Linux) -> Iterator[None]:
    """The call as it is, on whatever table is in force: the kernel's half is the same in all."""
    yield


def efi_runtime_map(_linux: Linux) -> tuple[EfiMemoryDescriptor, ...]:
    """Nothing is handed on: a kernel started by kexec asks the firmware once more."""
    return ()


def memmap_pointer(linux: Linux, new_memmap: int) -> int:
    """`(efi_memory_desc_t *)__pa(new_memmap)`: a physical address, which the processor will use as a virtual one."""
    return linux.layout.virt_to_phys(new_memmap)


def sync_initial_page_table(linux: Linux32) -> None:
    """setup_arch: the kernel's entries back into initial_page_table, at their own indexes only, and only this once."""
    first, count = linux.layout.kernel_pgd_boundary, linux.layout.kernel_pgd_ptrs
    clone_pgd_range(linux.initial_page_table, linux.swapper_pg_dir, first, count)


def set_kernel_pgd(_linux: Linux32, _index: int) -> None:
    """Nobody: processes learn of it by a fault (vmalloc_fault), initial_page_table never."""


@contextmanager
def efi_call_phys_32(linux: Linux32) -> Iterator[None]:
    """efi_32.c: the call is made on initial_page_table, with the GDT at its physical address."""
    with linux.trace.span("kernel", "efi_call_phys_prelog", "prelog"):
        linux.cpu.write_cr3(linux.initial_page_table.pa)
        linux.cpu.flush_tlb_all()
    yield
    with linux.trace.span("kernel", "efi_call_phys_epilog", "epilog"):
        linux.cpu.write_cr3(linux.swapper_pg_dir.pa)
        linux.cpu.flush_tlb_all()


def memmap_pointer_32(linux: Linux32, new_memmap: int) -> int:
    """`__pa(new_memmap)`: the same line of efi.c; here it is what the firmware, without paging, has to get."""
    return linux.virt_to_phys(new_memmap)


I386 = Kernel32(
    sync_initial_page_table=sync_initial_page_table,
    set_kernel_pgd=set_kernel_pgd,
    efi_map_regions=efi_map_regions_32,
    memmap_pointer=memmap_pointer_32,
    efi_call_phys=efi_call_phys_32,
    efi_call_virt=efi_call_virt,
)

# Linux 3.5.0 as we booted it on OVMF in November 2026: its CR3 was 0x1195000.
IMAGE = KernelImage(
    text=0x100_0000,
    end=0x140_0000,
    init_level4_pgt=0x119_5000,
    level3_ident_pgt=0x119_6000,
    level3_kernel_pgt=0x119_7000,
    level2_fixmap_pgt=0x119_8000,
    level1_fixmap_pgt=0x119_9000,
    level2_ident_pgt=0x119_A000,
    level2_kernel_pgt=0x119_B000,
    init_stack_top=0x118_C000,
)

KERNEL = Kernel(
    name="3.5",
    order=0,
    title="Linux 3.5 (July 2012)",
    source="arch/x86/platform/efi/efi.c and efi_64.c, v3.5",
    layout=V3_5_LAYOUT,
    image=IMAGE,
    setup_arch=setup_arch,
    efi_reserve_boot_services=efi.efi_reserve_boot_services,
    init_mem_mapping=init_mem_mapping,
    setup_real_mode=setup_real_mode,
    mm_init=setup.mm_init,
    pgd_populate=pgd_populate,
    sync_global_pgds=sync_global_pgds,
    hold_pgd_lock=hold_pgd_lock,
    for_each_mm=for_each_mm,
    efi_enter_virtual_mode=efi.set_virtual_address_map,
    efi_alloc_page_tables=efi_alloc_page_tables,
    efi_map_regions=old_map_regions,
    efi_setup_page_tables=efi_setup_page_tables,
    kernel_map_pages_in_pgd=kernel_map_pages_in_pgd,
    memmap_pointer=memmap_pointer,
    efi_call_phys=efi_call_phys,
    efi_call_virt=efi_call_virt,
    efi_runtime_update_mappings=runtime_code_page_mkexec,
    efi_runtime_map=efi_runtime_map,
    i386=I386,
    known_bugs=(
        KnownBug(
            what="an array above 512 GiB has no identity map, and the firmware takes a page fault",
            ram="1T",
            buffer=None,
            verdict="page-fault",
            source="Robin Holt, 2012-06-20; met again by us on real firmware, November 2026",
        ),
    ),
)
