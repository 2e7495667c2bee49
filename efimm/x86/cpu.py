"""The processor: loads, stores and fetches, rights, what the TLB remembers, and the page fault.

Looking (`walk`) is silent; an access here is an act.  It goes to the trace, it sets accessed and dirty bits in the
tables' bytes, and it raises `PageFault` with the error code that the hardware would push.  A translation that was used
is cached: it serves the next access to its page even where the tables say something else by then.
"""

from __future__ import annotations

from functools import lru_cache

from ..trace import Access, Fault, LoadCr3, TlbFlush, Trace
from .faults import GeneralProtection, PageFault
from .memory import PAGE_MASK, PAGE_SIZE, PhysMemory
from .modes import LONG4, PAE, A, D, G, P, PagingMode, pdpte_reserved
from .pagewalk import Step, Walk, read_pdptes, walk
from .registers import CR0_PG, CR0_WP, CR4_LASS, CR4_PGE, CR4_SMAP, CR4_SMEP, EFER_LMA, USUAL, Registers, check_cr3
from .rights import FETCH, READ, WRITE, Request
from .tlb import Tlb, TlbEntry


class Cpu:
    """One processor.  Its registers start as an operating system has them in `mode`.

    `cr0`, `cr3`, `cr4` and `efer` are plain numbers; `write_cr0` and so on are the instructions, with their checks
    and flushes.  `cpl` is 0 for the kernel and 3 for user code, `ac` is EFLAGS.AC, which suspends SMAP.
    """

    def __init__(self, memory: PhysMemory, trace: Trace, *, mode: PagingMode = LONG4, maxphyaddr: int = 46) -> None:
        self.memory, self.trace, self.maxphyaddr = memory, trace, maxphyaddr
        self.cr0, self.cr4, self.efer = USUAL[mode]
        self.cr2 = self.cr3 = 0
        self.cpl = 0
        self.ac = False
        self.rsp = self.rip = 0
        self.pdptes: tuple[int, ...] = ()
        self.tlb = Tlb()

    @property
    def registers(self) -> Registers:
        """CR0, CR4 and EFER as they are now."""
        return Registers(self.cr0, self.cr4, self.efer)

    @property
    def mode(self) -> PagingMode:
        """The paging mode that the registers choose."""
        return self.registers.mode

    def write_cr0(self, value: int) -> None:
        """MOV to CR0; raises GeneralProtection for a value that the processor refuses."""
        self._change(self.registers._replace(cr0=value))

    def write_cr4(self, value: int) -> None:
        """MOV to CR4: a change of PGE, PSE, PAE or LA57 forgets every translation."""
        self._change(self.registers._replace(cr4=value))

    def write_efer(self, value: int) -> None:
        """WRMSR to EFER."""
        self._change(self.registers._replace(efer=value))

    def write_cr3(self, value: int) -> None:
        """MOV to CR3: another top-level table, and every translation that is not global is forgotten.

        With PAE the four page-directory-pointer-table entries are latched here, and a bad one is a GeneralProtection.
        """
        check_cr3(value, self.mode, self.maxphyaddr)
        self.pdptes = self._latch(value, self.registers)
        old, self.cr3 = self.cr3, value
        self.tlb.flush(global_pages=False)
        self.trace.emit(LoadCr3(old, value))
        self.trace.emit(TlbFlush(global_pages=False))

    def invlpg(self, va: int) -> None:
        """Forget the translation of the page at `va`, even a global one."""
        self.tlb.invalidate(va)

    def flush_tlb_all(self) -> None:
        """Forget every translation, global ones too (`__flush_tlb_all`, arch/x86/include/asm/tlbflush.h, 3.5).

        CR4.PGE is toggled; where it is off there are no global translations, and CR3 is written again.
        """
        if not self.cr4 & CR4_PGE:
            self.write_cr3(self.cr3)
            return
        self.write_cr4(self.cr4 & ~CR4_PGE)
        self.cr4 |= CR4_PGE  # the second write flushes what is empty already

    def walk(self, va: int) -> Walk:
        """What this processor would find for `va` in the tables now; silent, and without a look into the TLB."""
        registers = self.registers
        return walk(
            self.memory,
            self.cr3,
            va,
            registers.mode,
            maxphyaddr=self.maxphyaddr,
            nxe=registers.nxe,
            pdptes=self.pdptes,
        )

    def stale(self) -> list[tuple[TlbEntry, Walk]]:
        """The cached translations that the tables would not give any more, each with what a walk finds now.

        The walk is that of the first address which the tables map otherwise, with other rights, or not at all.
        """
        return [(entry, found) for entry in self.tlb if (found := self._first_difference(entry))]

    def read(self, va: int, size: int) -> bytes:
        """The `size` bytes at virtual address `va`; raises PageFault or GeneralProtection."""
        if 0 < size <= PAGE_SIZE - (va & ~PAGE_MASK):  # in one page, as nearly always
            return self.memory.read(self._access(READ, va, size), size)
        return b"".join(self.memory.read(self._access(READ, at, part), part) for at, part in _pages(va, size))

    def read_uint(self, va: int, size: int) -> int:
        """The little-endian number of `size` bytes at `va`."""
        return int.from_bytes(self.read(va, size), "little")

    def read_u64(self, va: int) -> int:
        """The 64-bit word at `va`."""
        return self.read_uint(va, 8)

    def write(self, va: int, data: bytes) -> None:
        """Store `data` at `va`; raises PageFault or GeneralProtection, and then nothing of it is stored."""
        places = [(self._access(WRITE, at, part), part) for at, part in _pages(va, len(data))]
        for pa, part in places:
            self.memory.write(pa, data[:part])
            data = data[part:]

    def write_uint(self, va: int, value: int, size: int) -> None:
        """Store the low `size` bytes of `value` at `va`."""
        self.write(va, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def write_u64(self, va: int, value: int) -> None:
        """Store a 64-bit word at `va`."""
        self.write_uint(va, value, 8)

    def fetch(self, va: int) -> int:
        """The physical address of the instruction at `va`; raises PageFault or GeneralProtection."""
        return self._access(FETCH, va, 1)

    def _change(self, new: Registers) -> None:
        """Take new values for CR0, CR4 and EFER, with what this does to the TLB and the latched entries."""
        refusal = self.registers.refusal(new)
        if refusal:
            raise GeneralProtection(refusal)
        forgets = self.registers.forgets_all(new)
        if self.registers.loads_pdptes(new):
            self.pdptes = self._latch(self.cr3, new)
        self.cr0, self.cr4, self.efer = new.with_lma()
        if forgets:
            self.tlb.flush(global_pages=True)
            self.trace.emit(TlbFlush(global_pages=True))

    def _first_difference(self, entry: TlbEntry) -> Walk | None:
        """The walk of the first address in the page of `entry` that the tables no longer translate as it does."""
        va, end = entry.va, entry.va + entry.size
        rights = entry.writable, entry.user, entry.executable
        while va < end:
            found = self.walk(va)
            if (found.pa, found.writable, found.user, found.executable) != (entry.translate(va), *rights):
                return found
            va = (va & -found.page_size) + found.page_size  # the tables may have smaller pages by now
        return None

    def _latch(self, root: int, registers: Registers) -> tuple[int, ...]:
        """The four entries that PAE paging keeps from `root`; none in another mode."""
        if registers.mode is not PAE:
            return ()
        pdptes = read_pdptes(self.memory, root)
        must_be_zero = pdpte_reserved(self.maxphyaddr)
        for index, entry in enumerate(pdptes):
            if entry & P and entry & must_be_zero:
                raise GeneralProtection(f"CR3 = {root:#x}: PDPTE {index} = {entry:#x} has a reserved bit")
        return pdptes

    def _access(self, kind: str, va: int, size: int) -> int:
        """The physical address for an access of `size` bytes that lie in one page."""
        request = self._request(kind)
        if self.cr4 & CR4_LASS and self.efer & EFER_LMA:
            self._check_lass(request, va)
        entry = self.tlb.lookup(va)
        # A cached translation that denies the access is looked up again: no spurious fault is modelled.
        if entry is None or not request.allowed_by(entry) or (kind == WRITE and not entry.dirty):
            entry = self._translate(request, va)
        pa = entry.translate(va)
        self.trace.emit(Access(kind, va, size, pa))
        return pa

    def _check_lass(self, request: Request, va: int) -> None:
        """Linear-address-space separation: the half of the address decides, before any table is looked at.

        A supervisor's data access to the lower half is let through without SMAP, or with AC set; a fetch never is.
        """
        upper = bool(va >> 63 & 1)
        excused = request.kind != FETCH and not request.smap
        if upper == request.user and (request.user or not excused):
            raise GeneralProtection(f"LASS: a {'user' if request.user else 'supervisor'} {request.kind} at {va:#x}", va)

    def _translate(self, request: Request, va: int) -> TlbEntry:
        """Walk for an access, with all it does: accessed and dirty bits, a new TLB entry, or the fault."""
        found = self.walk(va)
        if found.problem == "not canonical":
            raise GeneralProtection(f"address {va:#x} is not canonical", va)
        steps = found.steps
        if found.pa is None or not request.allowed_by(found):
            self._set_bits(steps[:-1], A)
            self.tlb.invalidate(va)
            raise self._page_fault(found, request)
        self._set_bits(steps, A)
        writes = request.kind == WRITE
        if writes:
            self._set_bits(steps[-1:], D)
        return self._cache(found, dirty=writes or bool(found.entries and found.entries[-1] & D))

    def _cache(self, found: Walk, *, dirty: bool) -> TlbEntry:
        size = found.page_size
        is_global = bool(found.entries and found.entries[-1] & G and self.cr4 & CR4_PGE)
        rights = (found.writable, found.user, found.executable)
        assert found.pa is not None
        entry = TlbEntry(found.va & -size, size, found.pa & -size, *rights, is_global, dirty)
        if found.entries:  # without paging nothing is translated, and nothing is cached
            self.tlb.invalidate(found.va)  # what did not serve this access, in a page of any size, is replaced
            self.tlb.insert(entry)
        return entry

    def _request(self, kind: str) -> Request:
        return _request(kind, self.cpl, self.ac, self.cr0, self.cr4, self.efer)

    def _page_fault(self, found: Walk, request: Request) -> PageFault:
        self.cr2 = found.va
        fault = PageFault(found, request.kind, request.error_code(found.problem))
        self.trace.emit(
            Fault(request.kind, found.va, fault.error_code, fault.level, fault.index, fault.last.entry),
        )
        return fault

    def _set_bits(self, steps: tuple[Step, ...], bits: int) -> None:
        """Set `bits` in the bytes of the entries used; the four entries of PAE's first level have no such bits."""
        for step in steps:
            if step.level.has_rights and step.entry & bits != bits:
                size = self.mode.entry_bytes
                word = self.memory.read_word(step.pa, size) | bits
                self.memory.write(step.pa, word.to_bytes(size, "little"))


@lru_cache(maxsize=256)
def _request(kind: str, cpl: int, ac: bool, cr0: int, cr4: int, efer: int) -> Request:
    switches = cr4 if cr0 & CR0_PG else 0  # without paging there are no user pages to guard against
    smep, smap = bool(switches & CR4_SMEP), bool(switches & CR4_SMAP) and not ac
    return Request(kind, cpl == 3, bool(cr0 & CR0_WP), Registers(cr0, cr4, efer).nxe, smep, smap)


def _pages(va: int, size: int) -> list[tuple[int, int]]:
    """[va, va + size) cut at page boundaries: (address, length) pairs."""
    parts = []
    while size:
        part = min(size, PAGE_SIZE - (va & ~PAGE_MASK))
        parts.append((va, part))
        va, size = va + part, size - part
    return parts
