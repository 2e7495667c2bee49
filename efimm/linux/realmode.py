"""The real-mode blob below 1 MiB, which brings up other processors and owns `trampoline_pgd`.

Source: arch/x86/realmode/init.c, realmode.h and rm/trampoline_64.S, v3.5.  `real_mode_header->trampoline_pgd` is a
u32: a starting processor loads CR3 in 32-bit mode, so the table must lie below 4 GiB.
"""

from __future__ import annotations

from ..x86 import Cpu, PageTable
from ..x86.memory import PAGE_SIZE
from .layout import KERNPG_TABLE, PUD_SHIFT, START_KERNEL_MAP, pgd_index
from .memblock import Memblock
from .page_alloc import alloc_pages
from .pageattr import set_memory_x
from .state import Linux

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

    Source: arch/x86/mm/kaslr.c, v4.9.
    """
    offset = linux.layout.page_offset
    pgd = linux.swapper_pg_dir[pgd_index(offset)]
    if linux.machine.kaslr is None:
        return pgd
    pud = PageTable(linux.memory, pgd.address, f"pud@{pgd.address:#x}", linux.trace)
    page = alloc_pages(linux, 1) if linux.after_bootmem else linux.memblock.alloc(PAGE_SIZE)
    pud_tramp = PageTable(linux.memory, page, "pud_page_tramp", linux.trace)
    pud_tramp[0] = pud[offset >> PUD_SHIFT & 511]
    return pud_tramp.pa | KERNPG_TABLE


def trampoline_cr3(linux: Linux) -> int:
    """The value a processor would load into CR3 from the header."""
    return int.from_bytes(linux.memory.read(TRAMPOLINE_PGD_FIELD, 4), "little")


def do_boot_cpu(linux: Linux) -> Cpu:
    """Start another processor: it, when it has come from the blob to secondary_startup_64 in the kernel's text.

    Raises PageFault where the table that the header names has no way there; without an IDT that is a triple fault, and
    the machine resets.  Left out: the steps before paging, and the rest of what set_real_mode_permissions does.
    """
    set_memory_x(linux, linux.layout.phys_to_virt(BLOB), BLOB_SIZE // PAGE_SIZE)
    cpu = Cpu(linux.memory, linux.trace, maxphyaddr=linux.machine.maxphyaddr)
    cpu.write_cr3(trampoline_cr3(linux))
    cpu.fetch(BLOB)
    cpu.rip = START_KERNEL_MAP + linux.image.start - linux.layout.phys_base
    cpu.fetch(cpu.rip)
    return cpu
