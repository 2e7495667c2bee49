"""What the witness is asked: which addresses to probe, and all of it as the bytes of witness/request.h, honestly.

The addresses are not random: a wrong 1 GiB entry slipped past a thousand random probes.  Instead both ends of every
top-level slot, both sides of every place where the entries of any table stop being regular, and then a word in every
page that a single entry maps, largest pages first, as far as the limit goes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..trace import Trace
from ..uefi.memmap import EfiMemoryDescriptor, EfiMemoryType
from ..x86 import Cpu, GeneralProtection, PageFault, mapped_ranges, walk
from ..x86.memory import PAGE_SIZE
from ..x86.modes import P, PagingMode
from .handover import Handover
from .host import JudgeError
from .tables import Moment, Tables, canonical, entries, memory_of, places
from .testimony import FAULTED, FirmwareMap

MAGIC = int.from_bytes(b"EFMREQ01", "little")
_HEADER = struct.Struct("<18Q")
_PAIR, _TRIPLE = struct.Struct("<QQ"), struct.Struct("<QQQ")

# enum probe_means in witness/probe.h
BY_FAULT, BY_TAG, BY_CONTENT, BY_PRESENCE = range(4)

_T = EfiMemoryType
# Memory that is the operating system's after ExitBootServices (UEFI 2.10, 7.2, table 7.10).
FREE = {_T.EfiLoaderCode, _T.EfiLoaderData, _T.EfiBootServicesCode, _T.EfiBootServicesData, _T.EfiConventionalMemory}
# Memory with something in it that stays as it is.
_IN_USE = {_T.EfiRuntimeServicesCode, _T.EfiRuntimeServicesData, _T.EfiACPIReclaimMemory, _T.EfiACPIMemoryNVS}

Chunks = list[tuple[int, bytes]]

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


@dataclass(frozen=True)
class Question:
    """A handover with the tables that are really loaded: the same, unless somebody broke them on purpose.

    `predictions` are the model's, one for each probe, in the order of the probes.
    """

    handover: Handover
    firmware: FirmwareMap
    tables: Tables
    predictions: Sequence[Prediction]

    def pack(self) -> bytes:
        """The request file.  JudgeError where it could not be carried out, or would overwrite what firmware needs."""
        call, after = self.handover.call, self.handover.after
        chunks = joined(self.tables | _pages(self.handover))
        later = joined(_changed(after, self.tables)) if after else []
        place = self.handover.kernel_place
        for pa, data in (*chunks, *later):
            self._must_be_free(pa, len(data))
        size, step, version, pointer = call.arguments
        header = _HEADER.pack(
            MAGIC,
            *(place.va, place.pa, self._room()),
            self._highest(),
            *call.registers,
            call.cr3,
            *(pointer, size, step, version),
            *(len(chunks), len(self.predictions)),
            *(after.cr3 if after else 0, self._system_table_va()),
            len(later),
        )
        return header + _packed(chunks) + self._probes(chunks) + _packed(later)

    def meaning(self) -> str:
        """A short name for what is asked: the arguments, the array, the registers, and what the tables map.

        Where the tables lie is left out, and the probes are: the firmware's answer does not depend on them.
        """
        handover = self.handover
        digest = hashlib.sha256(handover.array)
        digest.update(repr((handover.call.arguments, handover.call.registers, handover.kernel_place)).encode())
        for moment, tables in ((handover.call, self.tables), (handover.after, None)):
            if moment is not None:
                memory = memory_of(moment.tables if tables is None else tables)
                found = mapped_ranges(memory, moment.cr3, moment.mode, maxphyaddr=handover.machine.maxphyaddr)
                digest.update("\n".join(map(str, found)).encode())
        return digest.hexdigest()[:16]

    def _room(self) -> int:
        """How many bytes the witness may take at the kernel's place: up to the first table."""
        place, call, after = self.handover.kernel_place, self.handover.call, self.handover.after
        self._must_be_mapped(call, self.tables, place.va if call.paging else place.pa, place.pa)
        if after is not None:
            self._must_be_mapped(after, after.tables, place.va, place.pa)
        self._must_be_free(place.pa, self.firmware.image_size)
        kept = (*self.tables, *(after.tables if after else ()), self.handover.array_pa)
        return min((pa for pa in kept if pa >= place.pa), default=self._highest()) - place.pa

    def _must_be_mapped(self, moment: Moment, tables: Tables, va: int, pa: int) -> None:
        """JudgeError where a table does not let the witness run at `va`."""
        memory = memory_of(tables)
        for offset in range(0, self.firmware.image_size, PAGE_SIZE):
            found = walk(memory, moment.cr3, va + offset, moment.mode)
            if found.pa != pa + offset or not (found.writable and found.executable):
                raise JudgeError(f"the kernel's own {va + offset:#x} is not mapped: nothing could call the firmware")

    def _must_be_free(self, pa: int, size: int) -> None:
        """JudgeError where real memory at [pa, pa + size) is not the operating system's."""
        while size > 0:
            region = self.firmware.region(pa)
            if region is None or region.type not in FREE:
                what = "no memory" if region is None else EfiMemoryType(region.type).name
                raise JudgeError(f"the kernel keeps a table or the array at {pa:#x}, where this firmware has {what}")
            size -= region.end - pa
            pa = region.end

    def _highest(self) -> int:
        return max(region.end for region in self.firmware.descriptors if region.type in FREE | _IN_USE)

    def _system_table_va(self) -> int:
        """Where the kernel has the real system table after the switch: in the region that the array gives for it."""
        system_table, step = self.firmware.system_table, self.handover.call.arguments[1]
        if not self.handover.switches:
            return system_table
        for at in range(0, len(self.handover.array), step):
            md = EfiMemoryDescriptor.unpack(self.handover.array[at : at + step])
            if md.runtime and md.physical_start <= system_table < md.end:
                return system_table - md.physical_start + md.virtual_start
        return 0

    def _probes(self, chunks: Chunks) -> bytes:
        taken = [(pa, pa + len(data)) for pa, data in chunks]
        rows = []
        for each in self.predictions:
            means = BY_FAULT if each.pa is None else self._means(each.pa, taken)
            rows.append(_TRIPLE.pack(each.va, each.pa or 0, means))
        return b"".join(rows)

    def _means(self, pa: int, taken: list[tuple[int, int]]) -> int:
        region = self.firmware.region(pa)
        own = self.handover.kernel_place.pa
        unreachable = not self.handover.call.paging and pa >= 1 << 32
        if region is None or unreachable or own <= pa < own + self.firmware.image_size:
            return BY_PRESENCE
        if any(start <= pa < end for start, end in taken):
            return BY_CONTENT
        if region.type in FREE:
            return BY_TAG
        return BY_CONTENT if region.type in _IN_USE else BY_PRESENCE


def joined(pages: Tables) -> Chunks:
    """Pieces of memory in ascending order, neighbours made one."""
    chunks: list[tuple[int, bytearray]] = []
    for pa, data in sorted(pages.items()):
        if chunks and chunks[-1][0] + len(chunks[-1][1]) == pa:
            chunks[-1][1].extend(data)
        else:
            chunks.append((pa, bytearray(data)))
    return [(pa, bytes(data)) for pa, data in chunks]


def _packed(chunks: Chunks) -> bytes:
    return b"".join(_PAIR.pack(pa, len(data)) + data for pa, data in chunks)


def _pages(handover: Handover) -> Tables:
    return {handover.array_pa: handover.array} if handover.array else {}


def _changed(after: Moment, tables: Tables) -> Tables:
    return {pa: data for pa, data in after.tables.items() if tables.get(pa) != data}


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
