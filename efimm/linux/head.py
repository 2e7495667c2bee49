"""The page tables that a kernel image brings along, as they are once boot no longer needs the low ones.

Source: arch/x86/kernel/head_64.S and head64.c (zap_identity_mappings), v3.5 and v6.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..trace import Trace
from ..x86 import Cpu, PageTable, PhysMemory
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


# Linux 3.5.0 as we booted it on OVMF in November 2026: its CR3 was 0x1195000.
V3_5_IMAGE = KernelImage(
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

# Linux 3.8.13, from the same machine: its CR3 was 0x11a9000, slot 272 0x11aa063, slot 511 0x11ab067.  That the other
# tables follow as in 3.5 is inferred.
V3_8_IMAGE = KernelImage(
    text=0x100_0000,
    end=0x140_0000,
    init_level4_pgt=0x11A_9000,
    level3_ident_pgt=0x11A_A000,
    level3_kernel_pgt=0x11A_B000,
    level2_fixmap_pgt=0x11A_C000,
    level1_fixmap_pgt=0x11A_D000,
    level2_ident_pgt=0x11A_E000,
    level2_kernel_pgt=0x11A_F000,
    init_stack_top=0x11A_0000,
)

# No boot of 3.14 was recorded: 3.5's addresses, without the tables that its head_64.S no longer links.
V3_14_IMAGE = replace(V3_5_IMAGE, level3_ident_pgt=None, level2_ident_pgt=None)

# Debian's 6.1.0-56-amd64 as we booted it on OVMF in November 2026, with nokaslr: its symbols, and _end rounded up.
V6_1_IMAGE = KernelImage(
    text=0x160_0000,
    end=0x4C0_0000,
    init_level4_pgt=0x301_0000,
    level3_kernel_pgt=0x301_5000,
    level2_kernel_pgt=0x301_6000,
    level2_fixmap_pgt=0x301_7000,
    level1_fixmap_pgt=0x301_8000,
    init_stack_top=0x300_4000,
    espfix=True,
)

# Debian's 6.12.117+deb13-cloud-amd64 and 7.3.4+deb13-cloud-amd64, in the same way.
V6_12_IMAGE = KernelImage(
    text=0x160_0000,
    end=0x440_0000,
    init_level4_pgt=0x322_2000,
    level3_kernel_pgt=0x322_7000,
    level2_kernel_pgt=0x322_8000,
    level2_fixmap_pgt=0x322_9000,
    level1_fixmap_pgt=0x322_A000,
    init_stack_top=0x320_4000,
)
V7_3_IMAGE = KernelImage(
    text=0x160_0000,
    end=0x4A0_0000,
    init_level4_pgt=0x362_A000,
    level3_kernel_pgt=0x362_D000,
    level2_kernel_pgt=0x362_E000,
    level2_fixmap_pgt=0x362_F000,
    level1_fixmap_pgt=0x363_0000,
    init_stack_top=0x360_4000,
)
