"""An address, an entry, an error code cut into fields: every bit belongs to exactly one, with its name and its meaning.

Source: Intel SDM, volume 3A, chapter 4, the tables of each paging structure's format, and 4.7 for the error code
(recalled); the error code's names are Linux's (arch/x86/mm/fault.c, 3.5).  Which bits must be 0 is told by
`efimm.x86.modes`; the tests hold both against each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .memory import PAGE_SHIFT, PHYSICAL_BITS
from .modes import PAE, PCD, PWT, Level, P, PagingMode
from .pagewalk import Walk

_PAT_SMALL, _PAT_LARGE = 1 << 7, 1 << 12
FLAG, ADDRESS, INDEX, UNREACHED = "flag", "address", "index", "unreached"
SOFTWARE, IGNORED, RESERVED = "software", "ignored", "reserved"
_PSE36_TOP = 40
_Layout = Iterator[tuple[int, int, str, str]]


def size(count: int) -> str:
    """A size in the largest whole unit, as the kernel writes it: 4K, 2M, 1G, 512G."""
    for unit, shift in (("T", 40), ("G", 30), ("M", 20), ("K", 10)):
        if count and count % (1 << shift) == 0:
            return f"{count >> shift}{unit}"
    return str(count)


@dataclass(frozen=True, slots=True)
class Field:
    """The bits `high` to `low` of a word: their name, their kind, what they hold, and what that means.

    `value` is the number in the bits, shifted down; for an address, the address itself.
    """

    high: int
    low: int
    name: str
    kind: str
    value: int
    meaning: str

    @property
    def bits(self) -> str:
        """The bit numbers: "7", "51..12"."""
        return f"{self.high}" if self.high == self.low else f"{self.high}..{self.low}"

    @property
    def mask(self) -> int:
        """The field's bits as a mask."""
        return (1 << self.high + 1) - (1 << self.low)

    @property
    def shown(self) -> str:
        """The value as people write it: an index in decimal, up to three bits in binary, more in hex."""
        width = self.high - self.low + 1
        if self.kind in (INDEX, UNREACHED):
            return str(self.value)
        return f"{self.value:#x}" if self.kind == ADDRESS or width > 3 else f"{self.value:0{width}b}"

    @property
    def line(self) -> str:
        """The field in one sentence."""
        many = "bit" if self.high == self.low else "bits"
        return f"{many} {self.bits}, {self.name} = {self.shown}: {self.meaning}"


def entry_fields(
    mode: PagingMode, depth: int, entry: int, *, maxphyaddr: int = PHYSICAL_BITS, nxe: bool = True
) -> tuple[Field, ...]:
    """All bits of `entry`, met at level number `depth` of `mode`, from the highest field to the lowest."""
    level = mode.levels[depth]
    layout = _layout(mode, level, entry, maxphyaddr, nxe)
    fields = [_entry_field(level, entry, *row) for row in layout]
    return tuple(sorted(fields, key=lambda field: -field.low))


def _entry_field(level: Level, entry: int, high: int, low: int, name: str, kind: str) -> Field:
    value = entry >> low & (1 << high - low + 1) - 1
    if kind == ADDRESS:
        value <<= 32 if name == "high" else low  # PSE-36 keeps the address bits from 32 up in low bits
    return Field(high, low, name, kind, value, entry_words(level, entry, name, kind, value))


def _layout(mode: PagingMode, level: Level, entry: int, maxphyaddr: int, nxe: bool) -> _Layout:
    """(high, low, name, kind) of each field."""
    top = 8 * mode.entry_bytes - 1
    yield 0, 0, "P", FLAG
    if not entry & P:
        yield top, 1, "ign", IGNORED
    elif not level.has_rights:
        yield from _pdpte(maxphyaddr)
    else:
        leaf = level.is_leaf(entry)
        yield from _flags(level, leaf)
        if mode.entry_bytes == 4:
            yield from _address_32(level, leaf, maxphyaddr)
        else:
            yield from _address_64(level, leaf, maxphyaddr)
            yield from _upper(mode, leaf, nxe)


def _pdpte(maxphyaddr: int) -> _Layout:
    """PAE's page-directory-pointer-table entry: an address, the memory type, and little else."""
    yield 2, 1, "rsvd", RESERVED
    yield 3, 3, "PWT", FLAG
    yield 4, 4, "PCD", FLAG
    yield 8, 5, "rsvd", RESERVED
    yield 11, 9, "sw", SOFTWARE
    yield maxphyaddr - 1, PAGE_SHIFT, "table", ADDRESS
    yield 63, maxphyaddr, "rsvd", RESERVED


