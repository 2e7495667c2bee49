"""What the witness is asked, as the bytes of witness/request.h, and the checks that the question is an honest one."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ..uefi.memmap import EfiMemoryDescriptor, EfiMemoryType
from ..x86 import mapped_ranges, walk
from ..x86.memory import PAGE_SIZE
from .firmware_map import FirmwareMap
from .handover import Handover, Moment
from .host import JudgeError
from .probes import Prediction
from .tables import Tables, memory_of

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
