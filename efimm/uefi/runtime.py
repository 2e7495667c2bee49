"""The firmware after ExitBootServices: what it is made of, how a call reaches a service, and the services we call.

Everything it touches goes through the processor, at whatever addresses it was given, so it faults where real firmware
would.  A firmware is a small record of functions, as a kernel is: the kinds met in the field differ in one or two.  The
services answer as edk2's drivers do; SetVirtualAddressMap and ConvertPointer follow its order.

Source: tianocore/edk2 snapshot c5aa7e7d94c0, MdeModulePkg/Core/RuntimeDxe/Runtime.c; UEFI 2.10, 8.4.  Left out: the
status-code reports.  Where edk2 keeps going without looking (a conversion that fails), this firmware does too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from enum import IntEnum

from ..trace import Trace
from ..x86 import Cpu, PhysMemory
from .image import VARIABLES_HEAD, X64, Image, Layout, TableLayout, lay_out, with_crc32
from .memmap import (
    DESCRIPTOR_VERSION,
    EFI_MEMORY_RUNTIME,
    EFI_PAGE_SHIFT,
    SIZEOF_DESCRIPTOR,
    EfiMemoryDescriptor,
    MemoryMap,
)

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
    EFI_DEVICE_ERROR = _ERROR | 7
    EFI_NOT_FOUND = _ERROR | 14
    EFI_NO_MAPPING = _ERROR | 17


class WildCall(Exception):
    """The processor went to an address where this firmware has no function: on a real machine, anything may follow."""

    def __init__(self, address: int, pa: int) -> None:
        super().__init__(address, pa)
        self.address, self.pa = address, pa

    def __str__(self) -> str:
        return f"call of {self.address:#x} (physical {self.pa:#x}): no firmware function there"


def whole_map(memory_map: MemoryMap) -> tuple[EfiMemoryDescriptor, ...]:
    """The descriptors as they are."""
    return memory_map.descriptors


@dataclass(frozen=True)
class FirmwareKind:
    """One kind of firmware: what it is called, who met it, and its services as functions.

    `get_memory_map` gives the descriptors that the kernel is told of, from those of the machine.  Each other service
    takes (firmware, cpu, bias, the call's arguments ...); `bias` is how far the address that its code runs at is from
    the physical one.  Services that are not here answer EFI_UNSUPPORTED: this suite never calls them.
    """

    name: str
    title: str
    source: str
    set_virtual_address_map: Callable[..., EfiStatus]
    get_time: Callable[..., EfiStatus]
    get_variable: Callable[..., EfiStatus]
    get_memory_map: Callable[[MemoryMap], tuple[EfiMemoryDescriptor, ...]] = whole_map


class Firmware:
    """The runtime part of a firmware of `kind`, laid out in the runtime regions of `memory_map`.

    `tables` tells its word size: X64, or IA32 for 32-bit firmware.  `running` is True from its first instruction until
    it returns, and stays True where it never did.
    """

    def __init__(
        self, kind: FirmwareKind, memory: PhysMemory, memory_map: MemoryMap, trace: Trace, tables: TableLayout = X64
    ) -> None:
        self.kind, self.memory, self.memory_map, self.trace, self.tables = kind, memory, memory_map, trace, tables
        self.layout: Layout = lay_out(memory, memory_map, tables)
        self.running = False
        self.watchers: list[Callable[[Cpu], None]] = []  # told of each call before it is entered
        self.leavers: list[Callable[[Cpu], None]] = []  # told of each call when it is over, be it by a fault
        self.calling: tuple[int, tuple[int, ...]] = (0, ())  # the address and the arguments of the latest call
        self._services: dict[int, str] = {pa: name for name, pa in self.layout.services.items()}

    def copy(self, memory: PhysMemory, trace: Trace) -> Firmware:
        """The same firmware on a copy of its memory; nobody watches it."""
        other = copy(self)
        other.memory, other.trace, other.watchers, other.leavers = memory, trace, [], []
        return other

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
        self.calling = address, arguments
        for watch in self.watchers:
            watch(cpu)
        try:
            return self._enter(cpu, address, arguments)
        finally:
            for watch in tuple(self.leavers):  # one may take itself away
                watch(cpu)

    def service_at(self, cpu: Cpu, address: int) -> str:
        """The name of the service that a call of `address` would reach with the tables in force; "" for none."""
        pa = cpu.walk(address).pa
        return "" if pa is None else self._services.get(pa, "")

    def _enter(self, cpu: Cpu, address: int, arguments: tuple[int, ...]) -> EfiStatus:
        cpu.rsp -= self.tables.word
        cpu.write(cpu.rsp, self.tables.pack(cpu.rip))
        self.running = True
        pa = cpu.fetch(address)
        name = self._services.get(pa)
        if name is None:
            raise WildCall(address, pa)
        back, cpu.rip = cpu.rip, address
        with self.trace.span("firmware", name):
            status = self._code(name)(self, cpu, address - pa, *arguments)
        cpu.rip, cpu.rsp, self.running = back, cpu.rsp + self.tables.word, False
        return status

    def _code(self, name: str) -> Callable[..., EfiStatus]:
        known: dict[str, Callable[..., EfiStatus]] = {
            "SetVirtualAddressMap": self.kind.set_virtual_address_map,
            "GetTime": self.kind.get_time,
            "GetVariable": self.kind.get_variable,
        }
        return known.get(name, _unsupported)


def _unsupported(*_arguments: object) -> EfiStatus:
    return EfiStatus.EFI_UNSUPPORTED


SIZEOF_EFI_TIME = 16


def get_time(firmware: Firmware, cpu: Cpu, bias: int, time: int, _capabilities: int = 0) -> EfiStatus:
    """GetTime: store EFI_TIME at `time`, copied from the clock that the image's own pointer leads to."""
    clock = cpu.read_uint(firmware.layout.image("PcRtc").data_pointer + bias, firmware.tables.word)
    cpu.write(time, cpu.read(clock, SIZEOF_EFI_TIME))
    return EfiStatus.EFI_SUCCESS


def get_variable(
    firmware: Firmware, cpu: Cpu, bias: int, name: int, _guid: int, _attributes: int, data_size: int, data: int
) -> EfiStatus:
    """GetVariable for the UTF-16 name at `name`: its value goes to `data`, its size to `data_size`.

    The store holds PlatformLang only; the vendor's GUID is not compared, and no attributes are stored.
    """
    word = firmware.tables.word
    store = cpu.read_uint(firmware.layout.image("VariableRuntimeDxe").data_pointer + bias, word)
    name_size, value_size = struct.unpack("<II", cpu.read(store, 8))
    if cpu.read(name, name_size) != cpu.read(store + 8, name_size):
        return EfiStatus.EFI_NOT_FOUND
    room = cpu.read_uint(data_size, word)
    cpu.write_uint(data_size, value_size, word)
    if room < value_size:
        return EfiStatus.EFI_BUFFER_TOO_SMALL
    cpu.write(data, cpu.read(store + 8 + name_size, value_size))
    return EfiStatus.EFI_SUCCESS


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


EDK2 = FirmwareKind(
    name="edk2",
    title="edk2, the reference implementation",
    source="tianocore/edk2 snapshot c5aa7e7d94c0, MdeModulePkg/Core/RuntimeDxe",
    set_virtual_address_map=set_virtual_address_map,
    get_time=get_time,
    get_variable=get_variable,
)