def _flags(level: Level, leaf: bool) -> _Layout:
    """Bits 1 to 11; bit 7 is PS, PAT, a bit that must be 0, or (where there are no large pages at all) ignored."""
    for bit, name in enumerate(("RW", "US", "PWT", "PCD", "A"), 1):
        yield bit, bit, name, FLAG
    yield (6, 6, "D", FLAG) if leaf else (6, 6, "ign", IGNORED)
    if level.shift == PAGE_SHIFT:
        yield 7, 7, "PAT", FLAG
    elif level.may_be_large:
        yield 7, 7, "PS", FLAG
    else:
        yield (7, 7, "PS", RESERVED) if level.reserved else (7, 7, "ign", IGNORED)
    yield (8, 8, "G", FLAG) if leaf else (8, 8, "ign", IGNORED)
    yield 11, 9, "sw", SOFTWARE


def _address_32(level: Level, leaf: bool, maxphyaddr: int) -> _Layout:
    """Bits 12 to 31 of a 4-byte entry."""
    if not leaf or level.shift == PAGE_SHIFT:
        yield 31, PAGE_SHIFT, "page" if leaf else "table", ADDRESS
        return
    yield 12, 12, "PAT", FLAG
    first_reserved = 13 + min(max(maxphyaddr, 32), _PSE36_TOP) - 32
    if first_reserved > 13:
        yield first_reserved - 1, 13, "high", ADDRESS
    yield 21, first_reserved, "rsvd", RESERVED
    yield 31, level.shift, "page", ADDRESS


def _address_64(level: Level, leaf: bool, maxphyaddr: int) -> _Layout:
    """Bits 12 to 51 of an 8-byte entry."""
    if leaf and level.shift > PAGE_SHIFT:
        yield 12, 12, "PAT", FLAG
        yield level.shift - 1, 13, "rsvd", RESERVED
    yield maxphyaddr - 1, level.shift if leaf else PAGE_SHIFT, "page" if leaf else "table", ADDRESS
    if maxphyaddr < PHYSICAL_BITS:
        yield PHYSICAL_BITS - 1, maxphyaddr, "rsvd", RESERVED


def _upper(mode: PagingMode, leaf: bool, nxe: bool) -> _Layout:
    """Bits 52 to 63 of an 8-byte entry."""
    if mode is PAE:
        yield 62, PHYSICAL_BITS, "rsvd", RESERVED
    elif leaf:
        yield 58, PHYSICAL_BITS, "ign", IGNORED
        yield 62, 59, "key", SOFTWARE
    else:
        yield 62, PHYSICAL_BITS, "ign", IGNORED
    yield 63, 63, "NX", FLAG if nxe else RESERVED


def address_fields(found: Walk) -> tuple[Field, ...]:
    """The walked address: the bits that must repeat, one index for each level, and the offset in the page.

    Below the entry that maps a large page, all bits belong to the offset.
    """
    mode, va = found.mode, found.va
    rows = [(level.shift + level.bits - 1, level.shift, level.name) for level in mode.levels]
    used = len(found.entries)
    if used and found.entries[-1] & P and mode.levels[used - 1].is_leaf(found.entries[-1]):
        rows = rows[:used]
    last = rows[-1][1] if rows else 0
    fields = [_index(va, *row, walked=number < used) for number, row in enumerate(rows)]
    if mode.va_bits > 32 or va >> 32:
        name = "sign" if mode.va_bits > 32 else "none"
        fields.insert(
            0, _address_part(found, 63, mode.va_bits, name, RESERVED if found.problem == "not canonical" else IGNORED)
        )
    offset = (last or mode.va_bits) - 1
    return (*fields, _address_part(found, offset, 0, "offset" if rows else "address", ADDRESS))


def _index(va: int, high: int, low: int, name: str, *, walked: bool) -> Field:
    value = va >> low & (1 << high - low + 1) - 1
    return Field(high, low, name, INDEX if walked else UNREACHED, value, index_words(name, value, walked=walked))


def _address_part(found: Walk, high: int, low: int, name: str, kind: str) -> Field:
    value = found.va >> low & (1 << high - low + 1) - 1
    return Field(high, low, name, kind, value, address_words(found.mode, name))


def code_fields(code: int) -> tuple[Field, ...]:
    """A page fault's error code, bit by bit."""
    rows = ((31, 5, "rest"), (4, 4, "INSTR"), (3, 3, "RSVD"), (2, 2, "USER"), (1, 1, "WRITE"), (0, 0, "PROT"))
    fields = []
    for high, low, name in rows:
        value = code >> low & (1 << high - low + 1) - 1
        kind = FLAG if name != "rest" else IGNORED
        fields.append(Field(high, low, name, kind, value, code_words(name, value)))
    return tuple(fields)


