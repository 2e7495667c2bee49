"""One walk and one access, explained: what picture, text twin and tests all read; and the twin itself.

The TLB adds to a walk nothing, the same, or something that the tables no longer say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...text import table, wrapped
from ...x86 import PAE, TlbEntry, Walk
from ...x86.cpu import FETCH, WRITE, Request
from ...x86.fields import Field, address_fields, code_fields, entry_fields, manual_name, size
from ...x86.memory import PHYSICAL_BITS
from ...x86.modes import NX, RW, US, P, pdpte_reserved, reserved_masks

_BIT_OF = {"P": P, "RW": RW, "US": US, "NX": NX}


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of the walk: its place, its value, its fields, and the bits of it that stop the access."""

    level: str
    manual: str
    index: int
    table: int
    pa: int
    raw: str
    fields: tuple[Field, ...]
    stops: int

    @property
    def name(self) -> str:
        """The entry as Linux would write it."""
        return f"{self.level}[{self.index}]"


@dataclass(frozen=True, slots=True)
class Explained:
    """A walk for an access.  `kind` says how it ends: "page", "page fault", "general protection" or "no address".

    `pa` is None for a fault; `code` is None without a page fault.  `cached` says what the TLB has to add, "" where
    there is nothing.  `served` is the address that a stale translation in the TLB gives this access, where the walk
    ends otherwise; all else tells the walk.
    """

    va: int
    mode: str
    root: int | None
    access: str
    address: tuple[Field, ...]
    rows: tuple[Row, ...]
    rights: tuple[tuple[str, str], ...]
    kind: str
    verdict: str
    reasons: tuple[str, ...]
    pa: int | None
    code: int | None
    cached: str
    served: int | None = None

    @property
    def code_fields(self) -> tuple[Field, ...]:
        """The error code bit by bit; none without a page fault."""
        return () if self.code is None else code_fields(self.code)


def explain(
    found: Walk,
    request: Request | None = None,
    *,
    maxphyaddr: int = PHYSICAL_BITS,
    cached: TlbEntry | None = None,
) -> Explained:
    """What `found` means for `request` (a supervisor's read if None), on a processor with `maxphyaddr` address bits.

    `cached` is what the TLB holds for the address.  The walk must have been made with the same `maxphyaddr` and NXE.
    """
    found = _as_loaded(found, maxphyaddr)
    asked = request or Request()
    if not found.mode.levels:  # without paging there are no user pages
        asked = asked._replace(smep=False, smap=False)
    kind, reasons = _end(found, asked)
    pa = found.pa if kind == "page" else None
    code = asked.error_code(found.problem) if kind == "page fault" else None
    verdict = _verdict(found, asked, kind, code)
    served = served_otherwise(cached, found.va, asked, pa)
    return Explained(
        va=found.va,
        mode=found.mode.name,
        root=found.root & found.mode.root_mask if found.mode.levels else None,
        access=access_words(asked),
        address=address_fields(found),
        rows=tuple(_rows(found, asked, maxphyaddr)),
        rights=_rights(found),
        kind=kind,
        verdict=verdict if served is None else _out_of_the_tlb(asked, served, verdict),
        reasons=reasons,
        pa=pa,
        code=code,
        cached=cached_words(cached, found, asked),
        served=served,
    )


def _as_loaded(found: Walk, maxphyaddr: int) -> Walk:
    """The walk as it is, but for one through a PDPTE with which the processor would never have loaded this CR3."""
    bad = found.mode is PAE and found.entries and found.entries[0] & P and found.entries[0] & pdpte_reserved(maxphyaddr)
    return found._replace(pa=None, problem="reserved bit", entries=found.entries[:1]) if bad else found


def access_words(request: Request) -> str:
    """Who wants what: "kernel write", "user fetch"."""
    return f"{'user' if request.user else 'kernel'} {request.kind}"


