"""From power-on to the moment before efi_enter_virtual_mode: setup_arch and mm_init of Linux 3.5 (x86-64).

Source: arch/x86/kernel/setup.c and init/main.c, v3.5.  One processor; the order of the steps is the kernel's.
"""

from __future__ import annotations

from ..machines import Machine
from ..trace import Trace
from ..uefi.firmwares import FIRMWARES
from ..uefi.runtime import Firmware
from ..x86 import Cpu, PageTable, PhysMemory
from ..x86.memory import PAGE_SHIFT, PAGE_SIZE
from .direct_map import init_memory_mapping
from .efi import efi_reserve_boot_services
from .head import KERNEL_END, KERNEL_TEXT, load_kernel_image
from .layout import MAX_ARCH_PFN
from .memblock import Memblock
from .page_alloc import mem_init
from .pgd_list import PgdList
from .realmode import TRAMPOLINE_PGD, reserve_real_mode
from .state import Kernel, Linux
from .vmalloc import HPET_ADDRESS, ioremap, vmemmap_init, vmemmap_populate

FOUR_GIB = 1 << 32
INITIALLY_MAPPED = 512 << 20
LOW_RESERVED = 64 << 10
EBDA = 0x9F000, 0x100000


def boot(machine: Machine, kernel: Kernel) -> Linux:
    """`kernel` started on `machine`, ready for efi_enter_virtual_mode.

    Raises ValueError for a map without runtime regions, MemoryError where the kernel finds no room.
    """
    memory, trace = PhysMemory(), Trace()
    cpu = Cpu(memory, trace, maxphyaddr=machine.maxphyaddr)
    firmware = Firmware(FIRMWARES[machine.firmware], memory, machine.map, trace)
    with trace.span("kernel", "head_64.S: the page tables of the kernel image"):
        swapper_pg_dir = load_kernel_image(memory, cpu, trace)
    linux = Linux(
        machine=machine,
        kernel=kernel,
        memory=memory,
        cpu=cpu,
        trace=trace,
        firmware=firmware,
        memblock=Memblock(e820_ram(machine)),
        swapper_pg_dir=swapper_pg_dir,
        trampoline_pgd=PageTable(memory, TRAMPOLINE_PGD, "trampoline_pgd", trace),
        pgd_list=PgdList(trace),
        memmap=list(machine.map.descriptors),
    )
    setup_arch(linux)
    mm_init(linux)
    return linux


def e820_ram(machine: Machine) -> list[tuple[int, int]]:
    """The RAM that the kernel may use: whole pages, without the first 64 KiB and 640 KiB to 1 MiB (trim_bios_range)."""
    ram = []
    limit = MAX_ARCH_PFN << PAGE_SHIFT
    for start, end in machine.map.ram:
        for low, high in ((LOW_RESERVED, 0xA0000), (0x100000, limit)):
            first = -(-max(start, low) // PAGE_SIZE) * PAGE_SIZE
            last = min(end, high) // PAGE_SIZE * PAGE_SIZE
            if first < last:
                ram.append((first, last))
    return ram


def setup_arch(linux: Linux) -> None:
    """Find the end of RAM, reserve what is in use, build the direct map."""
    memblock = linux.memblock
    linux.max_pfn = memblock.memory[-1][1] >> PAGE_SHIFT
    linux.max_low_pfn = max(min(end, FOUR_GIB) for start, end in memblock.memory if start < FOUR_GIB) >> PAGE_SHIFT
    memblock.reserve(KERNEL_TEXT, KERNEL_END)
    memblock.reserve(*EBDA)
    efi_reserve_boot_services(linux.memmap, memblock)
    linux.max_pfn_mapped = INITIALLY_MAPPED >> PAGE_SHIFT
    reserve_real_mode(memblock)
    with linux.trace.span("kernel", "setup_real_mode"):
        linux.kernel.setup_real_mode(linux)
    with linux.trace.span("kernel", "build the direct map"):
        linux.max_low_pfn_mapped = init_memory_mapping(linux, 0, linux.max_low_pfn << PAGE_SHIFT)
        linux.max_pfn_mapped = linux.max_low_pfn_mapped
        if linux.max_pfn > linux.max_low_pfn:
            linux.max_pfn_mapped = init_memory_mapping(linux, FOUR_GIB, linux.max_pfn << PAGE_SHIFT)


def mm_init(linux: Linux) -> None:
    """Set up struct page and the page allocator; the timer's registers are the first thing in the vmalloc area."""
    struct_pages = vmemmap_init(linux)
    mem_init(linux, struct_pages[0][1])
    with linux.trace.span("kernel", "map the struct page array"):
        vmemmap_populate(linux, struct_pages)
    with linux.trace.span("kernel", "map the HPET"):
        ioremap(linux, HPET_ADDRESS, 1024)
