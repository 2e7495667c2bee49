"""The processor: physical memory, page tables, and the accesses that they allow."""

from .cpu import Cpu, GeneralProtection, PageFault
from .memory import PhysMemory
from .paging import LONG4, Entry, Level, PageTable, PagingMode, Step, Walk, walk

__all__ = [
    "LONG4",
    "Cpu",
    "Entry",
    "GeneralProtection",
    "Level",
    "PageFault",
    "PageTable",
    "PagingMode",
    "PhysMemory",
    "Step",
    "Walk",
    "walk",
]
