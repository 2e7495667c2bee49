"""From power-on to the moment before efi_enter_virtual_mode, and the steps that a kernel's own setup_arch is made of.

Source: arch/x86/kernel/setup.c and init/main.c, v3.5 (x86-64); head_64.S and head64.c (zap_identity_mappings), v3.5 and
v6.1, for the tables that an image brings along, as they are once boot no longer needs the low ones.

The real-mode blob below 1 MiB brings up other processors and owns `trampoline_pgd`: arch/x86/realmode/init.c,
realmode.h and rm/trampoline_64.S, v3.5.  `real_mode_header->trampoline_pgd` is a u32: a starting processor loads CR3 in
32-bit mode, so the table must lie below 4 GiB.
"""

from __future__ import annotations

from ..machines import Machine, MachineError
from ..trace import Trace
from ..uefi.firmwares import find_firmware
from ..uefi.image import IA32, X64
from ..uefi.runtime import Firmware
from ..x86 import Cpu, PageTable, PhysMemory
from ..x86.memory import PAGE_SHIFT, PAGE_SIZE
from ..x86.modes import ADDRESS_MASK
from .layout import (
    KERNPG_TABLE,
    MAX_ARCH_PFN,
    PAGE_ENC,
    PAGE_KERNEL_LARGE_EXEC,
    PAGE_TABLE,
    PMD_SHIFT,
    PMD_SIZE,
    START_KERNEL_MAP,
    KernelImage,
    Layout,
)
from .memblock import Memblock
from .page_alloc import alloc_pages, mem_init
from .pageattr import set_memory_x
from .state import Kernel, Linux, PgdList
from .vmalloc import HPET_ADDRESS, ioremap, vmemmap_init, vmemmap_populate


def load_kernel_image(
    image: KernelImage, layout: Layout, memory: PhysMemory, cpu: Cpu, trace: Trace, sme_me_mask: int = 0
) -> PageTable:
    """Put the static tables into memory and CR3 on them; `init_level4_pgt`, which Linux also calls swapper_pg_dir.

    Slot 0 is empty: zap_identity_mappings() has run.  cleanup_highmap() has left only the kernel's own pages in the
    text mapping.  The early spare table and vsyscall pages are not here.
    """

    def table(pa: int, name: str) -> PageTable:
        return PageTable(memory, pa, name, trace)

    linked_at = image.text - layout.phys_base
    text_pages = (image.end - image.text) >> PMD_SHIFT
    level2_kernel_pgt = table(image.level2_kernel_pgt, "level2_kernel_pgt")
    first = image.text | PAGE_KERNEL_LARGE_EXEC | sme_me_mask
    level2_kernel_pgt.fill(linked_at >> PMD_SHIFT, text_pages, first, PMD_SIZE)
    table(image.level2_fixmap_pgt, "level2_fixmap_pgt")[506] = image.level1_fixmap_pgt | PAGE_TABLE
    level3_kernel_pgt = table(image.level3_kernel_pgt, "level3_kernel_pgt")
    level3_kernel_pgt[510] = image.level2_kernel_pgt | KERNPG_TABLE
    level3_kernel_pgt[511] = image.level2_fixmap_pgt | PAGE_TABLE
    swapper_pg_dir = table(image.init_level4_pgt, "swapper_pg_dir")
    if image.level3_ident_pgt is not None and image.level2_ident_pgt is not None:
        table(image.level2_ident_pgt, "level2_ident_pgt").fill(0, 512, PAGE_KERNEL_LARGE_EXEC, PMD_SIZE)
        table(image.level3_ident_pgt, "level3_ident_pgt")[0] = image.level2_ident_pgt | KERNPG_TABLE
        swapper_pg_dir[layout.kernel_pgd_boundary] = image.level3_ident_pgt | KERNPG_TABLE
    upper = image.level3_kernel_pgt
    if layout.pgtable_l5_enabled and image.level4_kernel_pgt is not None:
        table(image.level4_kernel_pgt, "level4_kernel_pgt")[511] = upper | PAGE_TABLE
        upper = image.level4_kernel_pgt
    swapper_pg_dir[511] = upper | PAGE_TABLE
    cpu.write_cr3(image.init_level4_pgt)
    cpu.rsp = START_KERNEL_MAP + image.init_stack_top - layout.phys_base
    cpu.rip = START_KERNEL_MAP + linked_at
    return swapper_pg_dir