# what they mean, in words that depend on what they hold


def manual_name(mode: PagingMode, level: Level) -> str:
    """What Intel's manual calls an entry of this level: PML5E, PML4E, PDPTE, PDE or PTE."""
    if mode is PAE or mode.entry_bytes == 4:
        return {30: "PDPTE", 21: "PDE", 22: "PDE", PAGE_SHIFT: "PTE"}[level.shift]
    return {48: "PML5E", 39: "PML4E", 30: "PDPTE", 21: "PDE", PAGE_SHIFT: "PTE"}[level.shift]


def entry_words(level: Level, entry: int, name: str, kind: str, value: int) -> str:
    """The meaning of one field of `entry`, in a phrase."""
    if kind == "reserved":
        return _reserved(level, name, value)
    if kind == "address":
        return _address(level, name, value)
    if name == "ign":
        return _ignored(entry)
    if name in ("PWT", "PCD", "PAT"):
        return _memory_type(level, entry)
    if name == "PS":
        return f"page size: this entry maps a page of {size(level.span)}" if value else "it leads to a table"
    return _FLAG_WORDS[name][min(value, 1)]


_FLAG_WORDS = {
    "P": ("not present: the walk ends here", "present: the processor uses this entry"),
    "RW": ("no writes through this entry", "writes may pass, if every level says so"),
    "US": ("supervisor only: user code is refused", "user code may pass, if every level says so"),
    "A": ("not used yet; the first use sets it", "accessed: the processor has used this entry"),
    "D": ("clean: the first write sets it", "dirty: the page was written to"),
    "G": (
        "not global: a load of CR3 takes it out of the TLB",
        "global: it stays in the TLB when CR3 is loaded, if CR4.PGE is set",
    ),
    "NX": ("fetching instructions is not forbidden here", "no execute: fetching instructions is refused"),
    "sw": ("for software: the processor ignores them",) * 2,
    "key": ("protection key: ignored without CR4.PKE and CR4.PKS, as in this model",) * 2,
}


def _reserved(level: Level, name: str, value: int) -> str:
    if name == "NX":
        return "must be 0 while EFER.NXE is 0" + (": a reserved bit is set" if value else "")
    why = f", for there are no pages of {size(level.span)}" if name == "PS" else ""
    return f"must be 0{why}" + (": a reserved bit is set" if value else "")


def _address(level: Level, name: str, value: int) -> str:
    if name == "high":
        return f"address bits from 32 up of the page (PSE-36): adds {value:#x}"
    what = "the next table" if name == "table" else f"the page of {size(level.span)}"
    return f"{what} is at physical {value:#x}"


def _ignored(entry: int) -> str:
    if entry & 1:
        return "ignored by the processor"
    return "ignored, since P is 0; a system may keep notes of its own here"


def _memory_type(level: Level, entry: int) -> str:
    """PAT, PCD and PWT choose one of the eight memory types in the register IA32_PAT; a table's entry has no PAT."""
    leaf = level.is_leaf(entry)
    pat = _PAT_SMALL if level.shift == PAGE_SHIFT else _PAT_LARGE
    number = (4 if leaf and entry & pat else 0) + (2 if entry & PCD else 0) + (1 if entry & PWT else 0)
    return f"memory type of the {'page' if leaf else 'table'}: IA32_PAT entry {number}"


def index_words(name: str, value: int, *, walked: bool) -> str:
    """What an index of the address does."""
    return (
        f"chooses entry {value} of the {name}" if walked else f"would choose entry {value} of the {name}: not reached"
    )


def address_words(mode: PagingMode, name: str) -> str:
    """What the other parts of an address are."""
    return {
        "sign": f"must repeat bit {mode.va_bits - 1} (canonical address)",
        "none": "there are no such bits: an address of this mode has 32",
        "offset": "the byte within the page",
        "address": "without paging, this is the physical address",
    }[name]


_CODE_WORDS = {
    "rest": ("protection keys, shadow stacks and SGX are not modelled",) * 2,
    "INSTR": ("not an instruction fetch, or neither NXE nor SMEP is on", "an instruction fetch"),
    "RSVD": ("no reserved bit was set", "a reserved bit was set in an entry"),
    "USER": ("the supervisor asked (CPL 0 to 2)", "user code asked (CPL 3)"),
    "WRITE": ("not a write", "a write"),
    "PROT": ("an entry was not present", "no entry was missing; a right was, or a bit must be 0"),
}


def code_words(name: str, value: int) -> str:
    """What a bit of the error code says."""
    return _CODE_WORDS[name][min(value, 1)]
