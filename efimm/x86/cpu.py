"""The processor: loads, stores and fetches, rights, control registers, the TLB, and the page fault.

Looking (`walk`) is silent; an access here is an act.  It goes to the trace, it sets accessed and dirty bits in the
tables' bytes, and it raises `PageFault` with the error code that the hardware would push.  A translation that was used
is cached: it serves the next access to its page even where the tables say something else by then.

Source: Intel SDM, volume 3A, sections 2.5 and 4.1 (control registers), 4.6 and 4.7 (rights, error codes), 4.10 (TLB);
recalled.  A real TLB may forget any entry at any time; this one never does by itself, so that what *may* happen on a
machine surely happens here.  Not modelled: paging-structure caches and PCIDs.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

from ..trace import Access, Fault, LoadCr3, TlbFlush, Trace
from .faults import GeneralProtection, PageFault
from .memory import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, PhysMemory
from .modes import LEGACY, LEGACY_4K, LONG4, LONG5, PAE, PAGING_OFF, A, D, G, P, PagingMode, pdpte_reserved
from .pagewalk import Step, Walk, read_pdptes, walk

READ, WRITE, FETCH = "read", "write", "fetch"

# The bits of a page fault's error code; Linux's names.
PF_PROT, PF_WRITE, PF_USER, PF_RSVD, PF_INSTR = 1, 2, 4, 8, 16


class Rights(Protocol):
    """What all levels of a translation allow together: a walk and a cached translation both say it."""

    @property
    def writable(self) -> bool:
        """RW at every level."""

    @property
    def user(self) -> bool:
        """US at every level."""

    @property
    def executable(self) -> bool:
        """NX at no level."""


class Request(NamedTuple):
    """One access: its kind, who asks (`user`: CPL 3), and the processor's switches that bear on it.

    `smap` is CR4.SMAP while EFLAGS.AC does not suspend it.
    """

    kind: str = READ
    user: bool = False
    wp: bool = True
    nxe: bool = True
    smep: bool = False
    smap: bool = False

    def allowed_by(self, rights: Rights) -> bool:
        """True when the access may go on."""
        if self.user and not rights.user:
            return False
        if not self.user and rights.user and (self.smep if self.kind == FETCH else self.smap):
            return False
        if self.kind == WRITE:
            return rights.writable or not (self.user or self.wp)
        return self.kind == READ or rights.executable

    def error_code(self, problem: str) -> int:
        """The error code when a walk ended with `problem`, or without one and the access is not allowed."""
        code = PF_PROT if problem != "not present" else 0
        code |= PF_RSVD if problem == "reserved bit" else 0
        code |= PF_WRITE if self.kind == WRITE else 0
        code |= PF_USER if self.user else 0
        return code | (PF_INSTR if self.kind == FETCH and (self.nxe or self.smep) else 0)


CR0_PE, CR0_WP, CR0_NW, CR0_CD, CR0_PG = (1 << bit for bit in (0, 16, 29, 30, 31))
CR4_PSE, CR4_PAE, CR4_PGE, CR4_LA57, CR4_SMEP, CR4_SMAP = 1 << 4, 1 << 5, 1 << 7, 1 << 12, 1 << 20, 1 << 21
CR4_LASS = 1 << 27
EFER_LME, EFER_LMA, EFER_NXE = 1 << 8, 1 << 10, 1 << 11


class Registers(NamedTuple):
    """CR0, CR4 and EFER together: they choose the paging mode."""

    cr0: int
    cr4: int
    efer: int

    @property
    def mode(self) -> PagingMode:
        """The paging mode that these registers choose."""
        if not self.cr0 & CR0_PG:
            return PAGING_OFF
        if not self.cr4 & CR4_PAE:
            return LEGACY if self.cr4 & CR4_PSE else LEGACY_4K
        if not self.efer & EFER_LME:
            return PAE
        return LONG5 if self.cr4 & CR4_LA57 else LONG4

    @property
    def nxe(self) -> bool:
        """True where bit 63 of an entry means no-execute; legacy paging has no such bit."""
        return bool(self.efer & EFER_NXE and self.cr4 & CR4_PAE)

    def refusal(self, new: Registers) -> str:
        """Why the processor answers the change to `new` with #GP; "" where it does not."""
        paging = self.cr0 & new.cr0 & CR0_PG
        if new.cr0 & CR0_PG and not new.cr0 & CR0_PE:
            return "CR0.PG needs CR0.PE"
        if paging and (self.efer ^ new.efer) & EFER_LME:
            return "EFER.LME changed while CR0.PG is set"
        if new.cr0 & CR0_PG and new.efer & EFER_LME and not new.cr4 & CR4_PAE:
            return "long mode needs CR4.PAE"
        if paging and new.efer & EFER_LME and (self.cr4 ^ new.cr4) & CR4_LA57:
            return "CR4.LA57 changed in long mode"
        return ""

    def with_lma(self) -> Registers:
        """The same, with EFER.LMA as the processor sets it: long mode is active while paging is on."""
        active = self.cr0 & CR0_PG and self.efer & EFER_LME
        return Registers(self.cr0, self.cr4, self.efer | EFER_LMA if active else self.efer & ~EFER_LMA)

    def forgets_all(self, new: Registers) -> bool:
        """True when the change to `new` makes the processor forget every translation, global ones too."""
        cr4 = (self.cr4 ^ new.cr4) & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57) | new.cr4 & ~self.cr4 & CR4_SMEP
        return bool(cr4 or (self.cr0 ^ new.cr0) & CR0_PG)

    def loads_pdptes(self, new: Registers) -> bool:
        """True when the change to `new` makes the processor load PAE's four first entries again (SDM 3A, 4.4.1)."""
        cr0, cr4 = CR0_CD | CR0_NW | CR0_PG, CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP
        return bool((self.cr0 ^ new.cr0) & cr0 or (self.cr4 ^ new.cr4) & cr4)


