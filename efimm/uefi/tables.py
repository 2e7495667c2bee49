"""The tables through which an operating system finds the firmware, to the byte, for 64-bit and for 32-bit firmware.

Offsets: UEFI specification 2.10, chapter 4; edk2 MdePkg/Include/Uefi/UefiSpec.h.  Each table starts with
EFI_TABLE_HEADER: Signature u64, Revision u32, HeaderSize u32, CRC32 u32, Reserved u32.  What follows are pointers and
UINTNs of the firmware's own word size, each aligned to its size.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

REVISION = 0x0002_0046
HEADER = struct.Struct("<QIIII")
CRC32_OFFSET = 16

SYSTEM_TABLE_SIGNATURE = 0x5453_5953_2049_4249
RUNTIME_SERVICES_SIGNATURE = 0x5652_4553_544E_5552
SERVICES = (
    "GetTime",
    "SetTime",
    "GetWakeupTime",
    "SetWakeupTime",
    "SetVirtualAddressMap",
    "ConvertPointer",
    "GetVariable",
    "GetNextVariableName",
    "SetVariable",
    "GetNextHighMonotonicCount",
    "ResetSystem",
    "UpdateCapsule",
    "QueryCapsuleCapabilities",
    "QueryVariableInfo",
)
NEVER_CONVERTED = ("SetVirtualAddressMap", "ConvertPointer")


@dataclass(frozen=True, slots=True)
class TableLayout:
    """Where the fields are in the tables of a firmware whose words have `word` bytes: 8 (X64) or 4 (IA-32)."""

    word: int

    @property
    def firmware_vendor(self) -> int:
        """Offset of EFI_SYSTEM_TABLE.FirmwareVendor; FirmwareRevision, a u32 in a word of its own, follows."""
        return HEADER.size

    @property
    def runtime_services(self) -> int:
        """Offset of EFI_SYSTEM_TABLE.RuntimeServices, behind the six handles and protocols of the console."""
        return HEADER.size + 8 * self.word

    @property
    def number_of_table_entries(self) -> int:
        """Offset of EFI_SYSTEM_TABLE.NumberOfTableEntries, behind BootServices; ConfigurationTable follows."""
        return self.runtime_services + 2 * self.word

    @property
    def configuration_table(self) -> int:
        """Offset of EFI_SYSTEM_TABLE.ConfigurationTable, the last field."""
        return self.number_of_table_entries + self.word

    @property
    def system_table_size(self) -> int:
        """Size of EFI_SYSTEM_TABLE."""
        return self.configuration_table + self.word

    def service(self, name: str) -> int:
        """Offset of a function pointer in EFI_RUNTIME_SERVICES."""
        return HEADER.size + self.word * SERVICES.index(name)

    @property
    def converted_services(self) -> tuple[int, ...]:
        """Offsets of the function pointers that SetVirtualAddressMap converts."""
        return tuple(self.service(name) for name in SERVICES if name not in NEVER_CONVERTED)

    @property
    def converted_pointers(self) -> tuple[int, ...]:
        """Offsets of the system table's pointers that SetVirtualAddressMap converts."""
        return self.firmware_vendor, self.configuration_table, self.runtime_services

    def pack(self, *words: int) -> bytes:
        """Words of this firmware in a row."""
        return b"".join(word.to_bytes(self.word, "little") for word in words)

    def runtime_services_table(self, address_of: Callable[[str], int]) -> bytes:
        """EFI_RUNTIME_SERVICES with the function pointers that `address_of` gives, CRC32 included."""
        pointers = self.pack(*map(address_of, SERVICES))
        header = HEADER.pack(RUNTIME_SERVICES_SIGNATURE, REVISION, HEADER.size + len(pointers), 0, 0)
        return with_crc32(header + pointers)

    def system_table(self, vendor: int, runtime_services: int, configuration_table: int) -> bytes:
        """EFI_SYSTEM_TABLE as ExitBootServices leaves it: boot and console fields are zero."""
        table = bytearray(self.system_table_size)
        HEADER.pack_into(table, 0, SYSTEM_TABLE_SIGNATURE, REVISION, self.system_table_size, 0, 0)
        for offset, words in (
            (self.firmware_vendor, (vendor, 0x10000)),
            (self.runtime_services, (runtime_services,)),
            (self.number_of_table_entries, (1, configuration_table)),
        ):
            data = self.pack(*words)
            table[offset : offset + len(data)] = data
        return with_crc32(bytes(table))


X64, IA32 = TableLayout(8), TableLayout(4)


def with_crc32(table: bytes) -> bytes:
    """`table` with its header's CRC32 field set to the sum over the whole table (field taken as 0)."""
    blank = table[:CRC32_OFFSET] + bytes(4) + table[CRC32_OFFSET + 4 :]
    return blank[:CRC32_OFFSET] + struct.pack("<I", zlib.crc32(blank)) + blank[CRC32_OFFSET + 4 :]
