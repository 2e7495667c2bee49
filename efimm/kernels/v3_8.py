"""Linux 3.8 (Nathan Zimmer, b8f2c21db390): the call borrows a slot for every 512 GiB of RAM, not just the first.

Sources, all v3.8.13: arch/x86/platform/efi/efi_64.c (efi_call_phys_prelog, efi_call_phys_epilog), arch/x86/mm/init.c
(find_early_table_space), arch/x86/kernel/setup.c (setup_arch: above 4 GiB only RAM is in the direct map).  Bounded by
the end of RAM: what lies above it, such as a device, is not identity-mapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..linux.direct_map import init_memory_mapping, one_block_3_8
from ..linux.efi_map import early_code_mapping_set_exec
from ..linux.layout import PGDIR_SIZE, KernelImage, pgd_index
from ..linux.setup import FOUR_GIB
from ..linux.state import Linux
from ..linux.tables import set_pgd
from ..x86.memory import PAGE_SHIFT
from . import v3_5


def init_mem_mapping(linux: Linux) -> None:
    """From 0 to the end of low RAM, reserved or not; above 4 GiB the ranges of RAM, one by one."""
    linux.max_low_pfn_mapped = init_memory_mapping(linux, 0, linux.max_low_pfn << PAGE_SHIFT, one_block_3_8)
    linux.max_pfn_mapped = linux.max_low_pfn_mapped
    for start, end in linux.memblock.memory:
        if end > FOUR_GIB:
            linux.max_pfn_mapped = init_memory_mapping(linux, max(FOUR_GIB, start), end, one_block_3_8)


@contextmanager
def efi_call_phys(linux: Linux) -> Iterator[None]:
    """efi_call_phys_prelog, the call, efi_call_phys_epilog.  After a fault in the firmware, the epilog does not run."""
    early_code_mapping_set_exec(linux, executable=True)
    pgd = linux.swapper_pg_dir
    n_pgds = -(-(linux.max_pfn << PAGE_SHIFT) // PGDIR_SIZE)
    with linux.trace.span("kernel", "efi_call_phys_prelog", "prelog"):
        save_pgd = [pgd[index] for index in range(n_pgds)]
        for index in range(n_pgds):
            vaddress = linux.layout.phys_to_virt(index * PGDIR_SIZE)
            set_pgd(linux, pgd, index, pgd[pgd_index(vaddress)])
        linux.cpu.flush_tlb_all()
    yield
    with linux.trace.span("kernel", "efi_call_phys_epilog", "epilog"):
        for index, entry in enumerate(save_pgd):
            set_pgd(linux, pgd, index, entry)
        linux.cpu.flush_tlb_all()
    early_code_mapping_set_exec(linux, executable=False)


# Linux 3.8.13, from the same machine: its CR3 was 0x11a9000, slot 272 0x11aa063, slot 511 0x11ab067.  That the other
# tables follow as in 3.5 is inferred.
IMAGE = KernelImage(
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

KERNEL = replace(
    v3_5.KERNEL,
    name="3.8",
    order=5,
    title="Linux 3.8 (February 2013)",
    source="arch/x86/platform/efi/efi_64.c, v3.8.13 (Nathan Zimmer, b8f2c21db390)",
    image=IMAGE,
    init_mem_mapping=init_mem_mapping,
    efi_call_phys=efi_call_phys,
    known_bugs=(),
)
