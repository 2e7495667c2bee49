"""Where this firmware keeps its code and data: images, tables and variables in the map's runtime regions.

The layout is the model's own; what is edk2's is what lies where (code and each driver's globals in
EfiRuntimeServicesCode; tables and buffers in EfiRuntimeServicesData) and which pointers the switch has to convert.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from ..x86.memory import PhysMemory
from . import tables
from .memmap import EFI_MEMORY_RO, EfiMemoryDescriptor, EfiMemoryType, MemoryMap

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


def lay_out(memory: PhysMemory, memory_map: MemoryMap, layout: tables.TableLayout) -> Layout:
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
    memory: PhysMemory, layout: tables.TableLayout, name: str, base: int, data: int, base_record: int, buffer: int
) -> Image:
    """Write the driver's globals: a pointer to its buffer (to convert), two absolute addresses (to relocate)."""
    place, word = data + _GLOBALS, layout.word
    memory.write(place, layout.pack(buffer, base + _CODE, place))
    memory.write(base_record, layout.pack(base))
    return Image(name, base, base_record, buffer, pointers=(place,), relocations=(place + word, place + 2 * word))


def _largest(memory_map: MemoryMap, kind: EfiMemoryType) -> EfiMemoryDescriptor:
    pages = len(_DRIVERS) + 2
    regions = [d for d in memory_map.descriptors if d.type == kind and d.runtime and d.number_of_pages >= pages]
    if not regions:
        raise ValueError(f"{memory_map.name}: no {kind.name} region of at least {pages} pages for the firmware")
    return max(regions, key=lambda d: d.number_of_pages)
