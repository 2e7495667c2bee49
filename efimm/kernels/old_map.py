"""efi=old_map (3.14 to 5.8): Nathan Zimmer's loop goes on, on the machines of the thread and wherever it is asked for.

SGI's UV machines had it without asking: a5d90c923bcf (v3.14) sets it for every UV, d394f2d9d8e1 for UV1 alone, and
08914f436bdd (May 2016) says that UV2 and later still need the option by then.  It went with UV1 in v5.9.

Source: arch/x86/platform/efi/efi_64.c (efi_call_phys_prolog, efi_call_phys_epilog, efi_map_region) and efi.c
(old_map_region), v4.9: a kernel with memory KASLR, and without what was made of the loop later.  With KASLR a slot
copied whole leads elsewhere; with KPTI, as 4.15 and the updates of 4.9 got it, a borrowed slot cannot be executed
(de53c3786a3c takes the NX bit away again).  After kexec it has nothing to hand on: setup_efi_state
(arch/x86/kernel/kexec-bzimage64.c, v4.9) tells the second kernel of no EFI at all; here that one asks once more.
On 32-bit firmware it has neither a table nor a stack in efi_scratch, loads CR3 with 0 and is lost (v4.9); here it is
lost at its stack.  That is from the C, not judged.
"""

from __future__ import annotations

from dataclasses import replace

from ..linux import efi_map
from ..linux.layout import V4_9_LAYOUT
from ..linux.setup import trampoline_pgd_entry, write_real_mode_header
from ..linux.state import Linux
from ..uefi.memmap import EfiMemoryDescriptor
from . import v3_8, v4_6


def setup_real_mode(linux: Linux) -> None:
    """3.14's two entries; with memory KASLR slot 0 has a table of its own (v4.8)."""
    write_real_mode_header(linux)
    linux.trampoline_pgd[0] = trampoline_pgd_entry(linux)
    linux.trampoline_pgd[511] = linux.swapper_pg_dir[511]


def old_map_regions(linux: Linux) -> list[EfiMemoryDescriptor]:
    """3.5's addresses, for a direct map with holes."""
    return efi_map.old_map_regions(linux, efi_map.pfn_range_is_mapped)


KERNEL = replace(
    v4_6.KERNEL,
    name="old-map",
    order=8,
    title="Linux 4.9 with efi=old_map, as SGI's UV ran it",
    source="arch/x86/platform/efi/efi_64.c, v4.9 (EFI_OLD_MEMMAP)",
    layout=V4_9_LAYOUT,
    setup_real_mode=setup_real_mode,
    efi_enter_virtual_mode=v3_8.KERNEL.efi_enter_virtual_mode,
    efi_alloc_page_tables=v3_8.KERNEL.efi_alloc_page_tables,
    efi_map_regions=old_map_regions,
    efi_setup_page_tables=v3_8.KERNEL.efi_setup_page_tables,
    efi_call_phys=v3_8.KERNEL.efi_call_phys,
    efi_call_virt=v3_8.KERNEL.efi_call_virt,
    efi_runtime_update_mappings=v3_8.KERNEL.efi_runtime_update_mappings,
    efi_runtime_map=v3_8.KERNEL.efi_runtime_map,
)
