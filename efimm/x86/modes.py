"""The paging modes as data: which address bits choose an entry at each level, and which bits must be zero.

    va      a virtual (linear) address          pa      a physical address
    entry   one word of a table                 index   the entry's place in its table
    level   one step of the walk; Linux's names (pgd, p4d, pud, pmd, pte) for the SDM's PML5, PML4, PDPT, PD, PT

      63 62      52 51                        12 11  9  8  7  6  5   4   3   2  1 0
     +--+----------+----------------------------+-----+--+--+--+--+---+---+--+--+-+
     |NX| ignored  | physical address of the    | sw  |G |PS|D |A |PCD|PWT|US|RW|P|
     |  |          | next table or of the page  |     |  |  |  |  |   |   |  |  | |
     +--+----------+----------------------------+-----+--+--+--+--+---+---+--+--+-+

Source: Intel SDM, volume 3A, chapter 4 (recalled; checked in the tests against an independent MMU).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from .memory import PAGE_SHIFT, PAGE_SIZE, PHYSICAL_BITS

P, RW, US, PWT, PCD, A, D, PS, G = (1 << bit for bit in range(9))
NX = 1 << 63
ADDRESS_MASK = (1 << PHYSICAL_BITS) - PAGE_SIZE

# PSE-36: a 4 MiB page's entry carries the physical address bits 39..32 in its bits 20..13, and bit 21 must be 0.
_PSE36_SHIFT, _PSE36_FIELD, _PSE36_BITS = 32 - 13, 0x1FE000, 40


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a walk: which address bits choose the entry, and what the entry may be.

    `reserved` are the bits that must be 0 in an entry that leads to a table, besides those the mode reserves; `span` is
    how many bytes of address space one entry covers.
    """

    name: str
    shift: int
    bits: int
    may_be_large: bool = False
    reserved: int = 0
    has_rights: bool = True
    span: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "span", 1 << self.shift)

    def index(self, va: int) -> int:
        """Which entry of its table `va` uses at this level."""
        return va >> self.shift & (1 << self.bits) - 1

    def is_leaf(self, entry: int) -> bool:
        """True when `entry`, found at this level and present, maps a page and does not lead to a table."""
        return self.shift == PAGE_SHIFT or bool(self.may_be_large and entry & PS)


@dataclass(frozen=True, slots=True, eq=False)
class PagingMode:
    """A paging mode: its levels from the top, the size of an entry, and how many address bits are translated.

    `root_mask` are the bits of CR3 that point at the first table; `reserved_above` the bits from 52 on that must be 0
    in every entry (NX apart).  There is one object for each mode; modes are compared by identity.
    """

    name: str
    levels: tuple[Level, ...]
    entry_bytes: int
    va_bits: int
    root_mask: int = ADDRESS_MASK
    reserved_above: int = 0
    pse36: bool = False

    def __reduce__(self) -> str | tuple[type[PagingMode], tuple[object, ...]]:
        """How a kernel sent to another process brings its mode along: by name, so that it is that process's own."""
        names = (name for name, value in globals().items() if value is self)
        return next(names, (PagingMode, tuple(getattr(self, name) for name in self.__slots__)))

    def is_canonical(self, va: int) -> bool:
        """True when the processor can use `va` in this mode.

        With 64-bit addresses the untranslated upper bits must repeat the highest translated one; with 32-bit
        addresses there are no bits above 31.
        """
        upper = va >> self.va_bits - 1
        return upper in (0, (1 << 64 - self.va_bits + 1) - 1) if self.va_bits > 32 else upper in (0, 1)

    def page_address(self, level: Level, entry: int) -> int:
        """The physical address of the page that the leaf `entry` of `level` maps; its PAT bit is no part of it."""
        high = (entry & _PSE36_FIELD) << _PSE36_SHIFT if self.pse36 and level.shift > PAGE_SHIFT else 0
        return high | entry & ADDRESS_MASK & ~(level.span - 1)


_LONG_LEVELS = (
    Level("pgd", 39, 9, reserved=PS),
    Level("pud", 30, 9, may_be_large=True),
    Level("pmd", 21, 9, may_be_large=True),
    Level("pte", PAGE_SHIFT, 9),
)

LONG4 = PagingMode("4-level", _LONG_LEVELS, entry_bytes=8, va_bits=48)

LONG5 = PagingMode(
    "5-level",
    (Level("pgd", 48, 9, reserved=PS), Level("p4d", 39, 9, reserved=PS), *_LONG_LEVELS[1:]),
    entry_bytes=8,
    va_bits=57,
)

# The four entries of the first level are the page-directory-pointer-table entries: they carry no rights, and are
# checked when CR3 is loaded, never by a walk.
PAE = PagingMode(
    "PAE",
    (
        Level("pgd", 30, 2, has_rights=False),
        Level("pmd", 21, 9, may_be_large=True),
        Level("pte", PAGE_SHIFT, 9),
    ),
    entry_bytes=8,
    va_bits=32,
    root_mask=0xFFFF_FFE0,
    reserved_above=NX - (1 << PHYSICAL_BITS),
)

LEGACY = PagingMode(
    "legacy 32-bit",
    (Level("pgd", 22, 10, may_be_large=True), Level("pte", PAGE_SHIFT, 10)),
    entry_bytes=4,
    va_bits=32,
    root_mask=0xFFFF_F000,
    pse36=True,
)

LEGACY_4K = PagingMode(
    "legacy 32-bit without PSE",
    (Level("pgd", 22, 10), Level("pte", PAGE_SHIFT, 10)),
    entry_bytes=4,
    va_bits=32,
    root_mask=0xFFFF_F000,
)

PAGING_OFF = PagingMode("paging off", (), entry_bytes=4, va_bits=32, root_mask=0)


@lru_cache
def reserved_masks(mode: PagingMode, maxphyaddr: int, nxe: bool) -> tuple[tuple[int, int], ...]:
    """For each level, the bits that must be 0 in an entry that leads to a table, and in one that maps a page.

    `maxphyaddr` is the processor's number of physical address bits, `nxe` its EFER.NXE.
    """
    everywhere = 0
    if mode.entry_bytes == 8:
        everywhere = (1 << PHYSICAL_BITS) - (1 << maxphyaddr) | mode.reserved_above | (0 if nxe else NX)
    return tuple(
        (everywhere | level.reserved, everywhere | _between(mode, level, maxphyaddr)) if level.has_rights else (0, 0)
        for level in mode.levels
    )


def pdpte_reserved(maxphyaddr: int) -> int:
    """The bits that must be 0 in a present page-directory-pointer-table entry when PAE paging loads it."""
    return (1 << PHYSICAL_BITS) - (1 << maxphyaddr) | PAE.reserved_above | RW | US | A | D | PS | G | NX


def _between(mode: PagingMode, level: Level, maxphyaddr: int) -> int:
    """The bits of a large page's entry between its PAT bit and its address that must be 0."""
    if level.shift == PAGE_SHIFT:
        return 0
    if not mode.pse36:
        return level.span - (PAGE_SIZE << 1)
    implemented = min(max(maxphyaddr, 32), _PSE36_BITS)
    return (1 << 22) - (1 << implemented - _PSE36_SHIFT)
