"""The firmware after ExitBootServices, in edk2's order: SetVirtualAddressMap, ConvertPointer, and calls afterwards.

Everything it touches goes through the processor, at whatever addresses it was given, so it faults where real firmware
would.  Source: tianocore/edk2 snapshot c5aa7e7d94c0, MdeModulePkg/Core/RuntimeDxe/Runtime.c; UEFI 2.10, 8.4.

Left out: the status-code reports, and the code of the services that this suite never calls (they answer
EFI_UNSUPPORTED).  Where edk2 keeps going without looking (a conversion that fails), this firmware does too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum

from ..trace import Trace
from ..x86 import Cpu, PhysMemory
from .image import VARIABLES_HEAD, Image, Layout, lay_out
from .memmap import DESCRIPTOR_VERSION, EFI_MEMORY_RUNTIME, EFI_PAGE_SHIFT, SIZEOF_DESCRIPTOR, MemoryMap
from .tables import NEVER_CONVERTED, SERVICES, X64, TableLayout, with_crc32

_ERROR = 1 << 63
EFI_OPTIONAL_PTR = 1

# Offsets in EFI_MEMORY_DESCRIPTOR, in the order in which ConvertPointer loads them.
_ATTRIBUTE, _PHYSICAL_START, _NUMBER_OF_PAGES, _VIRTUAL_START = 32, 8, 24, 16


class EfiStatus(IntEnum):
    """EFI_STATUS, 64-bit values (edk2 MdePkg/Include/Base.h)."""

    EFI_SUCCESS = 0
    EFI_INVALID_PARAMETER = _ERROR | 2
    EFI_UNSUPPORTED = _ERROR | 3
    EFI_BUFFER_TOO_SMALL = _ERROR | 5
    EFI_NOT_FOUND = _ERROR | 14
    EFI_NO_MAPPING = _ERROR | 17


class WildCall(Exception):
    """The processor went to an address where this firmware has no function: on a real machine, anything may follow."""

    def __init__(self, address: int, pa: int) -> None:
        super().__init__(address, pa)
        self.address, self.pa = address, pa

    def __str__(self) -> str:
        return f"call of {self.address:#x} (physical {self.pa:#x}): no firmware function there"


class Firmware:
    """The runtime part of an edk2-like firmware, laid out in the runtime regions of `memory_map`.

    `tables` tells its word size: X64, or IA32 for 32-bit firmware.
    """

    def __init__(self, memory: PhysMemory, memory_map: MemoryMap, trace: Trace, tables: TableLayout = X64) -> None:
        self.trace, self.tables = trace, tables
        self.layout: Layout = lay_out(memory, memory_map, tables)
        self.watchers: list[Callable[[Cpu], None]] = []  # told of each call before it is entered
        self._services: dict[int, str] = {pa: name for name, pa in self.layout.services.items()}

    @property
    def system_table(self) -> int:
        """Physical address of EFI_SYSTEM_TABLE: what the boot loader tells the kernel."""
        return self.layout.system_table

    def service(self, name: str) -> int:
        """Physical address of a runtime service, as the runtime table held it before the switch."""
        return self.layout.services[name]

    def call(self, cpu: Cpu, address: int, *arguments: int) -> EfiStatus:
        """What the instruction `call address` leads to: the service's status.

        Raises PageFault or GeneralProtection when the stack, the code or anything that the service touches cannot be
        reached, and WildCall when the code at `address` is no service.
        """
        for watch in self.watchers:
            watch(cpu)
        cpu.rsp -= self.tables.word
        cpu.write(cpu.rsp, self.tables.pack(cpu.rip))
        pa = cpu.fetch(address)
        name = self._services.get(pa)
        if name is None:
            raise WildCall(address, pa)
        back, cpu.rip = cpu.rip, address
        with self.trace.span("firmware", name):
            status = self._code(name)(cpu, address - pa, *arguments)
        cpu.rip, cpu.rsp = back, cpu.rsp + self.tables.word
        return status

    def _code(self, name: str) -> Callable[..., EfiStatus]:
        known: dict[str, Callable[..., EfiStatus]] = {
            "SetVirtualAddressMap": self.set_virtual_address_map,
            "GetTime": self._get_time,
            "GetVariable": self._get_variable,
        }
        return known.get(name, _unsupported)

    def set_virtual_address_map(
        self, cpu: Cpu, bias: int, size: int, descriptor_size: int, version: int, pointer: int
    ) -> EfiStatus:
        """RuntimeDriverSetVirtualAddressMap, step by step.  `bias`: how far its address is from the physical one."""
        own = _Variables(cpu, self.layout.variables + bias, self.tables)
        if not own.at_runtime or own.virtual_mode:
            return EfiStatus.EFI_UNSUPPORTED
        if version != DESCRIPTOR_VERSION or descriptor_size < SIZEOF_DESCRIPTOR:
            return EfiStatus.EFI_INVALID_PARAMETER
        with self.trace.span("firmware", "commit: VirtualMode = TRUE, remember the pointer"):
            own.commit(pointer, size // descriptor_size, descriptor_size)
        for image in self.layout.images:
            with self.trace.span("firmware", f"notify {image.name} of VIRTUAL_ADDRESS_CHANGE"):
                for place in image.pointers:
                    self._convert_pointer(cpu, own, place + bias, EFI_OPTIONAL_PTR)
        for image in self.layout.images:
            with self.trace.span("firmware", f"relocate {image.name}"):
                self._relocate(cpu, own, image, bias)
        with self.trace.span("firmware", "convert the runtime services table"):
            self._convert_table(cpu, own, self.layout.runtime_table + bias, self._converted_services())
        with self.trace.span("firmware", "convert the system table"):
            self._convert_table(cpu, own, self.layout.system_table + bias, self._converted_in_system_table())
        own.forget_map()
        return EfiStatus.EFI_SUCCESS

    def _convert_pointer(self, cpu: Cpu, own: _Variables, place: int, disposition: int = 0) -> EfiStatus:
        """RuntimeDriverConvertPointer on the pointer stored at `place`: the first runtime entry around it decides."""
        word = self.tables.word
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

    def _relocate(self, cpu: Cpu, own: _Variables, image: Image, bias: int) -> None:
        """Convert the image's base and move the absolute addresses inside it by the same distance."""
        self._convert_pointer(cpu, own, image.base_record + bias)
        word = self.tables.word
        distance = cpu.read_uint(image.base_record + bias, word) - image.base
        for place in image.relocations:
            cpu.write_uint(place + bias, cpu.read_uint(place + bias, word) + distance, word)

    def _convert_table(self, cpu: Cpu, own: _Variables, table: int, offsets: tuple[int, ...]) -> None:
        for offset in offsets:
            self._convert_pointer(cpu, own, table + offset)
        size = int.from_bytes(cpu.read(table + 12, 4), "little")
        cpu.write(table, with_crc32(cpu.read(table, size)))

    def _converted_services(self) -> tuple[int, ...]:
        return tuple(self.tables.service(name) for name in SERVICES if name not in NEVER_CONVERTED)

    def _converted_in_system_table(self) -> tuple[int, ...]:
        return self.tables.firmware_vendor, self.tables.configuration_table, self.tables.runtime_services

    def _get_time(self, cpu: Cpu, bias: int, time: int, _capabilities: int = 0) -> EfiStatus:
        """GetTime: store EFI_TIME at `time`, copied from the clock that the image's own pointer leads to."""
        clock = cpu.read_uint(self.layout.image("PcRtc").data_pointer + bias, self.tables.word)
        cpu.write(time, cpu.read(clock, 16))
        return EfiStatus.EFI_SUCCESS

    def _get_variable(
        self, cpu: Cpu, bias: int, name: int, _guid: int, _attributes: int, data_size: int, data: int
    ) -> EfiStatus:
        """GetVariable for the UTF-16 name at `name`: its value goes to `data`, its size to `data_size`.

        The store holds PlatformLang only; the vendor's GUID is not compared, and no attributes are stored.
        """
        word = self.tables.word
        store = cpu.read_uint(self.layout.image("VariableRuntimeDxe").data_pointer + bias, word)
        name_size, value_size = struct.unpack("<II", cpu.read(store, 8))
        if cpu.read(name, name_size) != cpu.read(store + 8, name_size):
            return EfiStatus.EFI_NOT_FOUND
        room = cpu.read_uint(data_size, word)
        cpu.write_uint(data_size, value_size, word)
        if room < value_size:
            return EfiStatus.EFI_BUFFER_TOO_SMALL
        cpu.write(data, cpu.read(store + 8 + name_size, value_size))
        return EfiStatus.EFI_SUCCESS


class _Variables:
    """RuntimeDxe's own variables, read and written through the processor at the address its code runs at."""

    def __init__(self, cpu: Cpu, address: int, layout: TableLayout) -> None:
        self._cpu, self._address, self._layout = cpu, address, layout
        virtual_mode, at_runtime = cpu.read(address, 2)
        self.virtual_mode, self.at_runtime = bool(virtual_mode), bool(at_runtime)
        self.map_pointer = self.map_entries = self.descriptor_size = 0

    def commit(self, pointer: int, entries: int, descriptor_size: int) -> None:
        self._cpu.write(self._address, b"\1")
        words = self._layout.pack(descriptor_size, entries, pointer)
        self._cpu.write(self._address + VARIABLES_HEAD.size, words)
        self.map_pointer, self.map_entries, self.descriptor_size = pointer, entries, descriptor_size

    def forget_map(self) -> None:
        place = self._address + VARIABLES_HEAD.size + 2 * self._layout.word
        self._cpu.write_uint(place, 0, self._layout.word)


def _unsupported(*_arguments: object) -> EfiStatus:
    return EfiStatus.EFI_UNSUPPORTED
