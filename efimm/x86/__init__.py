"""The processor: physical memory, page tables, and the accesses that they allow."""

from .cpu import Cpu, Tlb, TlbEntry
from .faults import GeneralProtection, PageFault
from .memory import PhysMemory
from .modes import LEGACY, LEGACY_4K, LONG4, LONG5, PAE, PAGING_OFF, Level, PagingMode
from .pagewalk import Step, Walk, walk
from .paging import Entry, PageTable
from .ranges import MappedRange, mapped_ranges
from .tablefile import load_tables

__all__ = [
    "LEGACY",
    "LEGACY_4K",
    "LONG4",
    "LONG5",
    "PAE",
    "PAGING_OFF",
    "Cpu",
    "Entry",
    "GeneralProtection",
    "Level",
    "MappedRange",
    "PageFault",
    "PageTable",
    "PagingMode",
    "PhysMemory",
    "Step",
    "Tlb",
    "TlbEntry",
    "Walk",
    "load_tables",
    "mapped_ranges",
    "walk",
]
