"""From power-on to the moment before efi_enter_virtual_mode (x86-64, one processor)."""

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
from .pgd_list import PgdList
from .realmode import TRAMPOLINE_PGD
from .state import Kernel, Linux

LOW_RESERVED = 64 << 10


def boot(machine: Machine, kernel: Kernel) -> Linux:
    """`kernel` started on `machine`, ready for efi_enter_virtual_mode.

    Raises ValueError for a map without runtime regions, MemoryError where the kernel finds no room.
    """
    layout = kernel.layout if machine.kaslr is None else randomized(kernel, machine)
    memory, trace = PhysMemory(), Trace()
    cpu = Cpu(memory, trace, maxphyaddr=machine.maxphyaddr)
    firmware = Firmware(find_firmware(machine.firmware), memory, machine.map, trace)
    with trace.span("kernel", "head_64.S: the page tables of the kernel image"):
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
    layout, end = kernel.layout.moved(machine.kaslr), machine.kaslr + machine.highest_ram
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
