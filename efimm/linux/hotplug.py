"""Memory that is added to a running kernel: arch_add_memory (arch/x86/mm/init_64.c, v3.5)."""

from __future__ import annotations

from ..x86.memory import PAGE_SHIFT
from .direct_map import init_memory_mapping
from .state import Linux


def arch_add_memory(linux: Linux, start: int, size: int) -> None:
    """Map new RAM at [start, start + size) in the direct map, and let the allocator have it.

    A new top-level entry reaches other tables through the kernel's `sync_global_pgds`, if it reaches them at all.
    """
    with linux.trace.span("kernel", "arch_add_memory"):
        last_mapped_pfn = init_memory_mapping(linux, start, start + size)
        linux.max_pfn_mapped = max(linux.max_pfn_mapped, last_mapped_pfn)
        linux.max_pfn = max(linux.max_pfn, start + size >> PAGE_SHIFT)
    linux.memblock.memory = sorted([*linux.memblock.memory, (start, start + size)])
