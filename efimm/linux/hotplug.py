"""Memory that is added to a running kernel: arch_add_memory (arch/x86/mm/init_64.c, v3.5)."""

from __future__ import annotations

from ..x86.memory import PAGE_SHIFT
from .direct_map import init_memory_mapping
from .layout import PMD_SIZE
from .page_alloc import SECTION_SIZE, TABLE_POOL, struct_pages_size
from .state import Linux
from .vmalloc import struct_page_va, vmemmap_populate


def arch_add_memory(linux: Linux, start: int, size: int) -> None:
    """Map new RAM at [start, start + size) in the direct map, with its `struct page`s, and let the allocator have it.

    A new top-level entry reaches other tables through the kernel's `sync_global_pgds`, if it reaches them at all.
    MemoryError where the old RAM has no room for the `struct page` array, 1/64 of the new RAM.
    """
    with linux.trace.span("kernel", "arch_add_memory"):
        last_mapped_pfn = init_memory_mapping(linux, start, start + size)
        linux.max_pfn_mapped = max(linux.max_pfn_mapped, last_mapped_pfn)
        add_pages(linux, start, start + size)
        linux.max_pfn = max(linux.max_pfn, start + size >> PAGE_SHIFT)
    linux.memblock.memory = sorted([*linux.memblock.memory, (start, start + size)])


def add_pages(linux: Linux, start: int, end: int) -> None:
    """`__add_pages`: the `struct page` array of whole sections of 128 MiB, in vmemmap.

    Its memory is taken below the page allocator's pool; where Linux takes it (vmemmap_alloc_block) is not modelled.
    """
    first = start // SECTION_SIZE * SECTION_SIZE
    array = struct_pages_size(first, end)
    pa = linux.memblock.alloc(array, PMD_SIZE, end=linux.page_alloc_base - TABLE_POOL)
    vmemmap_populate(linux, [(struct_page_va(linux, first), pa, array)])
