"""The tables through which an operating system finds the firmware, to the byte.

Offsets for 64-bit firmware (UEFI specification 2.10, chapter 4; edk2 MdePkg/Include/Uefi/UefiSpec.h).  Each table
starts with EFI_TABLE_HEADER: Signature u64, Revision u32, HeaderSize u32, CRC32 u32, Reserved u32.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

REVISION = 0x0002_0046
HEADER = struct.Struct("<QIIII")
CRC32_OFFSET = 16

SYSTEM_TABLE_SIGNATURE = 0x5453_5953_2049_4249
SYSTEM_TABLE_SIZE = 0x78
FIRMWARE_VENDOR, RUNTIME_SERVICES, NUMBER_OF_TABLE_ENTRIES, CONFIGURATION_TABLE = 24, 88, 104, 112

RUNTIME_SERVICES_SIGNATURE = 0x5652_4553_544E_5552
RUNTIME_SERVICES_SIZE = 0x88
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
SERVICE_OFFSET = {name: HEADER.size + 8 * k for k, name in enumerate(SERVICES)}
NEVER_CONVERTED = ("SetVirtualAddressMap", "ConvertPointer")


def with_crc32(table: bytes) -> bytes:
    """`table` with its header's CRC32 field set to the sum over the whole table (field taken as 0)."""
    blank = table[:CRC32_OFFSET] + bytes(4) + table[CRC32_OFFSET + 4 :]
    return blank[:CRC32_OFFSET] + struct.pack("<I", zlib.crc32(blank)) + blank[CRC32_OFFSET + 4 :]


def runtime_services_table(address_of: Callable[[str], int]) -> bytes:
    """EFI_RUNTIME_SERVICES with the function pointers that `address_of` gives, CRC32 included."""
    header = HEADER.pack(RUNTIME_SERVICES_SIGNATURE, REVISION, RUNTIME_SERVICES_SIZE, 0, 0)
    return with_crc32(header + b"".join(struct.pack("<Q", address_of(name)) for name in SERVICES))


def system_table(vendor: int, runtime_services: int, configuration_table: int) -> bytes:
    """EFI_SYSTEM_TABLE as ExitBootServices leaves it: boot and console fields are zero."""
    table = bytearray(SYSTEM_TABLE_SIZE)
    HEADER.pack_into(table, 0, SYSTEM_TABLE_SIGNATURE, REVISION, SYSTEM_TABLE_SIZE, 0, 0)
    struct.pack_into("<QI", table, FIRMWARE_VENDOR, vendor, 0x10000)
    struct.pack_into("<Q", table, RUNTIME_SERVICES, runtime_services)
    struct.pack_into("<QQ", table, NUMBER_OF_TABLE_ENTRIES, 1, configuration_table)
    return with_crc32(bytes(table))
