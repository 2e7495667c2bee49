"""hpa's idea for kexec: the firmware's regions at a fixed distance of 2^46 from their physical addresses.

"The most likely sane thing to do is to use a fixed offset of 2^46 and still use a (pseudo-)1:1 map" (H. Peter Anvin,
2012-06-20).  Since the address follows from the physical one, a kexec'd kernel knows where the firmware believes itself
to be, without being told.  It was never merged: 3.14 took stable addresses below -4 GiB and hands them to the next
kernel instead.

2^46 is slot 128: the 64 TiB that Linux can have (MAX_PHYSMEM_BITS) fill slots 128 to 255, the rest of the lower half.
That half belongs to processes, so the map can only be in a table that is loaded for the call.  Inferred: that it would
be the trampoline's, kept up to date as in hpa-sync; the thread does not say.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..linux import efi
from ..linux.efi import get_systab_virt_addr, should_map_region
from ..linux.efi_map import map_region, old_map_region, runtime_code_page_mkexec, writable_and_executable
from ..linux.layout import MAX_PHYSMEM_BITS, pgd_index
from ..linux.setup import trampoline_cr3
from ..linux.state import Linux
from ..uefi import EfiStatus
from ..uefi.memmap import EfiMemoryDescriptor, EfiMemoryType
from ..x86 import PageTable
from ..x86.modes import NX
from . import hpa_sync

OFFSET = 1 << MAX_PHYSMEM_BITS


def setup_real_mode(linux: Linux) -> None:
    """hpa-sync's 1:1 map, and the same once more at the offset."""
    hpa_sync.setup_real_mode(linux)
    sync_offset_map(linux)


def sync_global_pgds(linux: Linux, start: int, end: int) -> None:
    """hpa-sync's walk, and the direct map's entries at the offset, too."""
    hpa_sync.sync_global_pgds(linux, start, end)
    sync_offset_map(linux)


def sync_offset_map(linux: Linux) -> None:
    """Let slots 128 to 255 of the trampoline's table lead where the direct map's slots lead."""
    for index in linux.layout.region("direct map").slots:
        place = index - linux.layout.kernel_pgd_boundary + pgd_index(OFFSET)
        entry = linux.swapper_pg_dir[index]
        if entry and linux.trampoline_pgd[place] != entry:
            linux.trampoline_pgd[place] = entry


def efi_alloc_page_tables(linux: Linux) -> PageTable:
    """None are made: the firmware runs on the trampoline's table."""
    return linux.trampoline_pgd


def efi_enter_virtual_mode(linux: Linux) -> EfiStatus | None:
    """Switch the firmware; after kexec its own table says that it has switched, and where it is follows from that.

    Inferred: the idea does not say how the second kernel learns that it is one.
    """
    tables, systab = linux.firmware.tables, linux.firmware.system_table
    runtime = int.from_bytes(linux.memory.read(systab + tables.runtime_services, tables.word), "little")
    if runtime < OFFSET:
        return efi.set_virtual_address_map(linux)
    linux.efi_pgd = linux.kernel.efi_alloc_page_tables(linux)
    linux.kernel.efi_map_regions(linux)
    runtime_code_page_mkexec(linux)
    return None


def efi_map_regions(linux: Linux) -> list[EfiMemoryDescriptor]:
    """The regions in the order of the firmware's map."""
    return [efi_map_region(linux, place) for place, md in enumerate(linux.memmap) if should_map_region(md)]


def efi_map_region(linux: Linux, place: int) -> EfiMemoryDescriptor:
    """See that the direct map has the region, as in 3.5; a device is mapped at the offset instead.

    Where the device's slot is the direct map's, so is the entry: the kernel sees it there as well.
    """
    if linux.memmap[place].type != EfiMemoryType.EfiMemoryMappedIO:
        old_map_region(linux, place)
    md = linux.memmap[place]
    md = linux.memmap[place] = replace(md, virtual_start=md.physical_start + OFFSET)
    if md.type == EfiMemoryType.EfiMemoryMappedIO:
        map_region(linux, md, md.virtual_start, writable_and_executable(md) | NX)
    get_systab_virt_addr(linux, md)
    return md


@contextmanager
def efi_call_virt(linux: Linux) -> Iterator[None]:
    """The kernel's own tables have nothing at the offset, so later calls switch tables as well."""
    with linux.trace.span("kernel", "switch to trampoline_pgd", "cr3-switch"):
        cr3 = linux.cpu.cr3
        linux.cpu.write_cr3(trampoline_cr3(linux))
        linux.cpu.flush_tlb_all()
    yield
    with linux.trace.span("kernel", "switch back to swapper_pg_dir", "cr3-back"):
        linux.cpu.write_cr3(cr3)
        linux.cpu.flush_tlb_all()


KERNEL = replace(
    hpa_sync.KERNEL,
    name="hpa-offset",
    order=12,
    title="Linux 3.5 with hpa's map at an offset of 2^46",
    source="H. Peter Anvin, linux-kernel, 2012-06-20; never written as a patch",
    setup_real_mode=setup_real_mode,
    sync_global_pgds=sync_global_pgds,
    efi_enter_virtual_mode=efi_enter_virtual_mode,
    efi_alloc_page_tables=efi_alloc_page_tables,
    efi_map_regions=efi_map_regions,
    efi_call_virt=efi_call_virt,
)
