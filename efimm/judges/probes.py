"""Which addresses the processor is asked about, and what the model says it will find there.

Not at random: a wrong 1 GiB entry slipped past a thousand random probes.  Instead both ends of every top-level slot,
both sides of every place where the entries of any table stop being regular, and then a word in every page that a
single entry maps, largest pages first, as far as the limit goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..trace import Trace
from ..x86 import Cpu, GeneralProtection, PageFault
from ..x86.modes import P, PagingMode
from .handover import Moment
from .tables import Tables, canonical, entries, memory_of, places
from .testimony import FAULTED

MOST_PROBES = 6_000
WORD = 8
_GENERAL_PROTECTION, _PAGE_FAULT = 13, 14


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model's processor finds at `va`: its physical address, None where there is no translation.

    `read`, `write` and `fetch` are 0 where the access works, else the exception as the witness numbers it.
    """

    va: int
    pa: int | None
    read: int
    write: int
    fetch: int


def addresses(tables: Tables, root: int, mode: PagingMode, most: int = MOST_PROBES) -> list[int]:
    """The virtual addresses to probe, ascending: at most `most`, all aligned to 8 bytes."""
    chosen = set(_slot_ends(mode))
    by_size: dict[int, list[int]] = {}
    for place in places(tables, root, mode):
        level = mode.levels[place.depth]
        found = entries(tables, place.pa, place.depth, mode)
        for first, last in _regular_runs(found, level.span):
            chosen |= {place.va + first * level.span, place.va + (last + 1) * level.span - WORD}
        inside = by_size.setdefault(level.span, [])
        inside += [
            place.va + index * level.span + _somewhere_in(level.span, place.va, index)
            for index, entry in enumerate(found)
            if entry & P and level.is_leaf(entry)
        ]
    for size in sorted(by_size, reverse=True):
        chosen |= set(_thinned(by_size[size], most - len(chosen)))
    return sorted({canonical(va, mode) for va in chosen} | set(_not_canonical(mode)))


def predict(moment: Moment, maxphyaddr: int, vas: list[int]) -> list[Prediction]:
    """What the model's processor does at each address, in the tables and with the registers of `moment`."""
    cpu = Cpu(memory_of(moment.tables), Trace(), mode=moment.mode, maxphyaddr=maxphyaddr)
    cpu.cr0, cpu.cr4, cpu.efer = moment.registers
    cpu.write_cr3(moment.cr3)
    predictions = []
    for va in vas:
        found = cpu.walk(va)
        predictions.append(Prediction(va, found.pa, *(_access(cpu, kind, va) for kind in ("read", "write", "fetch"))))
        cpu.trace.events.clear()
    return predictions


def _access(cpu: Cpu, kind: str, va: int) -> int:
    """How the witness would number the outcome of this access."""
    try:
        if kind == "read":
            cpu.read(va, WORD)
        elif kind == "write":
            readable = cpu.walk(va).pa is not None
            cpu.write(va, cpu.read(va, WORD) if readable else bytes(WORD))  # the word may be part of a table
        else:
            cpu.fetch(va)
    except PageFault as fault:
        return FAULTED | _PAGE_FAULT << 8 | fault.error_code
    except GeneralProtection:
        return FAULTED | _GENERAL_PROTECTION << 8
    return 0


def _thinned(vas: list[int], most: int) -> list[int]:
    """At most `most` of `vas`, evenly spread."""
    return vas[:: max(-(-len(vas) // most), 1)] if most > 0 else []


def _slot_ends(mode: PagingMode) -> Iterator[int]:
    top = mode.levels[0]
    for index in range(1 << top.bits):
        yield index * top.span
        yield (index + 1) * top.span - WORD


def _not_canonical(mode: PagingMode) -> tuple[int, ...]:
    """The first and the last address that the processor refuses; none where addresses have 32 bits."""
    if mode.va_bits <= 32:
        return ()
    half = 1 << mode.va_bits - 1
    return half, (1 << 64) - half - WORD


def _regular_runs(table: list[int], span: int) -> Iterator[tuple[int, int]]:
    """First and last index of each stretch of entries that are all empty, or that continue one another."""
    first = 0
    for index in range(1, len(table) + 1):
        before = table[index - 1]
        expected = before + span if before & P else before
        if index == len(table) or table[index] != expected:
            yield first, index - 1
            first = index


def _somewhere_in(span: int, base: int, index: int) -> int:
    """A place in a page, another one for each entry: the same low bits everywhere would hide a shift by less."""
    return (base // span + index) * 0x9E37_79B9_7F4A_7C15 % span // WORD * WORD
