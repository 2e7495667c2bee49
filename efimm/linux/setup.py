"""What setup_arch and mm_init are made of: a kernel's own setup_arch puts these steps in its order.

Source: arch/x86/kernel/setup.c and init/main.c, v3.5.
"""

from __future__ import annotations

from ..machines import MachineError
from ..x86.memory import PAGE_SHIFT
from .page_alloc import mem_init
from .realmode import reserve_real_mode
from .state import Linux
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
    with linux.trace.span("kernel", "build the direct map"):
        linux.kernel.init_mem_mapping(linux)


def mm_init(linux: Linux) -> None:
    """Set up struct page and the page allocator; the timer's registers are the first thing in the vmalloc area."""
    start_page_allocator(linux)
    hpet_enable(linux)


def start_page_allocator(linux: Linux) -> None:
    """Take memory for the `struct page` array, open the page allocator, and map the array."""
    struct_pages = vmemmap_init(linux)
    mem_init(linux, struct_pages[0][1])
    with linux.trace.span("kernel", "map the struct page array"):
        vmemmap_populate(linux, struct_pages)


def hpet_enable(linux: Linux) -> None:
    """Map the timer's registers."""
    with linux.trace.span("kernel", "map the HPET"):
        ioremap(linux, HPET_ADDRESS, 1024)
