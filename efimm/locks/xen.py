"""A process's table in a paravirtualised guest of Xen: pinned while it is in use, and then written by hypercall only.

Source: arch/x86/xen/mmu.c, v3.5.  Of Xen's paravirtual page tables this is the top level only: a page in use as a
table is *pinned*, the guest maps it read-only, and writes it by hypercall.
"""

from __future__ import annotations

from ..linux.smp import Crash, this_processor
from ..linux.state import Mm
from ..trace import Trace
from ..x86 import LONG4, PageTable, PagingMode, PhysMemory
from .shared import SharedTable


class XenTable(SharedTable):
    """A top-level table in a paravirtualised guest of Xen, not pinned at first.

    `page_pinned` is the guest's note (PG_pinned in struct page), `read_only` how the guest may map the page, `pinned`
    the hypervisor's own state.  They change one after the other.
    """

    def __init__(self, memory: PhysMemory, pa: int, name: str, trace: Trace, mode: PagingMode = LONG4) -> None:
        super().__init__(memory, pa, name, trace, mode)
        self.page_pinned = self.read_only = self.pinned = False

    def fill(self, index: int, count: int, first: int, step: int) -> None:
        """xen_set_pgd: a plain store into a page that is not pinned, a hypercall for one that is.

        A plain store crashes where the page is read-only and not pinned, "so Xen won't do the trap'n'emulate" (the
        comment in xen_pin_page).  Everything else passes here, a hypercall for a page that is not pinned yet too,
        though Xen itself may refuse it while the page's type changes (its commit 89acd8b4d602).
        """
        if self._test("PagePinned"):
            self._step(f"hypercall: {self.name}[{index}]")
        else:
            self._step(f"stores into {self.name}[{index}]")
            if self.read_only and not self.pinned:
                raise Crash(f"page fault: {self.name} is read-only, and not pinned")
        PageTable.fill(self, index, count, first, step)

    def _test(self, what: str) -> bool:
        self._step(f"{what}({self.name})?")
        return self.page_pinned

    def _step(self, what: str) -> None:
        this_processor().step(what, self.name)

    def pin(self) -> None:
        """xen_pgd_pin: the note first, then the batch of hypercalls."""
        self._step(f"SetPagePinned({self.name})")
        self.page_pinned = True
        self._step(f"hypercall: {self.name} read-only")
        self.read_only = True
        self._step(f"hypercall: pin {self.name}")
        self.pinned = True

    def unpin(self) -> None:
        """xen_pgd_unpin: the note again first; the hypercalls were only queued before."""
        self._step(f"ClearPagePinned({self.name})")
        self.page_pinned = False
        self._step(f"hypercall: unpin {self.name}")
        self.pinned = False
        self._step(f"hypercall: {self.name} read-write")
        self.read_only = False


def xen_activate_mm(mm: Mm) -> None:
    """An mm comes into use (exec; fork does the same in xen_dup_mmap): its table is pinned."""
    with mm.page_table_lock:
        _xen(mm).pin()


def xen_exit_mmap(mm: Mm) -> None:
    """An mm ends: its table is unpinned.  Left out: xen_drop_mm_ref, which comes before and holds no lock."""
    with mm.page_table_lock:
        pgd = _xen(mm)
        this_processor().step(f"PagePinned({pgd.name})?", pgd.name)
        if pgd.page_pinned:
            pgd.unpin()


def _xen(mm: Mm) -> XenTable:
    assert isinstance(mm.pgd, XenTable), "only a guest of Xen pins its tables"
    return mm.pgd
