"""The page tables that the kernel image brings along, as they are once boot no longer needs the low ones.

Source: arch/x86/kernel/head_64.S and head64.c (zap_identity_mappings), v3.5.  The addresses are those of the 3.5.0
that we booted on OVMF in November 2026 (its CR3 was 0x1195000); another build has others, and nothing depends on them.
"""

from __future__ import annotations

from ..trace import Trace
from ..x86 import Cpu, PageTable, PhysMemory
from ..x86.memory import PAGE_SIZE
from .layout import (
    KERNEL_PGD_BOUNDARY,
    KERNPG_TABLE,
    PAGE_KERNEL_LARGE_EXEC,
    PAGE_TABLE,
    PMD_SHIFT,
    PMD_SIZE,
    START_KERNEL_MAP,
)

KERNEL_TEXT, KERNEL_END = 0x100_0000, 0x140_0000
INIT_LEVEL4_PGT = 0x119_5000
LEVEL3_IDENT_PGT, LEVEL3_KERNEL_PGT, LEVEL2_FIXMAP_PGT, LEVEL1_FIXMAP_PGT, LEVEL2_IDENT_PGT, LEVEL2_KERNEL_PGT = (
    INIT_LEVEL4_PGT + k * PAGE_SIZE for k in range(1, 7)
)
INIT_STACK_TOP = START_KERNEL_MAP + 0x118_C000


def load_kernel_image(memory: PhysMemory, cpu: Cpu, trace: Trace) -> PageTable:
    """Put the static tables into memory and CR3 on them; `init_level4_pgt`, which 3.5 also calls swapper_pg_dir.

    Slot 0 is empty: zap_identity_mappings() has run.  cleanup_highmap() has left only the kernel's own 4 MiB in the
    text mapping.  The early spare table and vsyscall pages are not here.
    """

    def table(pa: int, name: str) -> PageTable:
        return PageTable(memory, pa, name, trace)

    table(LEVEL2_IDENT_PGT, "level2_ident_pgt").fill(0, 512, PAGE_KERNEL_LARGE_EXEC, PMD_SIZE)
    text = KERNEL_TEXT >> PMD_SHIFT
    text_pages = (KERNEL_END - KERNEL_TEXT) >> PMD_SHIFT
    table(LEVEL2_KERNEL_PGT, "level2_kernel_pgt").fill(text, text_pages, KERNEL_TEXT | PAGE_KERNEL_LARGE_EXEC, PMD_SIZE)
    table(LEVEL2_FIXMAP_PGT, "level2_fixmap_pgt")[506] = LEVEL1_FIXMAP_PGT | PAGE_TABLE
    table(LEVEL3_IDENT_PGT, "level3_ident_pgt")[0] = LEVEL2_IDENT_PGT | KERNPG_TABLE
    level3_kernel_pgt = table(LEVEL3_KERNEL_PGT, "level3_kernel_pgt")
    level3_kernel_pgt[510] = LEVEL2_KERNEL_PGT | KERNPG_TABLE
    level3_kernel_pgt[511] = LEVEL2_FIXMAP_PGT | PAGE_TABLE
    swapper_pg_dir = table(INIT_LEVEL4_PGT, "swapper_pg_dir")
    swapper_pg_dir[KERNEL_PGD_BOUNDARY] = LEVEL3_IDENT_PGT | KERNPG_TABLE
    swapper_pg_dir[511] = LEVEL3_KERNEL_PGT | PAGE_TABLE
    cpu.write_cr3(INIT_LEVEL4_PGT)
    cpu.rsp = INIT_STACK_TOP
    cpu.rip = START_KERNEL_MAP + KERNEL_TEXT
    return swapper_pg_dir