def _end(found: Walk, request: Request) -> tuple[str, tuple[str, ...]]:
    """How the access ends, and why."""
    if found.problem == "not canonical":
        return _not_canonical(found)
    if found.problem == "reserved bit" and found.mode is PAE and len(found.entries) == 1:
        return "general protection", ("a PDPTE with a reserved bit: the processor refuses this CR3 when it is loaded",)
    if found.problem:
        return "page fault", (f"{_name(found)}: {found.problem}",)
    denials = tuple(words for words, _ in _denials(found, request))
    return ("page fault", denials) if denials else ("page", _sum(found))


def _not_canonical(found: Walk) -> tuple[str, tuple[str, ...]]:
    if found.mode.va_bits == 32:
        return "no address", ("an address of this mode has 32 bits",)
    top = found.mode.va_bits - 1
    return "general protection", (f"bits 63..{top + 1} do not all repeat bit {top}: the address is not canonical",)


def _sum(found: Walk) -> tuple[str, ...]:
    assert found.pa is not None
    if not found.entries:
        return ("paging is off: the address goes to memory as it is",)
    offset = found.va & found.page_size - 1
    return (f"page of {size(found.page_size)} at {found.pa - offset:#x}, plus offset {offset:#x}",)


def _denials(found: Walk, request: Request) -> Iterator[tuple[str, tuple[str, int]]]:
    """Each reason why a page that is there may not be used so; and the bit, with the value that stops it."""
    if request.user and not found.user:
        yield f"user code, but US is 0 in {_where(found, US, 0)}", ("US", 0)
    if not request.user and found.user and request.kind == FETCH and request.smep:
        yield "CR4.SMEP: the kernel may not run code of a user page", ("US", 1)
    if not request.user and found.user and request.kind != FETCH and request.smap:
        yield "CR4.SMAP: the kernel may not touch a user page", ("US", 1)
    if request.kind == WRITE and not found.writable and (request.user or request.wp):
        who = "" if request.user else ", and CR0.WP holds the kernel to it"
        yield f"RW is 0 in {_where(found, RW, 0)}{who}", ("RW", 0)
    if request.kind == FETCH and not found.executable:
        yield f"NX is 1 in {_where(found, NX, 1)}", ("NX", 1)


def _verdict(found: Walk, request: Request, kind: str, code: int | None) -> str:
    """The end in one sentence."""
    access = access_words(request)
    if kind == "page":
        return f"Translated: this {access} goes to physical {found.pa:#x}."
    if kind == "page fault":
        return f"Page fault: this {access} gives error code {code:#06x}, and CR2 = {found.va:#x}."
    if kind == "no address":
        return f"No such address: in this mode, {found.va:#x} cannot be asked for."
    return "General protection fault (#GP), error code 0: no page fault, and CR2 stays as it is."


def _out_of_the_tlb(request: Request, served: int, walked: str) -> str:
    return f"Out of the TLB: this {access_words(request)} goes to physical {served:#x}. Looked up now: {walked}"


def _rows(found: Walk, request: Request, maxphyaddr: int) -> Iterator[Row]:
    nxe = request.nxe
    masks = reserved_masks(found.mode, maxphyaddr, nxe)
    digits = 2 * found.mode.entry_bytes
    denied = [bit for _, bit in _denials(found, request)] if found.pa is not None else []
    for depth, step in enumerate(found.steps):
        stops = sum(
            _BIT_OF[name]
            for name, value in denied
            if step.level.has_rights and bool(step.entry & _BIT_OF[name]) == bool(value)
        )
        if step == found.last and found.problem == "not present":
            stops = P
        if step == found.last and found.problem == "reserved bit":
            must_be_0 = masks[depth][step.level.is_leaf(step.entry)]
            stops = step.entry & (must_be_0 if step.level.has_rights else pdpte_reserved(maxphyaddr))
        yield Row(
            level=step.level.name,
            manual=manual_name(found.mode, step.level),
            index=step.index,
            table=step.table,
            pa=step.pa,
            raw=f"{step.entry:#0{digits + 2}x}",
            fields=entry_fields(found.mode, depth, step.entry, maxphyaddr=maxphyaddr, nxe=nxe),
            stops=stops,
        )


