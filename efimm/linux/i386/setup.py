"""From power-on to the moment before efi_enter_virtual_mode: setup_arch and mm_init of Linux 3.5 (i386).

Source: arch/x86/kernel/setup.c, arch/x86/mm/init_32.c, v3.5.  One processor.  Left out: the fixmap's own pages.
"""

from __future__ import annotations

from ...machines import Machine
from ...trace import Trace
from ...uefi.firmwares import find_firmware
from ...uefi.image import IA32
from ...uefi.runtime import Firmware
from ...x86 import PAGING_OFF, Cpu, PhysMemory
from ...x86.memory import PAGE_SHIFT, PAGE_SIZE
from ..efi import efi_reserve_boot_services
from ..memblock import Memblock
from ..pgtable import clone_pgd_range
from ..setup import EBDA, e820_ram
from ..state import Kernel, Linux32, PgdList
from .direct_map import init_memory_mapping, kernel_tables, mem_init
from .head import BRK_BASE, KERNEL_TEXT, load_kernel_image
from .layout import THREE_LEVEL, TWO_LEVEL
from .vmalloc import ioremap, vmalloc_init

HPET_ADDRESS = 0xFED0_0000
LAYOUTS = {"i386": TWO_LEVEL, "i386-pae": THREE_LEVEL}


def boot(machine: Machine, kernel: Kernel) -> Linux32:
    """`kernel`'s 32-bit build started on `machine`, ready for efi_enter_virtual_mode.

    Raises ValueError for a kernel without one or a map without runtime regions, MemoryError where there is no room.
    """
    if not kernel.has_build_for(machine.arch):
        raise ValueError(f"kernel {kernel.name}: the suite has no 32-bit build of it")
    layout = LAYOUTS[machine.arch]
    memory, trace = PhysMemory(), Trace()
    cpu = Cpu(memory, trace, mode=PAGING_OFF, maxphyaddr=machine.maxphyaddr)
    firmware = Firmware(find_firmware(machine.firmware), memory, machine.map, trace, IA32)
    with trace.span("kernel", "head_32.S: initial_page_table, and paging on", "head"):
        initial_page_table, swapper_pg_dir, brk = load_kernel_image(memory, cpu, trace, layout)
    linux = Linux32(
        machine=machine,
        kernel=kernel,
        memory=memory,
        cpu=cpu,
        trace=trace,
        firmware=firmware,
        memblock=Memblock(e820_ram(machine)),
        swapper_pg_dir=swapper_pg_dir,
        trampoline_pgd=initial_page_table,
        efi_pgd=initial_page_table,
        pgd_list=PgdList(trace),
        memmap=list(firmware.kind.get_memory_map(machine.map)),
        layout=layout,
    )
    setup_arch(linux, brk)
    mm_init(linux)
    return linux


def setup_arch(linux: Linux32, brk: int) -> None:
    """Leave initial_page_table for swapper_pg_dir, find the end of low memory, map it, and give the tables back."""
    layout, memblock = linux.layout, linux.memblock
    with linux.trace.span("kernel", "from initial_page_table to swapper_pg_dir", "cr3-switch"):
        kernel_half = layout.kernel_pgd_boundary, layout.kernel_pgd_ptrs
        clone_pgd_range(linux.swapper_pg_dir, linux.initial_page_table, *kernel_half)
        linux.cpu.write_cr3(linux.swapper_pg_dir.pa)
        linux.cpu.flush_tlb_all()
    find_low_pfn_range(linux)
    memblock.reserve(KERNEL_TEXT, max(brk, BRK_BASE))
    memblock.reserve(*EBDA)
    efi_reserve_boot_services(linux)
    linux.max_pfn_mapped = brk >> PAGE_SHIFT
    with linux.trace.span("kernel", "build the direct map of low memory", "direct-map"):
        init_memory_mapping(linux, linux.max_low_pfn << PAGE_SHIFT)
        linux.max_pfn_mapped = linux.max_low_pfn_mapped = linux.max_low_pfn
    with linux.trace.span("kernel", "permanent_kmaps_init"):
        kernel_tables(linux).page_table(layout.pkmap_base)
    with linux.trace.span("kernel", "sync back to initial_page_table", "sync-back"):
        linux.record.sync_initial_page_table(linux)


def find_low_pfn_range(linux: Linux32) -> None:
    """RAM up to MAXMEM is low memory and has kernel addresses; the rest is high memory and has none."""
    linux.max_pfn = min(linux.memblock.memory[-1][1] >> PAGE_SHIFT, linux.layout.max_arch_pfn)
    linux.max_low_pfn = min(linux.max_pfn, linux.layout.maxmem_pfn)
    high = linux.max_pfn - linux.max_low_pfn << PAGE_SHIFT
    linux.trace.printk(f"{high >> 20}MB HIGHMEM available.")
    linux.trace.printk(f"{linux.max_low_pfn << PAGE_SHIFT >> 20}MB LOWMEM available.")
    linux.high_memory = linux.phys_to_virt((linux.max_low_pfn << PAGE_SHIFT) - 1) + 1


def mm_init(linux: Linux32) -> None:
    """Open the page allocator and the vmalloc area; the timer's registers are the first thing in it."""
    mem_init(linux)
    vmalloc_init(linux)
    linux.gdt = linux.memblock.alloc(PAGE_SIZE, end=linux.max_low_pfn << PAGE_SHIFT)
    with linux.trace.span("kernel", "map the HPET", "hpet"):
        ioremap(linux, HPET_ADDRESS, 1024)
