"""The first page tables of a 32-bit kernel: initial_page_table, made before there is any C code to run.

Source: arch/x86/kernel/head_32.S, v3.5.  Where the image and its tables lie is the model's own choice (a kernel loaded
at 16 MiB, as LOAD_PHYSICAL_ADDR says; its other addresses are inferred); nothing depends on it.
"""

from __future__ import annotations

from ...trace import Trace
from ...x86 import PAE, Cpu, PageTable, PhysMemory
from ...x86.cpu import USUAL
from ...x86.memory import PAGE_SIZE
from .layout import PAGE_OFFSET, PDE_IDENT_ATTR, PGD_IDENT_ATTR, PTE_IDENT_ATTR, Layout32

KERNEL_TEXT, INIT_END, KERNEL_END = 0x100_0000, 0x190_0000, 0x1A0_0000
INITIAL_PAGE_TABLE, SWAPPER_PG_DIR, INITIAL_PG_PMD, INITIAL_PG_FIXMAP = (
    KERNEL_END - k * PAGE_SIZE for k in range(1, 5)
)
BRK_BASE = KERNEL_END  # behind the image; RESERVE_BRK(pagetables) keeps as much room there as is mapped beyond the end
INIT_STACK_TOP = PAGE_OFFSET + INIT_END


def mapping_beyond_end(layout: Layout32) -> int:
    """MAPPING_BEYOND_END: how much memory behind the image is mapped, enough for the page tables of all low memory."""
    lowmem_pages = (1 << 32) - PAGE_OFFSET >> 12
    tables = lowmem_pages // 512 + 4 if layout.mode is PAE else lowmem_pages // 1024
    return tables * PAGE_SIZE


def load_kernel_image(memory: PhysMemory, cpu: Cpu, trace: Trace, layout: Layout32) -> tuple[PageTable, PageTable, int]:
    """Make initial_page_table and turn paging on; it, the still empty swapper_pg_dir, and the end of brk.

    With two levels each early table is entered twice, at its own address and at PAGE_OFFSET.  With PAE there is one
    PMD table, and the first and the last top-level entry both lead to it.
    """
    initial_page_table = PageTable(memory, INITIAL_PAGE_TABLE, "initial_page_table", trace, layout.mode)
    swapper_pg_dir = PageTable(memory, SWAPPER_PG_DIR, "swapper_pg_dir", trace, layout.mode)
    directory, kernel = initial_page_table, layout.kernel_pgd_boundary
    if layout.mode is PAE:
        directory, kernel = PageTable(memory, INITIAL_PG_PMD, "initial_pg_pmd", trace, layout.mode), 0
        for index in (0, layout.kernel_pgd_boundary):
            initial_page_table[index] = INITIAL_PG_PMD | PGD_IDENT_ATTR
    mapped, brk, index = 0, BRK_BASE, 0
    while mapped < BRK_BASE + 2 * mapping_beyond_end(layout):
        table = PageTable(memory, brk, f"pg{index}", trace, layout.mode)
        table.fill(0, len(table), mapped | PTE_IDENT_ATTR, PAGE_SIZE)
        for place in {index, index + kernel}:
            directory[place] = brk | PDE_IDENT_ATTR
        mapped, brk, index = mapped + len(table) * PAGE_SIZE, brk + PAGE_SIZE, index + 1
    directory[len(directory) - 1] = INITIAL_PG_FIXMAP | PDE_IDENT_ATTR
    usual = USUAL[layout.mode]
    cpu.write_cr4(usual.cr4)
    cpu.write_efer(usual.efer)
    cpu.write_cr3(INITIAL_PAGE_TABLE)
    cpu.write_cr0(usual.cr0)
    cpu.rsp, cpu.rip = INIT_STACK_TOP, PAGE_OFFSET + KERNEL_TEXT
    return initial_page_table, swapper_pg_dir, brk
