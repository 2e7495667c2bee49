"""Physical memory as an ELF core file, the form in which a crash kernel hands on a machine's memory.

Source: the System V ABI (ELF-64 header, program headers, notes; recalled) and fs/proc/vmcore.c, v3.5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

from .memory import PAGE_SHIFT, PAGE_SIZE, PhysMemory

EM_386, EM_X86_64 = 3, 62
_ET_CORE, _PT_LOAD, _PT_NOTE, _RWX = 4, 1, 4, 7
_HEADER, _PROGRAM_HEADER = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ")
_IDENT = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")  # 64 bits, little endian, version 1
_MOST_SEGMENTS = 0xFFFE  # e_phnum has 16 bits, and 0xffff means something else
Extent = tuple[int, int]  # first page frame number, number of pages


def saved_extents(memory: PhysMemory) -> list[Extent]:
    """The page frames that were ever written, as (first, count) in order; table runs count as written."""
    pieces = [(pfn, 1) for pfn in memory.words[8]] + [(run.first_pfn, run.count) for run in memory.lazy_tables]
    extents: list[Extent] = []
    for first, count in sorted(pieces):
        if extents and first <= sum(extents[-1]):
            before, length = extents[-1]
            extents[-1] = before, max(length, first + count - before)
        else:
            extents.append((first, count))
    return extents


def write_core(
    file: BinaryIO, memory: PhysMemory, note: tuple[str, str], machine: int, phys_to_virt: Callable[[int], int]
) -> int:
    """Write everything in `memory` to `file`, with one note (its name and text); how many bytes the file has.

    There is a PT_LOAD segment for each piece of memory that was ever written, at the virtual address that
    `phys_to_virt` gives.  What was never written is not in the file: a reader that asks for it is told so.
    ValueError for memory in too many pieces.
    """
    extents = saved_extents(memory)
    if len(extents) >= _MOST_SEGMENTS:
        raise ValueError(f"memory in {len(extents)} pieces: an ELF file has room for {_MOST_SEGMENTS - 1}")
    text = _note(*note)
    notes_at = _HEADER.size + _PROGRAM_HEADER.size * (1 + len(extents))
    at = -(-(notes_at + len(text)) // PAGE_SIZE) * PAGE_SIZE
    headers = [_PROGRAM_HEADER.pack(_PT_NOTE, 0, notes_at, 0, 0, len(text), len(text), 4)]
    for first, count in extents:
        pa, size = first << PAGE_SHIFT, count << PAGE_SHIFT
        va = phys_to_virt(pa) % (1 << 64)
        headers.append(_PROGRAM_HEADER.pack(_PT_LOAD, _RWX, at, va, pa, size, size, PAGE_SIZE))
        at += size
    file.write(_elf_header(machine, len(headers)) + b"".join(headers) + text)
    file.write(bytes(-file.tell() % PAGE_SIZE))
    file.writelines(_pages(memory, extents))
    return at


def _elf_header(machine: int, segments: int) -> bytes:
    sizes = _HEADER.size, _PROGRAM_HEADER.size, segments, 0, 0, 0
    return _HEADER.pack(_IDENT, _ET_CORE, machine, 1, 0, _HEADER.size, 0, 0, *sizes)


def _note(name: str, text: str) -> bytes:
    """An ELF note of type 0, as the kernel's append_elf_note makes it."""
    owner, content = name.encode() + b"\0", text.encode()
    return struct.pack("<III", len(owner), len(content), 0) + _padded(owner) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _pages(memory: PhysMemory, extents: list[Extent]) -> Iterator[bytes]:
    for first, count in extents:
        for pfn in range(first, first + count):
            yield memory.read(pfn << PAGE_SHIFT, PAGE_SIZE)
