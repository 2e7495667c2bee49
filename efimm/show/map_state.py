"""A machine's physical addresses, cut into areas of one kind each: what the EFI list says, and e820 where it is silent.

Where a list names one address twice, the kind that matters most for the firmware wins.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from ..linux.layout import PGDIR_SHIFT, PGDIR_SIZE
from ..uefi.memmap import E820Type, EfiMemoryType, MemoryMap

# From what matters most to what matters least.
CODE, DATA, MMIO, ACPI, RESERVED, RAM = "runtime code", "runtime data", "MMIO", "ACPI", "reserved", "RAM"
KINDS = (CODE, DATA, MMIO, ACPI, RESERVED, RAM)
NOTHING = "nothing"

_EFI = {
    EfiMemoryType.EfiRuntimeServicesCode: CODE,
    EfiMemoryType.EfiRuntimeServicesData: DATA,
    EfiMemoryType.EfiMemoryMappedIO: MMIO,
    EfiMemoryType.EfiMemoryMappedIOPortSpace: MMIO,
    EfiMemoryType.EfiACPIReclaimMemory: ACPI,
    EfiMemoryType.EfiACPIMemoryNVS: ACPI,
    EfiMemoryType.EfiLoaderCode: RAM,
    EfiMemoryType.EfiLoaderData: RAM,
    EfiMemoryType.EfiBootServicesCode: RAM,
    EfiMemoryType.EfiBootServicesData: RAM,
    EfiMemoryType.EfiConventionalMemory: RAM,
}
_E820 = {E820Type.RAM: RAM, E820Type.ACPI: ACPI, E820Type.NVS: ACPI}

Piece = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Area:
    """Addresses [start, end) of one kind."""

    start: int
    end: int
    kind: str

    @property
    def size(self) -> int:
        """How many bytes."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of 512 GiB, `first` to `last`: alike, all of one kind, when there are several."""

    first: int
    last: int
    areas: tuple[Area, ...]
    runtime: tuple[tuple[int, int], ...]

    @property
    def whole(self) -> str:
        """The kind that fills it, "nothing" for a hole; "" where there are several."""
        if not self.areas:
            return NOTHING
        only = len(self.areas) == 1 and self.areas[0].size % PGDIR_SIZE == 0
        return self.areas[0].kind if only else ""


@dataclass(frozen=True, slots=True)
class MapState:
    """What the picture of a map is made of; areas ascend and do not touch others of their kind."""

    map: MemoryMap
    areas: tuple[Area, ...]
    runtime: tuple[tuple[int, int], ...]
    blocks: tuple[Blocks, ...]

    def total(self, kind: str) -> int:
        """The bytes of all areas of a kind."""
        return sum(area.size for area in self.areas if area.kind == kind)

    def largest(self, count: int) -> list[Area]:
        """The `count` largest areas, the largest first."""
        return sorted(self.areas, key=lambda area: (-area.size, area.start))[:count]


def state_of(memory_map: MemoryMap) -> MapState:
    """The map's areas, and its blocks with equal neighbours folded."""
    areas = tuple(areas_of(memory_map))
    runtime = tuple(sorted((d.physical_start, d.end) for d in memory_map.descriptors if d.runtime and d.size))
    return MapState(memory_map, areas, runtime, tuple(_blocks(areas, runtime)))


def areas_of(memory_map: MemoryMap) -> Iterator[Area]:
    """The areas, ascending; addresses that no list mentions are in none."""
    efi = [(d.physical_start, d.end, KINDS.index(_efi_kind(d.type))) for d in memory_map.descriptors]
    e820 = [(e.start, e.end, len(KINDS) + KINDS.index(_e820_kind(e.type))) for e in memory_map.kernel_e820]
    for kind, group in groupby(_swept([*efi, *e820]), lambda piece: piece[2]):
        run = [*group]
        start = run[0][0]
        for (_, end, _), (following, _, _) in pairwise([*run, (-1, -1, "")]):
            if following != end:
                yield Area(start, end, kind)
                start = following


def _swept(ranked: list[tuple[int, int, int]]) -> Iterator[Piece]:
    """The pieces between all starts and ends that something covers; the lowest rank there gives the kind."""
    steps: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for start, end, rank in ranked:
        if start < end:
            steps[start].append((rank, 1))
            steps[end].append((rank, -1))
    active: Counter[int] = Counter()
    for low, high in pairwise(sorted(steps)):
        for rank, change in steps[low]:
            active[rank] += change
        covering = [rank for rank, count in active.items() if count]
        if covering:
            yield low, high, KINDS[min(covering) % len(KINDS)]


def _efi_kind(kind: int) -> str:
    """Types that the specification does not name are reserved here, as those that it reserves."""
    return _EFI.get(EfiMemoryType(kind), RESERVED) if kind in set(EfiMemoryType) else RESERVED


def _e820_kind(kind: int) -> str:
    return _E820.get(E820Type(kind), RESERVED) if kind in set(E820Type) else RESERVED


def _blocks(areas: tuple[Area, ...], runtime: tuple[tuple[int, int], ...]) -> Iterator[Blocks]:
    """The blocks from 0 up to the last address, neighbours that one kind fills as one."""
    busy = sorted({block for area in areas for block in _ends(area)} | {0})
    single = [_block(number, areas, runtime) for number in busy]
    filled: list[Blocks] = []
    for block in single:
        after = filled[-1].last + 1 if filled else 0
        if after < block.first:
            filled.append(replace(_block(after, areas, runtime), last=block.first - 1))
        filled.append(block)
    for (whole, _), group in groupby(filled, lambda block: (block.whole, block.whole and bool(block.runtime))):
        run = [*group]
        if whole and len(run) > 1:
            yield replace(run[0], last=run[-1].last)
        else:
            yield from run


def _ends(area: Area) -> set[int]:
    """The blocks in which an area begins and ends: between them it fills everything."""
    return {area.start >> PGDIR_SHIFT, area.end - 1 >> PGDIR_SHIFT}


def _block(number: int, areas: tuple[Area, ...], runtime: tuple[tuple[int, int], ...]) -> Blocks:
    low, high = number << PGDIR_SHIFT, number + 1 << PGDIR_SHIFT
    inside = tuple(Area(max(a.start, low), min(a.end, high), a.kind) for a in areas if a.start < high and a.end > low)
    ticks = tuple((start, end) for start, end in runtime if start < high and end > low)
    return Blocks(number, number, inside, ticks)