_BASE = CR0_PE | CR0_WP
_LONG = EFER_LME | EFER_LMA | EFER_NXE

# What an operating system has in the registers in each mode.
USUAL = {
    PAGING_OFF: Registers(_BASE, 0, 0),
    LEGACY_4K: Registers(_BASE | CR0_PG, CR4_PGE, 0),
    LEGACY: Registers(_BASE | CR0_PG, CR4_PSE | CR4_PGE, 0),
    PAE: Registers(_BASE | CR0_PG, CR4_PAE | CR4_PGE, EFER_NXE),
    LONG4: Registers(_BASE | CR0_PG, CR4_PAE | CR4_PGE, _LONG),
    LONG5: Registers(_BASE | CR0_PG, CR4_PAE | CR4_PGE | CR4_LA57, _LONG),
}


def check_cr3(value: int, mode: PagingMode, maxphyaddr: int) -> None:
    """Raise GeneralProtection where the processor does not take `value` for CR3."""
    limit = maxphyaddr if mode in (LONG4, LONG5) else 32
    if not 0 <= value < 1 << limit:
        raise GeneralProtection(f"CR3 = {value:#x} has bits beyond {limit - 1}")


@dataclass(frozen=True, slots=True)
class TlbEntry:
    """One cached translation: the page at `va` of `size` bytes is at `pa`, with the rights of all levels together."""

    va: int
    size: int
    pa: int
    writable: bool
    user: bool
    executable: bool
    is_global: bool
    dirty: bool

    def translate(self, va: int) -> int:
        """The physical address of `va`, which must lie in the page."""
        return self.pa + va - self.va

    def __str__(self) -> str:
        rights = f"r{'w' if self.writable else '-'}{'x' if self.executable else '-'}{'u' if self.user else '-'}"
        return f"{self.va:#x} -> {self.pa:#x} {rights}{' global' if self.is_global else ''}"


class Tlb:
    """The cached translations of one processor, by page."""

    def __init__(self) -> None:
        self._pages: dict[int, dict[int, TlbEntry]] = {}
        self.version = 0  # another number after every change, for those who keep what they found

    def __iter__(self) -> Iterator[TlbEntry]:
        """Every cached translation, by address."""
        return iter(sorted((entry for pages in self._pages.values() for entry in pages.values()), key=lambda e: e.va))

    def __len__(self) -> int:
        return sum(map(len, self._pages.values()))

    def lookup(self, va: int) -> TlbEntry | None:
        """The cached translation that covers `va`, or None; of several, which stale tables may leave, the smallest."""
        for size in sorted(self._pages):
            if entry := self._pages[size].get(va & -size):
                return entry
        return None

    def insert(self, entry: TlbEntry) -> None:
        """Cache `entry` in place of whatever covered its first byte."""
        self.invalidate(entry.va)
        self._pages.setdefault(entry.size, {})[entry.va] = entry

    def invalidate(self, va: int) -> None:
        """Forget the translation of the page that `va` lies in, a global one too."""
        self.version += 1
        for size, pages in self._pages.items():
            pages.pop(va & -size, None)

    def copy(self) -> Tlb:
        """The same translations once more."""
        other = Tlb()
        other._pages = {size: dict(pages) for size, pages in self._pages.items()}
        return other

    def flush(self, *, global_pages: bool) -> None:
        """Forget every translation; those of global pages only when `global_pages` says so."""
        self.version += 1
        if global_pages:
            self._pages = {}
        for size, pages in self._pages.items():
            self._pages[size] = {va: entry for va, entry in pages.items() if entry.is_global}


_NOTHING = (Request(), -1, TlbEntry(0, 0, 0, False, False, False, False, False), 0)


