"""The merge window of 3.8: hpa's sync tried (Matt Fleming, 53b87cf088e2), and reverted within days.

Read at the source: trampoline_pgd gets the whole kernel map, sync_global_pgds fills it under pgd_lock alone, and
virtual EFI calls run on it (185034e72d59), because the firmware of ASUS machines touches its clock by the physical
address after the switch.  The reverts: be354f408123 took 53b87cf088e2 back since machines failed to boot with it, the
cause not being known (recalled); 11520e5e7c18 (2012-12-15, Linus Torvalds) took back the three that need it.

Recalled: the two loops of setup_real_mode, and efi_call_virt_prelog.  Inferred from 3.8.13, where setup_real_mode still
runs before the direct map is built: slots 273 and up are empty then, so the 1:1 half gets slot 0 alone.  The sync fills
the kernel's half later, and never the 1:1 half, which is what hpa had warned of: "just adding it to the pgd_list is
insufficient".  SetVirtualAddressMap keeps the prelog of 3.5 (inferred; on trampoline_pgd it would fail the same way).

Left out: that ioremap puts devices into the 1:1 map (105 lines of 53b87cf088e2).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..linux.layout import PGDIR_SIZE, PTRS_PER_PGD, pgd_index
from ..linux.setup import trampoline_cr3, write_real_mode_header
from ..linux.state import KnownBug, Linux
from ..x86.memory import PAGE_SHIFT
from . import v3_5, v3_8


def setup_real_mode(linux: Linux) -> None:
    """A 1:1 map of all of physical memory, and the kernel's half: as far as the direct map has them by now."""
    write_real_mode_header(linux)
    boundary = linux.layout.kernel_pgd_boundary
    for index in range(pgd_index(linux.max_pfn << PAGE_SHIFT) + 1):
        linux.trampoline_pgd[index] = linux.swapper_pg_dir[boundary + index]
    for index in range(boundary, PTRS_PER_PGD):
        linux.trampoline_pgd[index] = linux.swapper_pg_dir[index]


def sync_global_pgds(linux: Linux, start: int, end: int) -> None:
    """3.5's walk over pgd_list, and the same kernel entries in trampoline_pgd where that has none."""
    v3_5.sync_global_pgds(linux, start, end)
    for address in range(start, end + 1, PGDIR_SIZE):
        pgd_ref, index = linux.swapper_pg_dir[pgd_index(address)], pgd_index(address)
        if pgd_ref:
            with linux.kernel.hold_pgd_lock(linux):
                if not linux.trampoline_pgd[index]:
                    linux.trampoline_pgd[index] = pgd_ref


@contextmanager
def efi_call_virt(linux: Linux) -> Iterator[None]:
    """A call after the switch runs on trampoline_pgd (efi_call_virt_prelog, efi_call_virt_epilog)."""
    with linux.trace.span("kernel", "efi_call_virt_prelog", "prelog"):
        saved = linux.cpu.cr3
        linux.cpu.write_cr3(trampoline_cr3(linux))
    yield
    with linux.trace.span("kernel", "efi_call_virt_epilog", "epilog"):
        linux.cpu.write_cr3(saved)


KERNEL = replace(
    v3_8.KERNEL,
    name="3.8-rc",
    order=4,
    title="Linux in the merge window of 3.8 (December 2012)",
    source="53b87cf088e2 and 185034e72d59 (Matt Fleming), reverted by be354f408123 and 11520e5e7c18",
    setup_real_mode=setup_real_mode,
    sync_global_pgds=sync_global_pgds,
    efi_call_phys=v3_5.efi_call_phys,
    efi_call_virt=efi_call_virt,
    known_bugs=(
        KnownBug(
            what="SetVirtualAddressMap still borrows slot 0 alone, and the 1:1 map has no more than that either",
            ram="1T",
            buffer=None,
            verdict="page-fault",
            source="inferred from the code; Nathan Zimmer's fix followed in January 2013",
        ),
        KnownBug(
            what="the sync goes by 512 GiB from where a range begins, and may pass over the slot where it ends",
            ram="1T",
            buffer=0x1234_5000,
            verdict="wrong-memory",
            source="inferred from the loop of sync_global_pgds; nothing is known of it as a cause of the revert",
        ),
    ),
)
