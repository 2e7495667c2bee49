"""H. Peter Anvin's plan: a full 1:1 map in trampoline_pgd, kept up to date by the sync that walks pgd_list.

Which sentence each part comes from (hpa on the list, June 2012):

setup_real_mode    "we should keep a full 1:1 page map around, and it should be the one that is in the trampoline
                   (real_mode_header->trampoline_pgd) as we need the page directory to be 32-bit addressable" (20 June)
pgd_populate       "when we modify the pgds [...] we should make the corresponding modifications [...] in 64-bit mode to
                   real_mode_header->trampoline_pgd" (21 June)
set_kernel_pgd     "in 32-bit legacy (non-PAE) mode, [...] to initial_page_table" (21 June); "PAE 32 bit don't need it,
                   since all the kernel maps are shared" (20 June)
sync_global_pgds   "The right thing to do is to sync the pgds in the 1:1 area" (20 June); kernel index *and* identity
                   index: "the initial/trampoline maps need these mappings not just at address __PAGE_OFFSET, but also
                   at address zero (identity mapping), which means that just adding it to the pgd_list is insufficient"
                   (22 June); no mm lock: "The 1:1 map doesn't have an mm associated with it" (21 June)
efi_call_phys      "Once that is properly fixed, we have a usable identity mapping" (20 June)

The mainline attempt at it (53b87cf088e2, October 2012) was reverted before 3.8-rc1; this file is the plan, not that
commit.  Inferred, since the thread does not say it: which entries are copied at boot, and that CR3 is switched with the
code regions made executable as 3.5 does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..linux.efi_map import early_code_mapping_set_exec
from ..linux.layout import PGDIR_SIZE, PTRS_PER_PGD, pgd_address, pgd_index
from ..linux.setup import trampoline_cr3, write_real_mode_header
from ..linux.state import Linux, Linux32
from . import v3_5


def setup_real_mode(linux: Linux) -> None:
    """Start the 1:1 map with every kernel entry that exists already (slots 272 and 511 at this point of the boot)."""
    write_real_mode_header(linux)
    for index in range(linux.layout.kernel_pgd_boundary, PTRS_PER_PGD):
        sync_trampoline_pgd(linux, index)


def pgd_populate(linux: Linux, index: int, pud: int, count: int) -> None:
    """Link the tables as 3.5 does, and let the sync carry the new entries further at once (vmalloc's, too)."""
    v3_5.pgd_populate(linux, index, pud, count)
    linux.kernel.sync_global_pgds(linux, pgd_address(index), pgd_address(index + count - 1))


def sync_global_pgds(linux: Linux, start: int, end: int) -> None:
    """3.5's walk over pgd_list, and then the same entries in trampoline_pgd, under pgd_lock alone."""
    v3_5.sync_global_pgds(linux, start, end)
    with linux.kernel.hold_pgd_lock(linux):
        for address in range(start, end + 1, PGDIR_SIZE):
            sync_trampoline_pgd(linux, pgd_index(address))


def sync_trampoline_pgd(linux: Linux, index: int) -> None:
    """Write one kernel entry at its own index and, for the direct map, at the identity index too."""
    entry = linux.swapper_pg_dir[index]
    places = [index]
    if linux.layout.region_of_slot(index).name == "direct map":
        places.append(index - linux.layout.kernel_pgd_boundary)
    for place in places:
        if linux.trampoline_pgd[place] != entry:
            linux.trampoline_pgd[place] = entry


@contextmanager
def efi_call_phys(linux: Linux) -> Iterator[None]:
    """Run the call on the table that real_mode_header names.  swapper_pg_dir is not written at all."""
    early_code_mapping_set_exec(linux, executable=True)
    with linux.trace.span("kernel", "switch to trampoline_pgd", "cr3-switch"):
        cr3 = linux.cpu.cr3
        linux.cpu.write_cr3(trampoline_cr3(linux))
        linux.cpu.flush_tlb_all()
    yield
    with linux.trace.span("kernel", "switch back to swapper_pg_dir", "cr3-back"):
        linux.cpu.write_cr3(cr3)
        linux.cpu.flush_tlb_all()
    early_code_mapping_set_exec(linux, executable=False)


def sync_initial_page_table(linux: Linux32) -> None:
    """Every kernel entry into initial_page_table, at its own index and at the identity index."""
    for index in range(linux.layout.kernel_pgd_boundary, 1 << 32 - linux.layout.pgdir_shift):
        set_kernel_pgd(linux, index)


def set_kernel_pgd(linux: Linux32, index: int) -> None:
    """Keep one entry of initial_page_table up to date; with PAE its tables are shared, and there is nothing to do."""
    if linux.layout.shared_kernel_pmd:
        return
    entry = linux.swapper_pg_dir[index]
    for place in (index, index - linux.layout.kernel_pgd_boundary):
        if linux.initial_page_table[place] != entry:
            linux.initial_page_table[place] = entry


I386 = replace(v3_5.I386, sync_initial_page_table=sync_initial_page_table, set_kernel_pgd=set_kernel_pgd)

KERNEL = replace(
    v3_5.KERNEL,
    name="hpa-sync",
    order=2,
    title="Linux 3.5 with hpa's 1:1 map in the trampoline",
    source="H. Peter Anvin, linux-kernel, 2012-06-20, -21 and -22; never a release",
    setup_real_mode=setup_real_mode,
    pgd_populate=pgd_populate,
    sync_global_pgds=sync_global_pgds,
    efi_call_phys=efi_call_phys,
    i386=I386,
    known_bugs=(),
)
