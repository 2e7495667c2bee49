"""The running kernel as state, and a kernel version as a small record of functions.

`Linux` holds state only; every verb is a function that takes it.  `Kernel` has one field for each function that kernel
versions disagree on: a version, a patch or a reader's own idea is `dataclasses.replace(V3_5, name=..., field=mine)`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields

from ..machines import Machine
from ..trace import Trace
from ..uefi.memmap import EfiMemoryDescriptor, MemoryMap
from ..uefi.runtime import Firmware
from ..x86 import Cpu, PageTable, PhysMemory
from .memblock import Memblock
from .pgd_list import PgdList


@dataclass(frozen=True, slots=True)
class KnownBug:
    """A failure that a kernel is known for: what it is, a machine that shows it, and who says so."""

    what: str
    ram: str
    buffer: int | None
    verdict: str
    source: str


@dataclass(frozen=True)
class Kernel:
    """One kernel: what it calls itself, where it comes from, and the functions in which it differs from others.

    order                its place in lists, by date
    setup_real_mode      what the kernel puts into the trampoline's page table at boot
    pgd_populate         how kernel top-level entries are written: (linux, first index, physical address of the first
                         lower table, how many entries; their tables are pages in a row)
    sync_global_pgds     how a new kernel top-level entry reaches other tables: (linux, first va, last va)
    efi_call_phys        the seam around the call before the switch: prepare, `yield`, undo
    memmap_pointer       the number handed to SetVirtualAddressMap for the array at kernel address `new_memmap`
    """

    name: str
    order: int
    title: str
    source: str
    setup_real_mode: Callable[[Linux], None]
    pgd_populate: Callable[[Linux, int, int, int], None]
    sync_global_pgds: Callable[[Linux, int, int], None]
    efi_call_phys: Callable[[Linux], AbstractContextManager[None]]
    memmap_pointer: Callable[[Linux, int], int]
    known_bugs: tuple[KnownBug, ...] = ()

    def differs_from(self, other: Kernel) -> list[str]:
        """The names of the functions in which this kernel is not the same as `other`."""
        verbs = [f.name for f in fields(self) if callable(getattr(self, f.name))]
        return [name for name in verbs if getattr(self, name) is not getattr(other, name)]


@dataclass
class Linux:
    """A booted kernel on a machine: its memory, tables, lists and numbers.  Addresses are physical unless named va."""

    machine: Machine
    kernel: Kernel
    memory: PhysMemory
    cpu: Cpu
    trace: Trace
    firmware: Firmware
    memblock: Memblock
    swapper_pg_dir: PageTable
    trampoline_pgd: PageTable
    pgd_list: PgdList
    memmap: list[EfiMemoryDescriptor]
    max_pfn: int = 0
    max_low_pfn: int = 0
    max_pfn_mapped: int = 0
    max_low_pfn_mapped: int = 0
    after_bootmem: bool = False
    page_alloc_base: int = 0
    page_alloc_next: int = 0
    vmalloc_next: int = 0
    new_memmap: int = 0
    memmap_count: int = 0
    pointer: int = 0
    call_cr3: int = 0
    efi_systab: int | None = None

    @property
    def map(self) -> MemoryMap:
        """The memory map of the machine."""
        return self.machine.map
