"""What the bits of an entry, of an address and of an error code mean, in words that depend on what they hold.

Source: Intel SDM, volume 3A, chapter 4 (recalled); the error code's names are Linux's (arch/x86/mm/fault.c, 3.5).
"""

from __future__ import annotations

from ..text import size
from ..x86 import PAE, Level, PagingMode
from ..x86.memory import PAGE_SHIFT
from ..x86.modes import PCD, PWT

_PAT_SMALL, _PAT_LARGE = 1 << 7, 1 << 12


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
