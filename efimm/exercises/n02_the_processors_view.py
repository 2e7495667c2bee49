"""Notebook 02: rights, error codes, what the processor remembers, and the tables of real kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from random import Random

from ..machines import MAXPHYADDR, PAGE_SIZES, machine, table_files
from ..run import boot
from ..x86 import LONG4, LONG5, PagingMode, PhysMemory, Walk, load_tables, mapped_ranges, walk
from ..x86.cpu import FETCH, PF_INSTR, PF_PROT, PF_RSVD, PF_USER, PF_WRITE, READ, WRITE, Request
from ..x86.modes import NX, PS, RW, US, A, D, P
from ..x86.ranges import MappedRange
from .answers import Question
from .catalog import asks, wants
from .small_tables import FIRST_TABLE

_BITS = {
    PF_PROT: "Bit 0 (PF_PROT): was an entry missing? Then it is 0.",
    PF_WRITE: "Bit 1 (PF_WRITE) is 1 for a write, and for nothing else.",
    PF_USER: "Bit 2 (PF_USER): who asked, a program or the kernel?",
    PF_RSVD: "Bit 3 (PF_RSVD): is there a bit that must be 0, and is not?",
    PF_INSTR: "Bit 4 (PF_INSTR): was it an instruction fetch?",
}
_ENTRIES = {
    "not present": (0x1234000, "is 0"),
    "reserved bit": (0x1234000 | P | RW | US | A | D | 1 << 51, "has a bit set that must be 0"),
    "kernel": (0x1234000 | P | RW | A | D, "says: present, writable, kernel only"),
    "read-only": (0x1234000 | P | US | A, "says: present, read-only, for programs too"),
    "data": (0x1234000 | P | RW | US | A | NX, "says: present, writable, for programs too, no instructions (NX)"),
}
_READ, _WRITE, _EXECUTE, _KERNEL_WRITE = 1, 2, 4, 8


@asks("02.1")
def error_code(random: Random) -> Question:
    """The error code of an access that is refused: every code there is is as likely as any other."""
    code, cases = random.choice(sorted(_refused().items()))
    entry, request = random.choice(cases)
    who = "A program" if request.user else "The kernel"
    does = {READ: "reads from", WRITE: "writes to", FETCH: "jumps to"}[request.kind]
    text = (
        f"{who} {does} an address. The last entry of the walk {_ENTRIES[entry][1]}; the levels above allow everything. "
        f"CR4.SMEP is {int(request.smep)}, CR0.WP is 1. The access faults: with which error code?"
    )
    hints = {wrong: next(_BITS[bit] for bit in _BITS if (wrong ^ code) & bit) for wrong in range(32) if wrong != code}
    return Question(text, code, hints, given={"entry": _ENTRIES[entry][0], "request": request})


@cache
def _refused() -> dict[int, list[tuple[str, Request]]]:
    """All accesses to the pages above that are refused, by their error code."""
    codes: dict[int, list[tuple[str, Request]]] = {}
    for entry, kind, user, smep in product(_ENTRIES, (READ, WRITE, FETCH), (True, False), (True, False)):
        request, found = Request(kind, user=user, smep=smep), _walk_of(_ENTRIES[entry][0])
        if found.problem or not request.allowed_by(found):
            codes.setdefault(request.error_code(found.problem), []).append((entry, request))
    return codes


def _walk_of(*entries: int, va: int = 0) -> Walk:
    """The walk through four tables whose last entries are `entries`; those above allow everything."""
    memory, last = PhysMemory(), len(LONG4.levels) - 1
    all_entries = [P | RW | US] * (len(LONG4.levels) - len(entries)) + list(entries)
    for number, entry in enumerate(all_entries):
        next_table = FIRST_TABLE + (number + 1) * 0x1000
        memory.write_u64(FIRST_TABLE + number * 0x1000, entry if number == last else entry | next_table)
    return walk(memory, FIRST_TABLE, va, maxphyaddr=MAXPHYADDR)


@asks("02.2")
def allowed_accesses(random: Random) -> Question:
    """What a page allows, as a sum: every sum there is is as likely as any other."""
    wanted = random.choice((0, 1, 5, 8, 9, 11, 13, 15))
    while True:
        flags, wp = [_random_flags(random) for _ in LONG4.levels], random.choice((True, False))
        found = _walk_of(*flags[:-1], flags[-1] | 0x5_5000)
        if _sum_of(found, wp) == wanted:
            break
    shown = ", ".join(f"{level.name} `{entry:#x}`" for level, entry in zip(LONG4.levels, found.entries, strict=True))
    text = (
        f"A walk finds these entries: {shown}. CR0.WP is {int(wp)}. What is allowed? Add up: 1 a program may read, "
        "2 a program may write, 4 a program may run what is there, 8 the kernel may write."
    )
    hints = {wrong: _about_rights(wrong, wanted, wp) for wrong in range(16) if wrong != wanted}
    return Question(text, wanted, hints, "Every level has a say.", {"entries": found.entries, "wp": wp})


def _random_flags(random: Random) -> int:
    """Flags of an entry; each right is missing once in a while."""
    taken = sum(bit for bit in (RW, US) if random.random() < 0.85)
    return P | A | taken | (NX if random.random() < 0.15 else 0)


def _sum_of(found: Walk, wp: bool) -> int:
    asked = {
        _READ: Request(READ, user=True, wp=wp),
        _WRITE: Request(WRITE, user=True, wp=wp),
        _EXECUTE: Request(FETCH, user=True, wp=wp),
        _KERNEL_WRITE: Request(WRITE, wp=wp),
    }
    return sum(bit for bit, request in asked.items() if request.allowed_by(found))


def _about_rights(wrong: int, right: int, wp: bool) -> str:
    differ = wrong ^ right
    if differ & _READ:
        return "Programs first: US (bit 2) has to be set at every level. Then they may read."
    if differ & _WRITE:
        return "A program's write needs US and RW (bit 1) at every level, whatever WP says."
    if differ & _EXECUTE:
        return "Running needs US for a program, and NX (bit 63) at no level."
    return f"The kernel's write: with WP {int(wp)}, does it need RW at every level, or not at all?"


@asks("02.3")
def walks_for_many_reads(random: Random) -> Question:
    """How many walks a row of reads costs, from an empty TLB."""
    page_size = random.choice(list(PAGE_SIZES))
    step = random.choice((64, 1024, 4096, 3 * 4096)) << {"4K": 0, "2M": 9, "1G": 18}[page_size]
    reads = random.randint(20, 400)
    linux = boot(machine("2T", page_size=page_size), "3.5")
    first = linux.phys_to_virt(8 << 30)
    linux.cpu.flush_tlb_all()
    for number in range(reads):
        linux.cpu.read(first + number * step, 8)
    text = (
        f"The TLB is empty. The kernel reads {reads} times: first at physical 8 GiB through the direct map, "
        f"then each time `{step:#x}` bytes further on. Pages are of {page_size}. "
        "How many walks does the processor need?"
    )
    hints = {
        reads: "One walk for each read would be so if nothing were remembered, or if each read met another page.",
        1: "How far do the reads get? Count the pages that are touched.",
        reads * step >> PAGE_SIZES[page_size]: "Almost. The first and the last page count in full.",
    }
    given = {"reads": reads, "step": step, "page_size": 1 << PAGE_SIZES[page_size]}
    return Question(text, len(linux.cpu.tlb), hints, "One walk for each page, then the TLB knows it.", given)


@asks("02.4")
def index_with_five_levels(random: Random) -> Question:
    """An index of an address in 5-level paging."""
    va, level = random.randrange(1 << 56), random.choice(LONG5.levels[:3])
    levels = ", ".join(each.name for each in LONG5.levels)
    text = f"A machine runs with five levels ({levels}). Which entry of the {level.name} does `{va:#x}` use?"
    hints = {
        other.index(va): f"That is the index of the {other.name}. The pgd has bits 56 to 48, the p4d bits 47 to 39."
        for other in LONG5.levels
        if other is not level
    }
    return Question(text, level.index(va), hints, given={"va": va, "level": level.name})


@asks("02.5")
def address_in_real_tables(random: Random) -> Question:
    """Where an address lies according to the tables of a real kernel, in one of three paging modes."""
    name, (memory, roots, mode) = random.choice(sorted(_real_tables().items()))
    root_name = random.choice([name for name in sorted(roots) if name != "live_cr3"])
    part = random.choice(_ranges(name, root_name))
    va = random.randrange(part.va, part.end)
    found = walk(memory, roots[root_name], va, mode)
    assert found.pa is not None
    text = (
        f"`memory, roots, mode = load_tables(table_files()['{name}'])` are page tables of a real kernel. "
        f"To which physical address does `{root_name}` lead `{va:#x}`?"
    )
    hints = {
        va: "That would be an identity map. Ask `walk(memory, roots[...], va, mode)`.",
        found.pa & -4096: "That is the page. Add the offset.",
    }
    why = f"Paging is {mode.name}; entries on the way: {len(found.entries)}."
    return Question(text, found.pa, hints, why, {"tables": name, "root": root_name, "va": va})


@cache
def _real_tables() -> dict[str, tuple[PhysMemory, dict[str, int], PagingMode]]:
    return {name: load_tables(path) for name, path in table_files().items()}


@cache
def _ranges(name: str, root_name: str) -> list[MappedRange]:
    """What a table maps, in pieces of more than a few pages, so that no two draws meet by chance."""
    memory, roots, mode = _real_tables()[name]
    return [found for found in mapped_ranges(memory, roots[root_name], mode) if found.size > 1 << 14]


@wants(
    "02.6",
    "Write `rights(entries)`: from the entries of a walk with four levels or fewer (the last one maps the page) three "
    "values that are true or false: writable, user, executable.",
    why="These three are all that a TLB has to remember beside the address.",
    rounds=60,
)
def rights(random: Random, submitted: Callable[[Sequence[int]], Sequence[bool]]) -> str:
    """Try `submitted` on random entries of walks that end at a random level."""
    entries = [_random_flags(random) | random.randrange(1, 1 << 20) << 12 for _ in range(random.choice((2, 3, 4)))]
    if len(entries) < len(LONG4.levels):
        entries[-1] |= PS
    found = Walk(0, None, "", LONG4, FIRST_TABLE, tuple(entries))
    expected = found.writable, found.user, found.executable
    answer = tuple(bool(value) for value in submitted(list(entries)))
    if answer == expected:
        return ""
    shown = ", ".join(f"{entry:#x}" for entry in entries)
    return f"rights([{shown}]) gave {answer}, and the processor says {expected}."