# Size and place as printed by the 3.5.0 that we booted ("Base memory trampoline at [ffff880000099000] 99000 size
# 24576"); that trampoline_pgd is the blob's last page, and the header's field at 20, are inferred.
BLOB, BLOB_SIZE = 0x99000, 6 * PAGE_SIZE
TRAMPOLINE_PGD = BLOB + BLOB_SIZE - PAGE_SIZE
TRAMPOLINE_PGD_FIELD = BLOB + 20


def reserve_real_mode(memblock: Memblock) -> None:
    """Take the blob's memory out of what can be allocated."""
    memblock.reserve(BLOB, BLOB + BLOB_SIZE)


def write_real_mode_header(linux: Linux) -> None:
    """Store the table's address where a starting processor will look for it: its low 32 bits."""
    linux.memory.write(TRAMPOLINE_PGD_FIELD, (linux.trampoline_pgd.pa & 0xFFFF_FFFF).to_bytes(4, "little"))


def trampoline_pgd_entry(linux: Linux) -> int:
    """The direct map's first slot; under KASLR, when that is not 1:1, a table for the first GiB (init_trampoline).

    Source: arch/x86/mm/kaslr.c, v4.9; with five levels a second table above it (init_trampoline_kaslr, v6.1).
    """
    layout = linux.layout
    entry: int = linux.swapper_pg_dir[layout.pgd_index(layout.page_offset)]
    if linux.machine.kaslr is None:
        return entry
    levels = layout.mode.levels[1:-2]  # p4d, with five levels, and pud
    for level in levels:
        entry = linux.memory.read_u64((entry & ADDRESS_MASK) + 8 * level.index(layout.page_offset))
    for level in reversed(levels):
        page = alloc_pages(linux, 1) if linux.after_bootmem else linux.memblock.alloc(PAGE_SIZE)
        PageTable(linux.memory, page, f"{level.name}_page_tramp", linux.trace)[0] = entry
        entry = page | KERNPG_TABLE
    return entry


def trampoline_cr3(linux: Linux) -> int:
    """The value a processor would load into CR3 from the header."""
    return int.from_bytes(linux.memory.read(TRAMPOLINE_PGD_FIELD, 4), "little")


def do_boot_cpu(linux: Linux) -> Cpu:
    """Start another processor: it, when it has come from the blob to secondary_startup_64 in the kernel's text.

    Raises PageFault where the table that the header names has no way there; without an IDT that is a triple fault, and
    the machine resets.  Left out: the steps before paging, and the rest of what set_real_mode_permissions does.
    """
    set_memory_x(linux, linux.layout.phys_to_virt(BLOB), BLOB_SIZE // PAGE_SIZE)
    cpu = Cpu(linux.memory, linux.trace, mode=linux.layout.mode, maxphyaddr=linux.cpu.maxphyaddr)
    cpu.write_cr3(trampoline_cr3(linux))
    cpu.fetch(BLOB)
    cpu.rip = START_KERNEL_MAP + linux.image.start - linux.layout.phys_base
    cpu.fetch(cpu.rip)
    return cpu


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
    layout = kernel.layout_on(machine.arch) if machine.kaslr is None else randomized(kernel, machine)
    memory, trace = PhysMemory(), Trace()
    sme_me_mask = PAGE_ENC if machine.sme and kernel.mem_encrypt else 0
    cpu = Cpu(memory, trace, mode=layout.mode, maxphyaddr=max(machine.maxphyaddr, sme_me_mask.bit_length()))
    tables = IA32 if machine.mixed else X64
    firmware = Firmware(find_firmware(machine.firmware), memory, machine.map, trace, tables)
    with trace.span("kernel", "head_64.S: the page tables of the kernel image", "head"):
        swapper_pg_dir = load_kernel_image(kernel.image, layout, memory, cpu, trace, sme_me_mask)
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
    layout = kernel.layout_on(machine.arch).moved(machine.kaslr, machine.kaslr_areas)
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
