"""SetVirtualAddressMap and ConvertPointer in edk2's order.

Source: tianocore/edk2 snapshot c5aa7e7d94c0, MdeModulePkg/Core/RuntimeDxe/Runtime.c; UEFI 2.10, 8.4.  Left out: the
status-code reports.  Where edk2 keeps going without looking (a conversion that fails), this firmware does too.
"""

from __future__ import annotations

from ..x86 import Cpu
from .image import VARIABLES_HEAD, Image
from .memmap import DESCRIPTOR_VERSION, EFI_MEMORY_RUNTIME, EFI_PAGE_SHIFT, SIZEOF_DESCRIPTOR
from .runtime import EfiStatus, Firmware
from .tables import TableLayout, with_crc32

EFI_OPTIONAL_PTR = 1

# Offsets in EFI_MEMORY_DESCRIPTOR, in the order in which ConvertPointer loads them.
_ATTRIBUTE, _PHYSICAL_START, _NUMBER_OF_PAGES, _VIRTUAL_START = 32, 8, 24, 16


class Variables:
    """RuntimeDxe's own variables, read and written through the processor at the address its code runs at."""

    def __init__(self, cpu: Cpu, address: int, layout: TableLayout) -> None:
        self._cpu, self._address, self._layout = cpu, address, layout
        virtual_mode, at_runtime = cpu.read(address, 2)
        self.virtual_mode, self.at_runtime = bool(virtual_mode), bool(at_runtime)
        self.map_pointer = self.map_entries = self.descriptor_size = 0

    def commit(self, pointer: int, entries: int, descriptor_size: int) -> None:
        """VirtualMode = TRUE, and the array's place and shape remembered: there is no way back."""
        self._cpu.write(self._address, b"\1")
        words = self._layout.pack(descriptor_size, entries, pointer)
        self._cpu.write(self._address + VARIABLES_HEAD.size, words)
        self.map_pointer, self.map_entries, self.descriptor_size = pointer, entries, descriptor_size

    def forget_map(self) -> None:
        """Clear the pointer to the array once it is no longer needed."""
        place = self._address + VARIABLES_HEAD.size + 2 * self._layout.word
        self._cpu.write_uint(place, 0, self._layout.word)


def set_virtual_address_map(
    firmware: Firmware, cpu: Cpu, bias: int, size: int, descriptor_size: int, version: int, pointer: int
) -> EfiStatus:
    """RuntimeDriverSetVirtualAddressMap, step by step.  `bias`: how far its address is from the physical one."""
    own = Variables(cpu, firmware.layout.variables + bias, firmware.tables)
    if not own.at_runtime or own.virtual_mode:
        return EfiStatus.EFI_UNSUPPORTED
    if version != DESCRIPTOR_VERSION or descriptor_size < SIZEOF_DESCRIPTOR:
        return EfiStatus.EFI_INVALID_PARAMETER
    with firmware.trace.span("firmware", "commit: VirtualMode = TRUE, remember the pointer", "commit"):
        own.commit(pointer, size // descriptor_size, descriptor_size)
    for image in firmware.layout.images:
        with firmware.trace.span("firmware", f"notify {image.name} of VIRTUAL_ADDRESS_CHANGE", "notify"):
            for place in image.pointers:
                convert_pointer(firmware, cpu, own, place + bias, EFI_OPTIONAL_PTR)
    for image in firmware.layout.images:
        with firmware.trace.span("firmware", f"relocate {image.name}", "relocate"):
            _relocate(firmware, cpu, own, image, bias)
    with firmware.trace.span("firmware", "convert the runtime services table", "runtime-table"):
        _convert_table(firmware, cpu, own, firmware.layout.runtime_table + bias, firmware.tables.converted_services)
    with firmware.trace.span("firmware", "convert the system table", "system-table"):
        _convert_table(firmware, cpu, own, firmware.layout.system_table + bias, firmware.tables.converted_pointers)
    own.forget_map()
    return EfiStatus.EFI_SUCCESS


def convert_pointer(firmware: Firmware, cpu: Cpu, own: Variables, place: int, disposition: int = 0) -> EfiStatus:
    """RuntimeDriverConvertPointer on the pointer stored at `place`: the first runtime entry around it decides."""
    word = firmware.tables.word
    address = cpu.read_uint(place, word)
    if address == 0:
        return EfiStatus.EFI_SUCCESS if disposition & EFI_OPTIONAL_PTR else EfiStatus.EFI_INVALID_PARAMETER
    entry = own.map_pointer
    for _ in range(own.map_entries):
        if cpu.read_u64(entry + _ATTRIBUTE) & EFI_MEMORY_RUNTIME:
            start = cpu.read_u64(entry + _PHYSICAL_START)
            if start <= address < start + (cpu.read_u64(entry + _NUMBER_OF_PAGES) << EFI_PAGE_SHIFT):
                cpu.write_uint(place, address - start + cpu.read_u64(entry + _VIRTUAL_START), word)
                return EfiStatus.EFI_SUCCESS
        entry += own.descriptor_size
    return EfiStatus.EFI_NOT_FOUND


def _relocate(firmware: Firmware, cpu: Cpu, own: Variables, image: Image, bias: int) -> None:
    """Convert the image's base and move the absolute addresses inside it by the same distance."""
    convert_pointer(firmware, cpu, own, image.base_record + bias)
    word = firmware.tables.word
    distance = cpu.read_uint(image.base_record + bias, word) - image.base
    for place in image.relocations:
        cpu.write_uint(place + bias, cpu.read_uint(place + bias, word) + distance, word)


def _convert_table(firmware: Firmware, cpu: Cpu, own: Variables, table: int, offsets: tuple[int, ...]) -> None:
    for offset in offsets:
        convert_pointer(firmware, cpu, own, table + offset)
    size = int.from_bytes(cpu.read(table + 12, 4), "little")
    cpu.write(table, with_crc32(cpu.read(table, size)))
