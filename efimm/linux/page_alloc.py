"""Where the running kernel's allocators place things, and so where the descriptor array comes to lie.

**Measured** (our boots of Linux 3.5.0 and 3.6.5 on OVMF, November 2026: one processor, no NUMA, 1.5 to 6 GiB of RAM).
GFP_KERNEL prefers the highest zone, and boot takes the top of that zone first: 8 MiB and a little, then the
`struct page` array (64 bytes a page, whole sections of 128 MiB, 2 MiB aligned).  Below it lies the array: 0x38000 bytes
into the 4 MiB block that is found by going down once more by the size of the dentry and inode hash tables.  This rule
gives the address printed in each of these boots but one: a guest of 2 GiB, whose only zone had free crumbs at its
bottom, got 0x10000.  Why the block is that one was not looked into; the rule was fitted.

**Measured on several nodes** (17 boots of 3.5.0, in docs/real-linux.md): the array's node is the one whose turn it is.
The boot task interleaves over all nodes of 16 MiB and more (numa_policy_init, mm/mempolicy.c), and krealloc moved the
array last at turn 19, counted from 0: of n nodes, to number 19 % n in Linux's order, whichever is the highest or boots.
But that is a figure of that guest: 15 without an HPET, 16 with SLUB, and by the source less with fewer descriptors.

**Assumed**: that the array comes from the *top* node: no rule of Linux's, but it shows what was reported wherever RAM
lies above 512 GiB.  Any node is possible: to try another one, give the machine a `buffer`.

**Inferred**: that larger machines follow the first rule inside a node (there it was 8 to 104 MiB below the end); that a
node has at most 64 GiB, other nodes the rest of the `struct page` array, and all of them the hash tables (`hashdist`).
"""

from __future__ import annotations

from ..machines import MachineError
from ..x86.memory import PAGE_SHIFT, PAGE_SIZE
from .smp import this_processor
from .state import Linux

NODE_BYTES = 64 << 30
LINE = 512 << 30
TAKEN_AT_THE_TOP = (8 << 20) + (64 << 10)
MAX_ORDER_BLOCK = 4 << 20
ARRAY_OFFSET = 0x38000
ARRAY_ROOM = 1 << 20
TABLE_POOL = 64 << 20
SECTION_SIZE = 128 << 20
STRUCT_PAGE_SHIFT = 6


class TablesUsedUp(MemoryError):
    """A kernel has asked for more pages for tables than any needs."""


def mem_init(linux: Linux, struct_pages: int) -> None:
    """Open the page allocator below the `struct page` array at physical address `struct_pages`."""
    ram = linux.map.ram_bytes
    hashes = large_system_hash(ram, 13) + large_system_hash(ram, 14) if ram <= NODE_BYTES else 0
    top = (struct_pages - hashes) // MAX_ORDER_BLOCK * MAX_ORDER_BLOCK + ARRAY_ROOM
    pool = linux.memblock.find_in_range(0, top, TABLE_POOL + ARRAY_ROOM, MAX_ORDER_BLOCK)
    if pool is None:
        raise MemoryError(f"no {TABLE_POOL + ARRAY_ROOM:#x} bytes of free RAM in a row for the kernel to run in")
    linux.page_alloc_base = linux.page_alloc_next = pool + TABLE_POOL
    linux.after_bootmem = True


def alloc_pages(linux: Linux, count: int) -> int:
    """`count` zeroed pages in a row; the physical address of the first.  They lie just below the array's block.

    TablesUsedUp when the 64 MiB that the model keeps for them are used up.
    """
    this_processor().step("alloc_pages", "zone->lock")
    first = linux.page_alloc_next - count * PAGE_SIZE
    if first < linux.page_alloc_base - TABLE_POOL:
        raise TablesUsedUp(f"the kernel's {TABLE_POOL >> 20} MiB for page tables are used up")
    linux.page_alloc_next = first
    return first


def kmalloc_memmap(linux: Linux, size: int) -> int:
    """The physical address of the descriptor array of `size` bytes: the machine's `buffer`, or the slab's choice.

    Raises MachineError where there is no free RAM at the address asked for, or where it is not aligned to 8 bytes.
    """
    wanted = linux.machine.buffer
    if wanted is None:
        return linux.page_alloc_base + ARRAY_OFFSET
    if wanted % 8:
        raise MachineError(f"buffer {wanted:#x}: expected a multiple of 8, as kmalloc gives")
    if not any(start <= wanted and wanted + size <= end for start, end in linux.memblock.memory):
        end = linux.max_pfn << PAGE_SHIFT
        raise MachineError(f"buffer {wanted:#x}: this machine has no RAM there (its RAM ends at {end:#x})")
    own_tables = wanted < linux.page_alloc_base and linux.page_alloc_base - TABLE_POOL < wanted + size
    if own_tables or linux.memblock.is_region_reserved(wanted, size):
        raise MachineError(f"buffer {wanted:#x}: the kernel or the firmware keeps something else there")
    return wanted


def memmap_pages(count: int, descriptor_size: int) -> int:
    """The pages of an array that has grown to `count` descriptors (efi_map_regions and realloc_pages, v3.14).

    Each time it is full, the next power of two is asked for; the bytes then counted as left are the power before it.
    """
    pg_shift, left = 0, 0
    for _ in range(count):
        if left < descriptor_size:
            left += PAGE_SIZE << pg_shift
            pg_shift += 1
        left -= descriptor_size
    return 1 << pg_shift


def another_node(linux: Linux) -> int | None:
    """An address in a node that could have got the array as well, on the other side of 512 GiB where there is one.

    None where the place was chosen, and on a machine of one node, whose rule is measured.
    """
    if linux.machine.buffer is not None or linux.map.ram_bytes <= NODE_BYTES:
        return None
    array = linux.virt_to_phys(linux.new_memmap)
    below = [(start, min(end, LINE)) for start, end in linux.memblock.memory if start < LINE]
    above = [(max(start, LINE), end) for start, end in linux.memblock.memory if end > LINE]
    pieces = (above if array < LINE else below) or linux.memblock.memory
    start, end = max(pieces, key=lambda piece: piece[1] - piece[0])
    return (start + (end - start) // 2) // PAGE_SIZE * PAGE_SIZE


def struct_pages_size(start: int, end: int) -> int:
    """Bytes of `struct page` for RAM in [start, end), in whole sections."""
    sections = -(-end // SECTION_SIZE) - start // SECTION_SIZE
    return sections * SECTION_SIZE >> PAGE_SHIFT << STRUCT_PAGE_SHIFT


def large_system_hash(ram: int, scale: int) -> int:
    """Bytes of a boot-time hash table, a bucket per `1 << scale` bytes (alloc_large_system_hash, mm/page_alloc.c)."""
    buckets = ram >> scale
    return 8 << max(buckets - 1, 1).bit_length()


def top_node_start(linux: Linux) -> int:
    """Where the node with the highest RAM begins: at most NODE_BYTES of RAM lie above it."""
    left = NODE_BYTES
    for start, end in reversed(linux.memblock.memory):
        if end - start >= left:
            return max(start, (end - left) // SECTION_SIZE * SECTION_SIZE)
        left -= end - start
    return 0
