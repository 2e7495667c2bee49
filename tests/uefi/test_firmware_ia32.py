"""32-bit firmware with paging off: the same code, words of four bytes, and a failure that nobody reports.

Offsets: UEFI 2.10, 4.3 and 4.5, 32-bit.  That a wrong pointer gives EFI_SUCCESS with nothing converted was seen on real
ia32 firmware (OVMF 2022.11 in QEMU 7.2, November 2026, our own run).
"""

import struct
import zlib

import pytest

from efimm.trace import Trace
from efimm.uefi.image import IA32
from efimm.uefi.memmap import EfiMemoryDescriptor, EfiMemoryType, MemoryMap
from efimm.uefi.runtime import EDK2, Firmware
from efimm.x86 import PAGING_OFF, Cpu, PhysMemory

CODE, DATA, ARRAY = 0x7EAC_0000, 0x7EB0_0000, 0x0040_0000
CODE_VA, DATA_VA = 0xF750_0000, 0xF770_0000
PAGE_OFFSET = 0xC000_0000
PAGES = 0x20
RUNTIME, SUCCESS, UNSUPPORTED = 1 << 63, 0, 3


class Board:
    def __init__(self):
        self.memory = PhysMemory()
        regions = [
            EfiMemoryDescriptor(kind, pa, va, PAGES, RUNTIME | 0xF)
            for kind, pa, va in (
                (EfiMemoryType.EfiRuntimeServicesCode, CODE, CODE_VA),
                (EfiMemoryType.EfiRuntimeServicesData, DATA, DATA_VA),
            )
        ]
        self.cpu = Cpu(self.memory, Trace(), mode=PAGING_OFF)
        self.cpu.rsp = 0x50_0000
        self.firmware = Firmware(EDK2, self.memory, MemoryMap("board", tuple(regions)), Trace(), IA32)
        self.memory.write(ARRAY, b"".join(region.pack(48) for region in regions))

    def switch(self, pointer):
        address = self.firmware.service("SetVirtualAddressMap")
        return int(self.firmware.call(self.cpu, address, 96, 48, 1, pointer)) & 0xFF

    def words(self, pa, count):
        return list(struct.unpack(f"<{count}I", self.memory.read(pa, 4 * count)))

    def services(self):
        return self.words(self.firmware.layout.runtime_table + 24, 14)

    def system_pointers(self):
        return [self.words(self.firmware.layout.system_table + offset, 1)[0] for offset in (24, 56, 68)]


@pytest.fixture
def board():
    return Board()


def sums_are_right(board):
    tables = [board.memory.read(at, 0x80) for at in (board.firmware.layout.runtime_table, board.firmware.system_table)]
    sizes = [struct.unpack_from("<I", table, 12)[0] for table in tables]
    assert sizes == [24 + 14 * 4, 72]
    return all(
        struct.unpack_from("<I", table, 16)[0] == zlib.crc32(table[:16] + bytes(4) + table[20:size])
        for table, size in zip(tables, sizes, strict=True)
    )


def test_the_physical_pointer_converts_everything(board):
    before, system = board.services(), board.system_pointers()
    assert sums_are_right(board)
    assert board.switch(ARRAY) == SUCCESS

    stay = {4, 5}  # SetVirtualAddressMap and ConvertPointer
    assert board.services() == [pa if k in stay else pa - CODE + CODE_VA for k, pa in enumerate(before)]
    assert board.system_pointers() == [pa - DATA + DATA_VA for pa in system]
    assert sums_are_right(board)
    assert board.switch(ARRAY) == UNSUPPORTED


def test_a_kernel_address_is_a_success_in_which_nothing_was_converted(board):
    # Robin's va on i386: with paging off, 0xc0400000 is a physical address, and nothing is there.
    before, system = board.services(), board.system_pointers()
    assert board.switch(PAGE_OFFSET + ARRAY) == SUCCESS
    assert (before, system) == (board.services(), board.system_pointers())
    assert board.switch(ARRAY) == UNSUPPORTED  # and there is no second chance


def test_pointers_wrap_at_four_bytes(board):
    # A driver's base that moves down: the distance is negative, and the relocations follow it in 32 bits.
    image = board.firmware.layout.images[0]
    low = EfiMemoryDescriptor(5, CODE, 0x10_0000, PAGES, RUNTIME | 0xF)
    board.memory.write(ARRAY, low.pack(48))
    assert board.switch(ARRAY) == SUCCESS
    assert board.words(image.base_record, 1) == [image.base - CODE + 0x10_0000]
    assert board.words(image.relocations[1], 1) == [image.relocations[0] - 4 - CODE + 0x10_0000]
