"""From power-on to the moment before efi_enter_virtual_mode, and the steps that a kernel's own setup_arch is made of.

Source: arch/x86/kernel/setup.c and init/main.c, v3.5 (x86-64).  One processor.
"""

from __future__ import annotations

from ..machines import Machine, MachineError
from ..trace import Trace
from ..uefi.firmwares import find_firmware
from ..uefi.runtime import Firmware
from ..x86 import Cpu, PageTable, PhysMemory
from ..x86.memory import PAGE_SHIFT, PAGE_SIZE
from .head import load_kernel_image
from .layout import MAX_ARCH_PFN, Layout
from .memblock import Memblock
from .page_alloc import mem_init
from .realmode import TRAMPOLINE_PGD, reserve_real_mode
from .state import Kernel, Linux, PgdList
from .vmalloc import HPET_ADDRESS, ioremap, vmemmap_init, vmemmap_populate

FOUR_GIB = 1 << 32
INITIALLY_MAPPED = 512 << 20
EBDA = 0x9F000, 0x100000


def setup_memory(linux: Linux) -> None:
    """Find the end of RAM, and reserve what the kernel image, the boot services and the real-mode blob take of it."""
    memblock, image = linux.memblock, linux.kernel.image
    if memblock.memory[0][0] >= FOUR_GIB:
        raise MachineError("this machine has no RAM below 4 GiB, where kernel and trampoline have to lie")
    linux.max_pfn = memblock.memory[-1][1] >> PAGE_SHIFT
    linux.max_low_pfn = max(min(end, FOUR_GIB) for start, end in memblock.memory if start < FOUR_GIB) >> PAGE_SHIFT
    memblock.reserve(image.text, image.end)
    memblock.reserve(*EBDA)
    linux.kernel.efi_reserve_boot_services(linux)
    linux.max_pfn_mapped = INITIALLY_MAPPED >> PAGE_SHIFT
    reserve_real_mode(memblock)


def setup_real_mode(linux: Linux) -> None:
    """The kernel's setup_real_mode, as a step."""
    with linux.trace.span("kernel", "setup_real_mode"):
        linux.kernel.setup_real_mode(linux)


def init_mem_mapping(linux: Linux) -> None:
    """The kernel's init_mem_mapping, as a step."""
    with linux.trace.span("kernel", "build the direct map", "direct-map"):
        linux.kernel.init_mem_mapping(linux)


def mm_init(linux: Linux) -> None:
    """Set up struct page and the page allocator; the timer's registers are the first thing in the vmalloc area."""
    start_page_allocator(linux)
    hpet_enable(linux)


def start_page_allocator(linux: Linux) -> None:
    """Take memory for the `struct page` array, open the page allocator, and map the array."""
    struct_pages = vmemmap_init(linux)
    mem_init(linux, struct_pages[0][1])
    with linux.trace.span("kernel", "map the struct page array", "vmemmap"):
        vmemmap_populate(linux, struct_pages)


def hpet_enable(linux: Linux) -> None:
    """Map the timer's registers."""
    with linux.trace.span("kernel", "map the HPET", "hpet"):
        ioremap(linux, HPET_ADDRESS, 1024)


LOW_RESERVED = 64 << 10


def boot(machine: Machine, kernel: Kernel) -> Linux:
    """`kernel` started on `machine`, ready for efi_enter_virtual_mode.

    Raises ValueError for a map without runtime regions, MemoryError where the kernel finds no room.
    """
    layout = kernel.layout if machine.kaslr is None else randomized(kernel, machine)
    memory, trace = PhysMemory(), Trace()
    cpu = Cpu(memory, trace, maxphyaddr=machine.maxphyaddr)
    firmware = Firmware(find_firmware(machine.firmware), memory, machine.map, trace)
    with trace.span("kernel", "head_64.S: the page tables of the kernel image", "head"):
        swapper_pg_dir = load_kernel_image(kernel.image, layout, memory, cpu, trace)
    linux = Linux(
        machine=machine,
        kernel=kernel,
        layout=layout,
        memory=memory,
        cpu=cpu,
        trace=trace,
        firmware=firmware,
        memblock=Memblock(e820_ram(machine)),
        swapper_pg_dir=swapper_pg_dir,
        trampoline_pgd=PageTable(memory, TRAMPOLINE_PGD, "trampoline_pgd", trace),
        efi_pgd=swapper_pg_dir,
        pgd_list=PgdList(trace),
        memmap=list(firmware.kind.get_memory_map(machine.map)),
    )
    kernel.setup_arch(linux)
    kernel.mm_init(linux)
    return linux


def randomized(kernel: Kernel, machine: Machine) -> Layout:
    """The kernel's layout with the direct map moved; MachineError where it never moves, or has no room there."""
    if not kernel.layout.randomize_memory:
        raise MachineError(f"Linux {kernel.name} does not move its direct map: memory KASLR came with 4.8")
    assert machine.kaslr is not None  # the caller has looked
    layout = kernel.layout.moved(machine.kaslr, machine.kaslr_areas)
    end = machine.kaslr + machine.highest_ram
    area = layout.region("vmalloc").start
    if end > area:
        raise MachineError(
            f"kaslr {machine.kaslr:#x}: the direct map would end at {end:#x}, behind {area:#x} (vmalloc)"
        )
    return layout


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