class Cpu:
    """One processor.  Its registers start as an operating system has them in `mode`.

    `cr0`, `cr3`, `cr4` and `efer` are plain numbers; `write_cr0` and so on are the instructions, with their checks
    and flushes.  `cpl` is 0 for the kernel and 3 for user code, `ac` is EFLAGS.AC, which suspends SMAP.
    """

    def __init__(self, memory: PhysMemory, trace: Trace, *, mode: PagingMode = LONG4, maxphyaddr: int = 46) -> None:
        self.memory, self.trace, self.maxphyaddr = memory, trace, maxphyaddr
        self._emit = trace.events.append
        self.cr0, self.cr4, self.efer = USUAL[mode]
        self.cr2 = self.cr3 = 0
        self.cpl = 0
        self.ac = False
        self.rsp = self.rip = 0
        self.pdptes: tuple[int, ...] = ()
        self.tlb = Tlb()
        self._granted = _NOTHING  # the latest access and its page, what served it, and the version of the TLB then

    def copy(self, memory: PhysMemory, trace: Trace) -> Cpu:
        """A processor with the same registers and cached translations, on `memory`."""
        other = copy(self)
        other.memory, other.trace, other._emit = memory, trace, trace.events.append
        other.tlb, other._granted = self.tlb.copy(), _NOTHING
        return other

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
        self._change(Registers(value, self.cr4, self.efer))

    def write_cr4(self, value: int) -> None:
        """MOV to CR4: a change of PGE, PSE, PAE or LA57 forgets every translation."""
        self._change(Registers(self.cr0, value, self.efer))

    def write_efer(self, value: int) -> None:
        """WRMSR to EFER."""
        self._change(Registers(self.cr0, self.cr4, value))

    def write_cr3(self, value: int) -> None:
        """MOV to CR3: another top-level table, and every translation that is not global is forgotten.

        With PAE the four page-directory-pointer-table entries are latched here, and a bad one is a GeneralProtection.
        """
        check_cr3(value, self.mode, self.maxphyaddr)
        self.pdptes = self._latch(value, self.registers)
        old, self.cr3 = self.cr3, value
        self.tlb.flush(global_pages=False)
        self._emit(LoadCr3(old, value))
        self._emit(TlbFlush(global_pages=False))

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
        if size in (4, 8) and not va % size:  # a word, which lies in one page
            return self.memory.read_word(self._access(READ, va, size), size)
        return int.from_bytes(self.read(va, size), "little")

    def read_u64(self, va: int) -> int:
        """The 64-bit word at `va`."""
        return self.read_uint(va, 8) if va % 8 else self.memory.read_word(self._access(READ, va, 8), 8)

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
        refusal, loads_pdptes, taken, forgets_all = _change_to(self.registers, new)
        if refusal:
            raise GeneralProtection(refusal)
        if loads_pdptes:
            self.pdptes = self._latch(self.cr3, new)
        self.cr0, self.cr4, self.efer = taken
        if forgets_all:
            self.tlb.flush(global_pages=True)
            self._emit(TlbFlush(global_pages=True))

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
        request = _request(kind, self.cpl, self.ac, self.cr0, self.cr4, self.efer)
        if self.cr4 & CR4_LASS and self.efer & EFER_LMA:
            self._check_lass(request, va)
        asked, page, entry, version = self._granted  # mostly the same page is asked for again, in the same way
        if asked is not request or page != va >> PAGE_SHIFT or version != self.tlb.version:
            entry = self._grant(request, va)
        pa = entry.pa + va - entry.va  # `translate`, without the call: every access comes here
        self._emit(Access(kind, va, size, pa))
        return pa

    def _grant(self, request: Request, va: int) -> TlbEntry:
        """The translation that serves an access, from the TLB or by a walk."""
        entry = self.tlb.lookup(va)
        # A cached translation that denies the access is looked up again: no spurious fault is modelled.
        if entry is None or not request.allowed_by(entry) or (request.kind == WRITE and not entry.dirty):
            entry = self._translate(request, va)
        self._granted = request, va >> PAGE_SHIFT, entry, self.tlb.version
        return entry

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

    def _page_fault(self, found: Walk, request: Request) -> PageFault:
        self.cr2 = found.va
        fault = PageFault(found, request.kind, request.error_code(found.problem))
        self._emit(
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


@lru_cache(maxsize=256)
def _change_to(old: Registers, new: Registers) -> tuple[str, bool, Registers, bool]:
    """What a change of registers does; a kernel toggles CR4.PGE thousands of times."""
    return old.refusal(new), old.loads_pdptes(new), new.with_lma(), old.forgets_all(new)


def _pages(va: int, size: int) -> list[tuple[int, int]]:
    """[va, va + size) cut at page boundaries: (address, length) pairs."""
    parts = []
    while size:
        part = min(size, PAGE_SIZE - (va & ~PAGE_MASK))
        parts.append((va, part))
        va, size = va + part, size - part
    return parts
