"""drgn: a custom Linux program on the image, and the page-table walk behind its `follow_phys` helper.

The public helper wants an mm_struct with debug information, so its private core is called.  The program's page table
is said to be `swapper_pg_dir` of a kernel that was not relocated, whose address is then the root's plus a constant.
drgn reads the image through a Python function, or by itself from an ELF core file.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..image import Image
from .peer import Peer, Translate

START_KERNEL_MAP = 0xFFFF_FFFF_8000_0000
_PAGE = 4096


def load_callback(image: Image) -> Translate:
    """The image behind a function that drgn calls for each read."""
    drgn = import_module("drgn")
    program = drgn.Program(drgn.Platform(drgn.Architecture.X86_64))
    memory = image.memory
    program.add_memory_segment(0, len(memory), lambda _va, count, at, _physical: memory[at : at + count], True)
    program.set_linux_kernel_custom(_vmcoreinfo(image), False)
    return _follow_phys(program, image, drgn.FaultError)


def load_vmcore(image: Image) -> Translate:
    """The image in an ELF core file, as a crash kernel leaves it; sparse, and deleted with the program."""
    drgn = import_module("drgn")
    with tempfile.NamedTemporaryFile(suffix=".vmcore") as file:
        file.write(_elf_header(image))
        for pfn in image.pfns.tolist():
            file.seek(_PAGE * (1 + pfn))
            file.write(image.memory[_PAGE * pfn : _PAGE * (pfn + 1)])
        file.truncate(_PAGE + len(image.memory))
        file.flush()
        program = drgn.Program()
        program.set_core_dump(file.name)  # keeps the file open: the name may go
    return _follow_phys(program, image, drgn.FaultError)


def _follow_phys(program: Any, image: Image, no_page: type[Exception]) -> Translate:
    follow: Callable[[Any, int, int], int] = import_module("_drgn")._linux_helper_follow_phys
    root = START_KERNEL_MAP + image.root

    def translate(vas: list[int]) -> list[int | None]:
        found: list[int | None] = []
        for va in vas:
            try:
                found.append(follow(program, root, va))
            except no_page:
                found.append(None)
        return found

    return translate


def _vmcoreinfo(image: Image) -> str:
    root = START_KERNEL_MAP + image.root
    return f"OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)={root:x}\nNUMBER(phys_base)=0\n"


def _elf_header(image: Image) -> bytes:
    """One page: the ELF header, a note with the vmcoreinfo, and a segment of physical memory behind the page."""
    name, text = b"VMCOREINFO\0\0", _vmcoreinfo(image).encode()
    note = struct.pack("<III", 11, len(text), 0) + name + text.ljust(-len(text) % 4 + len(text), b"\0")
    at, segments = 64, 2
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = ident + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, at, 0, 0, 64, 56, segments, 0, 0, 0)
    size = len(image.memory)
    notes = struct.pack("<IIQQQQQQ", 4, 0, at + 56 * segments, 0, 0, len(note), len(note), 4)
    load = struct.pack("<IIQQQQQQ", 1, 7, _PAGE, 0xFFFF_8880_0000_0000, 0, size, size, _PAGE)
    return (header + notes + load + note).ljust(_PAGE, b"\0")


_HOW = "_linux_helper_follow_phys"
CALLBACK = Peer("drgn", _HOW, 60, load_callback, variant="(callback)")
VMCORE = Peer("drgn", _HOW, 60, load_vmcore, variant="(ELF core)")
