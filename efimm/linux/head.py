"""The page tables that a kernel image brings along, as they are once boot no longer needs the low ones.

Source: arch/x86/kernel/head_64.S and head64.c (zap_identity_mappings), v3.5 and v6.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..trace import Trace
from ..x86 import Cpu, PageTable, PhysMemory
from ..x86.modes import ADDRESS_MASK
from .layout import (
    KERNPG_TABLE,
    PAGE_KERNEL_LARGE_EXEC,
    PAGE_TABLE,
    PMD_SHIFT,
    PMD_SIZE,
    START_KERNEL_MAP,
    Layout,
)


@dataclass(frozen=True, slots=True)
class KernelImage:
    """Physical addresses in one build of a kernel; another build has others, and nothing depends on them.

    `level3_ident_pgt` and `level2_ident_pgt`, the static tables of the first GiB of the direct map, are None where the
    image has none in use: since 3.9 the direct map begins with empty tables.  `espfix` is CONFIG_X86_ESPFIX64 (and so
    CONFIG_X86_16BIT): a build for virtual machines has it not, and nothing in that slot.
    """

    text: int
    end: int
    init_level4_pgt: int
    level3_kernel_pgt: int
    level2_kernel_pgt: int
    level2_fixmap_pgt: int
    level1_fixmap_pgt: int
    init_stack_top: int
    level3_ident_pgt: int | None = None
    level2_ident_pgt: int | None = None
    espfix: bool = False

    def in_tables(self, memory: PhysMemory, init_top_pgt: int, phys_base: int) -> KernelImage:
        """The same build where another boot had it, read off that boot's own tables: KASLR moves an image, too.

        `memory` and `init_top_pgt` are what `x86.load_tables` gives of a capture; 4 levels.
        """
        moved = init_top_pgt - self.init_level4_pgt
        level3 = _linked(memory, init_top_pgt, 511)
        level2 = _linked(memory, level3, 510)
        fixmap = _linked(memory, level3, 511)
        used = [k for k in range(512) if memory.read_u64(level2 + 8 * k)]
        return replace(
            self,
            text=(used[0] << PMD_SHIFT) + phys_base,
            end=(used[-1] + 1 << PMD_SHIFT) + phys_base,
            init_level4_pgt=init_top_pgt,
            level3_kernel_pgt=level3,
            level2_kernel_pgt=level2,
            level2_fixmap_pgt=fixmap,
            level1_fixmap_pgt=_linked(memory, fixmap, 506),
            init_stack_top=self.init_stack_top + moved,
        )


def _linked(memory: PhysMemory, table: int, index: int) -> int:
    return memory.read_u64(table + 8 * index) & ADDRESS_MASK


def load_kernel_image(image: KernelImage, layout: Layout, memory: PhysMemory, cpu: Cpu, trace: Trace) -> PageTable:
    """Put the static tables into memory and CR3 on them; `init_level4_pgt`, which Linux also calls swapper_pg_dir.

    Slot 0 is empty: zap_identity_mappings() has run.  cleanup_highmap() has left only the kernel's own pages in the
    text mapping.  The early spare table and vsyscall pages are not here.
    """

    def table(pa: int, name: str) -> PageTable:
        return PageTable(memory, pa, name, trace)

    linked_at = image.text - layout.phys_base
    text_pages = (image.end - image.text) >> PMD_SHIFT
    level2_kernel_pgt = table(image.level2_kernel_pgt, "level2_kernel_pgt")
    level2_kernel_pgt.fill(linked_at >> PMD_SHIFT, text_pages, image.text | PAGE_KERNEL_LARGE_EXEC, PMD_SIZE)
    table(image.level2_fixmap_pgt, "level2_fixmap_pgt")[506] = image.level1_fixmap_pgt | PAGE_TABLE
    level3_kernel_pgt = table(image.level3_kernel_pgt, "level3_kernel_pgt")
    level3_kernel_pgt[510] = image.level2_kernel_pgt | KERNPG_TABLE
    level3_kernel_pgt[511] = image.level2_fixmap_pgt | PAGE_TABLE
    swapper_pg_dir = table(image.init_level4_pgt, "swapper_pg_dir")
    if image.level3_ident_pgt is not None and image.level2_ident_pgt is not None:
        table(image.level2_ident_pgt, "level2_ident_pgt").fill(0, 512, PAGE_KERNEL_LARGE_EXEC, PMD_SIZE)
        table(image.level3_ident_pgt, "level3_ident_pgt")[0] = image.level2_ident_pgt | KERNPG_TABLE
        swapper_pg_dir[layout.kernel_pgd_boundary] = image.level3_ident_pgt | KERNPG_TABLE
    swapper_pg_dir[511] = image.level3_kernel_pgt | PAGE_TABLE
    cpu.write_cr3(image.init_level4_pgt)
    cpu.rsp = START_KERNEL_MAP + image.init_stack_top - layout.phys_base
    cpu.rip = START_KERNEL_MAP + linked_at
    return swapper_pg_dir