def _rights(found: Walk) -> tuple[tuple[str, str], ...]:
    """What all levels together allow; nothing where there is no translation."""
    if found.pa is None:
        return ()
    if not found.entries:
        return (("write", "yes"), ("user", "yes"), ("execute", "yes: without paging nothing is refused"))
    write = "yes: RW is 1 at every level" if found.writable else f"no: RW is 0 in {_where(found, RW, 0)}"
    user = "yes: US is 1 at every level" if found.user else f"no: US is 0 in {_where(found, US, 0)}"
    execute = "yes: NX is 0 at every level" if found.executable else f"no: NX is 1 in {_where(found, NX, 1)}"
    if found.mode.entry_bytes == 4:
        execute = "yes: this mode has no NX bit"
    return (("write", write), ("user", user), ("execute", execute))


def _where(found: Walk, bit: int, value: int) -> str:
    """The levels whose entry has `value` in `bit`, "pgd and pte"."""
    steps = [step for step in found.steps if step.level.has_rights and bool(step.entry & bit) == bool(value)]
    return " and ".join(f"{step.level.name}" for step in steps)


def _name(found: Walk) -> str:
    assert found.last is not None
    return f"{found.last.level.name}[{found.last.index}]"


def cached_words(entry: TlbEntry | None, found: Walk, request: Request) -> str:
    """What the TLB holds, and whether this access would be served from there; "" where it holds nothing."""
    if entry is None:
        return ""
    now = (found.pa, found.writable, found.user, found.executable)
    same = (entry.translate(found.va), entry.writable, entry.user, entry.executable) == now
    kept = " (global)" if entry.is_global else ""
    if same:
        return f"The TLB holds the same translation{kept}."
    goes = f"this {request.kind} goes to {entry.translate(found.va):#x}"
    use = goes if _serves(entry, request) else "this access walks again"
    return f"The TLB still holds {entry.va:#x} -> {entry.pa:#x}{kept}: {use}."


def served_otherwise(entry: TlbEntry | None, va: int, request: Request, walked: int | None) -> int | None:
    """The physical address that `entry` gives the access, if it serves it and a walk would end elsewhere, else None.

    `walked` is where the walk leads this access; None for a fault.
    """
    if entry is None or not _serves(entry, request) or entry.translate(va) == walked:
        return None
    return entry.translate(va)


def _serves(entry: TlbEntry, request: Request) -> bool:
    """Whether no walk is needed.  The first write sets D in the table, and so has to walk."""
    return request.allowed_by(entry) and (request.kind != WRITE or entry.dirty)


def describe(found: Explained) -> str:
    """An explained walk as lines: the verdict, the address, the entries, the rights, and how it ends."""
    return "\n".join(line for part in _parts(found) for line in part)


def _parts(found: Explained) -> Iterator[list[str]]:
    root = "" if found.root is None else f", first table at {found.root:#x}"
    yield wrapped(f"walk of {found.va:#x}, {found.mode}{root}")
    yield wrapped(found.verdict)
    for reason in found.reasons:
        yield wrapped(f"  {reason}")
    if found.cached:
        yield wrapped(found.cached)
    yield ["", f"address {found.va:#x}", *_fields(found.address)]
    for row in found.rows:
        yield ["", f"{row.name} ({row.manual}) at {row.pa:#x} = {row.raw}", *_fields(row.fields, row.stops)]
    if found.rights:
        yield ["", "all levels together", *table([(f"  {right}", words) for right, words in found.rights], 9)]
    if found.code is not None:
        yield ["", f"error code {found.code:#06x}", *_fields(found.code_fields)]


def _fields(fields: tuple[Field, ...], stops: int = 0) -> list[str]:
    """One field a line; a mark stands before what stops the access."""
    rows = [("> " if stops & field.mask else "  ", field) for field in fields]
    return table([(f"{mark}{field.bits}", field.name, field.shown, field.meaning) for mark, field in rows], 7, 6)
