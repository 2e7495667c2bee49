"""The processor: control registers, loads, stores and fetches, rights, and the page fault.

Looking (`walk`) is silent; an access here is an act.  It goes to the trace, it sets accessed and dirty bits in the
tables' bytes, and it raises `PageFault` with the error code that the hardware would push.  Translations are not
cached: a TLB flush is recorded as the act that it is, and no stale translation survives without one.
"""

from __future__ import annotations

from ..trace import Access, Fault, LoadCr3, TlbFlush, Trace
from .memory import PAGE_MASK, PAGE_SIZE, PhysMemory
from .paging import LONG4, A, D, PagingMode, Walk, walk

CR0_PE, CR0_WP, CR0_PG = 1 << 0, 1 << 16, 1 << 31
CR4_PAE, CR4_PGE = 1 << 5, 1 << 7
EFER_LME, EFER_LMA, EFER_NXE = 1 << 8, 1 << 10, 1 << 11

# Error code of a page fault (SDM 3A, 4.7; Linux calls them PF_PROT, PF_WRITE, PF_USER, PF_RSVD, PF_INSTR).
PF_PROT, PF_WRITE, PF_USER, PF_RSVD, PF_INSTR = 1, 2, 4, 8, 16

READ, WRITE, FETCH = "read", "write", "fetch"


class PageFault(Exception):
    """The processor's #PF: `cr2`, `error_code`, and the `walk` that ended without translation or without the right."""

    def __init__(self, found: Walk, kind: str, error_code: int) -> None:
        super().__init__(found, kind, error_code)
        self.walk, self.kind, self.error_code = found, kind, error_code

    @property
    def cr2(self) -> int:
        """The linear address that could not be accessed."""
        return self.walk.va

    @property
    def level(self) -> str:
        """The level of the entry at which the walk ended: "pgd", "pud", "pmd" or "pte"."""
        return self.walk.steps[-1].level.name

    @property
    def index(self) -> int:
        """The index of that entry in its table."""
        return self.walk.steps[-1].index

    def __str__(self) -> str:
        reason = self.walk.problem or f"does not allow the {self.kind}"
        return f"page fault at {self.cr2:#x}: {self.level}[{self.index}] {reason} (error code {self.error_code:#x})"


class GeneralProtection(Exception):
    """The processor's #GP for an address that is not canonical: such an access never becomes a page fault."""

    def __init__(self, va: int) -> None:
        super().__init__(va)
        self.va = va

    def __str__(self) -> str:
        return f"general protection fault: address {self.va:#x} is not canonical"


class Cpu:
    """One processor in long mode.  Registers are plain numbers; `cpl` is 0 for the kernel and 3 for user code."""

    def __init__(self, memory: PhysMemory, trace: Trace, *, mode: PagingMode = LONG4, maxphyaddr: int = 46) -> None:
        self.memory, self.trace, self.mode, self.maxphyaddr = memory, trace, mode, maxphyaddr
        self.cr0 = CR0_PE | CR0_WP | CR0_PG
        self.cr2 = 0
        self.cr3 = 0
        self.cr4 = CR4_PAE | CR4_PGE
        self.efer = EFER_LME | EFER_LMA | EFER_NXE
        self.cpl = 0
        self.rsp = 0
        self.rip = 0

    def write_cr3(self, value: int) -> None:
        """Load CR3: another top-level table, and every translation that is not global is forgotten."""
        old, self.cr3 = self.cr3, value
        self.trace.emit(LoadCr3(old, value))
        self.trace.emit(TlbFlush(global_pages=False))

    def flush_tlb_all(self) -> None:
        """Forget every translation, global ones too, by toggling CR4.PGE (arch/x86/include/asm/tlbflush.h, 3.5)."""
        self.cr4 &= ~CR4_PGE
        self.cr4 |= CR4_PGE
        self.trace.emit(TlbFlush(global_pages=True))

    def walk(self, va: int) -> Walk:
        """What this processor would find for `va` now; silent."""
        return walk(self.memory, self.cr3, va, self.mode, maxphyaddr=self.maxphyaddr, nxe=bool(self.efer & EFER_NXE))

    def read(self, va: int, size: int) -> bytes:
        """The `size` bytes at virtual address `va`; raises PageFault or GeneralProtection."""
        return b"".join(self.memory.read(self._access(READ, at, part), part) for at, part in _pages(va, size))

    def read_u64(self, va: int) -> int:
        """The 64-bit word at `va`."""
        return int.from_bytes(self.read(va, 8), "little")

    def write(self, va: int, data: bytes) -> None:
        """Store `data` at `va`; raises PageFault or GeneralProtection, and then nothing of it is stored."""
        places = [(self._access(WRITE, at, part), part) for at, part in _pages(va, len(data))]
        for pa, part in places:
            self.memory.write(pa, data[:part])
            data = data[part:]

    def write_u64(self, va: int, value: int) -> None:
        """Store a 64-bit word at `va`."""
        self.write(va, value.to_bytes(8, "little"))

    def fetch(self, va: int) -> int:
        """The physical address of the instruction at `va`; raises PageFault or GeneralProtection."""
        return self._access(FETCH, va, 1)

    def _access(self, kind: str, va: int, size: int) -> int:
        found = self.walk(va)
        if not found.steps:
            raise GeneralProtection(va)
        if found.pa is None or self._forbidden(found, kind):
            raise self._page_fault(found, kind)
        self._mark_used(found, kind)
        self.trace.emit(Access(kind, va, size, found.pa))
        return found.pa

    def _forbidden(self, found: Walk, kind: str) -> bool:
        user = self.cpl == 3
        if user and not found.user:
            return True
        if kind == WRITE:
            return not found.writable and bool(user or self.cr0 & CR0_WP)
        return kind == FETCH and not found.executable

    def _page_fault(self, found: Walk, kind: str) -> PageFault:
        code = PF_PROT if found.problem != "not present" else 0
        code |= PF_RSVD if found.problem == "reserved bit" else 0
        code |= PF_WRITE if kind == WRITE else 0
        code |= PF_USER if self.cpl == 3 else 0
        code |= PF_INSTR if kind == FETCH and self.efer & EFER_NXE else 0
        self.cr2 = found.va
        last = found.steps[-1]
        self.trace.emit(Fault(kind, found.va, code, last.level.name, last.index, last.entry))
        return PageFault(found, kind, code)

    def _mark_used(self, found: Walk, kind: str) -> None:
        """Set the accessed bit of every entry used, and the leaf's dirty bit on a write, in the tables' bytes."""
        leaf = found.steps[-1]
        for step in found.steps:
            wanted = step.entry | A | (D if kind == WRITE and step is leaf else 0)
            if wanted != step.entry:
                self.memory.write_u64(step.table + 8 * step.index, wanted)


def _pages(va: int, size: int) -> list[tuple[int, int]]:
    """[va, va + size) cut at page boundaries: (address, length) pairs."""
    parts = []
    while size:
        part = min(size, PAGE_SIZE - (va & ~PAGE_MASK))
        parts.append((va, part))
        va, size = va + part, size - part
    return parts
