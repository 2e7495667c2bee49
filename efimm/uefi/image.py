"""What this firmware consists of: the tables that lead to it, and its code and data in the map's runtime regions.

The tables are right to the byte, for 64-bit and for 32-bit firmware: UEFI specification 2.10, chapter 4; edk2
MdePkg/Include/Uefi/UefiSpec.h.  Each starts with EFI_TABLE_HEADER (Signature u64, Revision u32, HeaderSize u32, CRC32
u32, Reserved u32); what follows are pointers and UINTNs of the firmware's own word size, each aligned to its size.

The layout is the model's own; what is edk2's is what lies where (code and each driver's globals in
EfiRuntimeServicesCode; tables and buffers in EfiRuntimeServicesData) and which pointers the switch has to convert.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from ..x86.memory import PhysMemory
from .memmap import EFI_MEMORY_RO, EfiMemoryDescriptor, EfiMemoryType, MemoryMap

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


_IMAGE_SIZE = 0x1000
_CODE, _GLOBALS = 0x100, 0x800
_DRIVERS = {
    "RuntimeDxe": ("SetVirtualAddressMap", "ConvertPointer"),
    "VariableRuntimeDxe": ("GetVariable", "GetNextVariableName", "SetVariable", "QueryVariableInfo"),
    "PcRtc": ("GetTime", "SetTime", "GetWakeupTime", "SetWakeupTime"),
    "MonotonicCounterRuntimeDxe": ("GetNextHighMonotonicCount",),
    "ResetSystemRuntimeDxe": ("ResetSystem",),
    "CapsuleRuntimeDxe": ("UpdateCapsule", "QueryCapsuleCapabilities"),
}
LEAST_PAGES = len(_DRIVERS) + 2  # of a region that the firmware's code or data may be in

# EFI_TIME of the thread's first message: 2012-06-20 08:25:01.
_CLOCK = struct.pack("<HBBBBBBIhBB", 2012, 6, 20, 8, 25, 1, 0, 0, 0, 0, 0)
_NAME, _VALUE = "PlatformLang\0".encode("utf-16-le"), b"en\0"
_STORE = struct.pack("<II", len(_NAME), len(_VALUE)) + _NAME + _VALUE

# RuntimeDxe's variables: VirtualMode, AtRuntime, and after them three words: DescriptorSize, entries, the pointer.
VARIABLES_HEAD = struct.Struct("<BB6x")


@dataclass(frozen=True, slots=True)
class Image:
    """One runtime driver; `buffer` is the physical address of its data in EfiRuntimeServicesData.

    `pointers` are converted by its notify function, `relocations` by the loader's fix-ups.
    """

    name: str
    base: int
    base_record: int
    buffer: int
    pointers: tuple[int, ...]
    relocations: tuple[int, ...]

    @property
    def data_pointer(self) -> int:
        """Where the driver keeps the address of its buffer in EfiRuntimeServicesData."""
        return self.pointers[0]


@dataclass(frozen=True)
class Layout:
    """Physical addresses of everything that the firmware put into memory."""

    system_table: int
    runtime_table: int
    variables: int
    services: dict[str, int]
    images: tuple[Image, ...]

    def image(self, name: str) -> Image:
        """The driver of that name."""
        return next(image for image in self.images if image.name == name)


def lay_out(memory: PhysMemory, memory_map: MemoryMap, layout: TableLayout) -> Layout:
    """Put code, tables and buffers into the largest runtime regions, as after ExitBootServices (AtRuntime = TRUE).

    `layout` tells the firmware's word size.  Raises ValueError when the map has no runtime code or no runtime data
    region, or only smaller ones than 8 pages.
    """
    code = _largest(memory_map, EfiMemoryType.EfiRuntimeServicesCode)
    data = _largest(memory_map, EfiMemoryType.EfiRuntimeServicesData)
    pages = dict(zip(_DRIVERS, _image_pages(memory_map, code), strict=False))
    bases = {name: text for name, (text, _) in pages.items()}
    if len(pages) < len(_DRIVERS):
        raise ValueError(f"{memory_map.name}: the memory attributes table has no room for the firmware's images")
    services = {
        service: bases[driver] + _CODE + 0x40 * k
        for driver, names in _DRIVERS.items()
        for k, service in enumerate(names)
    }
    runtime_table, system_table, records = (data.physical_start + offset for offset in (0xB98, 0x18, 0x2000))
    buffers = {name: data.physical_start + 0x3000 + 0x200 * k for k, name in enumerate(_DRIVERS)}
    memory.write(buffers["PcRtc"], _CLOCK)
    memory.write(buffers["VariableRuntimeDxe"], _STORE)
    memory.write(runtime_table, layout.runtime_services_table(services.__getitem__))
    vendor, configuration = data.physical_start + 0x1000, data.physical_start + 0x1100
    memory.write(vendor, "efimm\0".encode("utf-16-le"))
    memory.write(system_table, layout.system_table(vendor, runtime_table, configuration))
    variables = pages["RuntimeDxe"][1] + _GLOBALS
    memory.write(variables, VARIABLES_HEAD.pack(False, True) + layout.pack(0, 0, 0))
    drivers = [name for name in _DRIVERS if name != "RuntimeDxe"]
    images = tuple(
        _load(memory, layout, name, *pages[name], records + 8 * k, buffers[name]) for k, name in enumerate(drivers)
    )
    return Layout(system_table, runtime_table, variables, services, images)


def _image_pages(memory_map: MemoryMap, code: EfiMemoryDescriptor) -> Iterator[tuple[int, int]]:
    """For one driver after the other, the pages of its code and of its globals within the region `code`.

    They are one page, unless the memory attributes table tells them apart: code is read-only there, and what follows it
    is not executed.  ValueError where that has no room for all.
    """
    parts = [part for part in memory_map.memattr if code.physical_start <= part.physical_start < code.end]
    if not parts:
        yield from ((page, page) for page in range(code.physical_start, code.end, _IMAGE_SIZE))
    for text, rest in pairwise(parts):
        if text.attribute & EFI_MEMORY_RO and not rest.attribute & EFI_MEMORY_RO:
            for offset in range(0, min(text.size, rest.size), _IMAGE_SIZE):
                yield text.physical_start + offset, rest.physical_start + offset


def _load(
    memory: PhysMemory, layout: TableLayout, name: str, base: int, data: int, base_record: int, buffer: int
) -> Image:
    """Write the driver's globals: a pointer to its buffer (to convert), two absolute addresses (to relocate)."""
    place, word = data + _GLOBALS, layout.word
    memory.write(place, layout.pack(buffer, base + _CODE, place))
    memory.write(base_record, layout.pack(base))
    return Image(name, base, base_record, buffer, pointers=(place,), relocations=(place + word, place + 2 * word))


def _largest(memory_map: MemoryMap, kind: EfiMemoryType) -> EfiMemoryDescriptor:
    regions = [d for d in memory_map.descriptors if d.type == kind and d.runtime and d.number_of_pages >= LEAST_PAGES]
    if not regions:
        raise ValueError(f"{memory_map.name}: no {kind.name} region of at least {LEAST_PAGES} pages for the firmware")
    return max(regions, key=lambda d: d.number_of_pages)
