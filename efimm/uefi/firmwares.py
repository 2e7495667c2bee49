"""The kinds of firmware that do something otherwise than edk2.

Each is a record that differs from edk2 in the functions that it replaces.  What it was seen to do has its
source in the record; how it does it here is inferred, since nobody published its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ..x86 import Cpu
from ..x86.memory import PAGE_SHIFT, PAGE_SIZE, TableRun
from ..x86.modes import PS, RW, A, D, P
from .image import SYSTEM_TABLE_SIGNATURE, X64
from .memmap import (
    EFI_MEMORY_RUNTIME,
    EFI_MEMORY_UC,
    EfiMemoryDescriptor,
    EfiMemoryType,
    MemoryMap,
)
from .runtime import (
    EDK2,
    SIZEOF_EFI_TIME,
    EfiStatus,
    Firmware,
    FirmwareKind,
    Variables,
    get_time,
    set_virtual_address_map,
)


def check_the_pointer(
    firmware: Firmware, cpu: Cpu, bias: int, size: int, descriptor_size: int, version: int, pointer: int
) -> EfiStatus:
    """edk2's, but first the array must lie in memory that the firmware's own map has: a physical address."""
    known = firmware.memory_map.descriptors
    if not any(d.physical_start <= pointer and pointer + size <= d.end for d in known):
        return EfiStatus.EFI_INVALID_PARAMETER
    return set_virtual_address_map(firmware, cpu, bias, size, descriptor_size, version, pointer)


def get_time_at_the_physical_clock(
    firmware: Firmware, cpu: Cpu, _bias: int, time: int, _capabilities: int = 0
) -> EfiStatus:
    """GetTime that goes on reading its clock at the physical address, also after the switch."""
    cpu.write(time, cpu.read(firmware.layout.image("PcRtc").buffer, SIZEOF_EFI_TIME))
    return EfiStatus.EFI_SUCCESS


def get_time_beside_the_code(firmware: Firmware, cpu: Cpu, bias: int, time: int, _capabilities: int = 0) -> EfiStatus:
    """GetTime that finds its clock by the distance from its own code, as if both had moved together."""
    cpu.write(time, cpu.read(firmware.layout.image("PcRtc").buffer + bias, SIZEOF_EFI_TIME))
    return EfiStatus.EFI_SUCCESS


def data_in_two_regions(memory_map: MemoryMap) -> tuple[EfiMemoryDescriptor, ...]:
    """The map with its runtime data cut in two behind the first pages: same type, same attribute, touching."""
    regions: list[EfiMemoryDescriptor] = []
    for md in memory_map.descriptors:
        cut = min(md.number_of_pages, _FIRST_PAGES) if md.runtime and md.type == _RUNTIME_DATA else md.number_of_pages
        regions.append(replace(md, number_of_pages=cut))
        if cut < md.number_of_pages:
            start = md.physical_start + (cut << PAGE_SHIFT)
            regions.append(replace(md, physical_start=start, number_of_pages=md.number_of_pages - cut))
    return tuple(regions)


def get_time_across_regions(firmware: Firmware, cpu: Cpu, bias: int, time: int, _capabilities: int = 0) -> EfiStatus:
    """GetTime that first looks at the system table, at its distance from the clock, in the region that touches."""
    rtc = firmware.layout.image("PcRtc")
    clock = cpu.read_uint(rtc.data_pointer + bias, firmware.tables.word)
    if cpu.read_u64(clock - rtc.buffer + firmware.layout.system_table) != SYSTEM_TABLE_SIGNATURE:
        return EfiStatus.EFI_DEVICE_ERROR
    return get_time(firmware, cpu, bias, time)


def running_boot_services(firmware: Firmware, cpu: Cpu, *arguments: int) -> EfiStatus:
    """edk2's, but a driver of the boot services is notified too, and its code has stayed where it was."""
    code = next((md for md in firmware.memory_map.descriptors if md.type == EfiMemoryType.EfiBootServicesCode), None)
    if code is not None:
        cpu.fetch(code.physical_start)
    return set_virtual_address_map(firmware, cpu, *arguments)


def reading_acpi_tables(firmware: Firmware, cpu: Cpu, *arguments: int) -> EfiStatus:
    """edk2's, but it looks into the ACPI tables, which nobody has asked to be mapped."""
    kind = EfiMemoryType.EfiACPIReclaimMemory
    tables = next((md for md in firmware.memory_map.descriptors if md.type == kind), None)
    if tables is not None:
        cpu.read(tables.physical_start, 8)
    return set_virtual_address_map(firmware, cpu, *arguments)


def writing_page_0(firmware: Firmware, cpu: Cpu, *arguments: int) -> EfiStatus:
    """edk2's, but it uses a word in page 0, as in the days of the BIOS data area."""
    cpu.write_uint(0x400, 0x3F8, 2)
    return set_virtual_address_map(firmware, cpu, *arguments)


def with_a_high_device(memory_map: MemoryMap) -> tuple[EfiMemoryDescriptor, ...]:
    """The map, and above all RAM the registers of a device: 1 MiB of runtime MMIO, near 16 TiB or above."""
    start = max(_NEAR_16_TIB, memory_map.highest_ram)
    attribute = EFI_MEMORY_RUNTIME | EFI_MEMORY_UC
    device = EfiMemoryDescriptor(EfiMemoryType.EfiMemoryMappedIO, start, 0, 256, attribute)
    return *memory_map.descriptors, device


def reading_the_high_device(firmware: Firmware, cpu: Cpu, *arguments: int) -> EfiStatus:
    """edk2's, but it reads a register of that device; 32-bit firmware has none so high."""
    if firmware.tables is X64:
        cpu.read(with_a_high_device(firmware.memory_map)[-1].physical_start, 8)
    return set_virtual_address_map(firmware, cpu, *arguments)


def get_time_in_virtual_mode_only(
    firmware: Firmware, cpu: Cpu, bias: int, time: int, capabilities: int = 0
) -> EfiStatus:
    """GetTime that fails until SetVirtualAddressMap was called."""
    if not Variables(cpu, firmware.layout.variables + bias, firmware.tables).virtual_mode:
        return EfiStatus.EFI_DEVICE_ERROR
    return get_time(firmware, cpu, bias, time, capabilities)


def switch_on_its_own_table(firmware: Firmware, cpu: Cpu, *arguments: int) -> EfiStatus:
    """edk2's, run on the identity map that the firmware made for itself; 32-bit firmware runs without paging anyway."""
    if firmware.tables is not X64:
        return set_virtual_address_map(firmware, cpu, *arguments)
    systems = cpu.cr3
    cpu.write_cr3(_identity_map(firmware))
    status = set_virtual_address_map(firmware, cpu, *arguments)
    cpu.write_cr3(systems)
    return status


# Behind tables and records, before the buffers of the drivers (image.py).
_RUNTIME_DATA, _FIRST_PAGES = EfiMemoryType.EfiRuntimeServicesData, 3

_NEAR_16_TIB = 0xFFC_0000_0000

# The firmware's own tables, 64 TiB by 1 GiB pages: one top-level page and 128 below it, just under 4 GiB.
_OWN_TABLES, _OWN_SLOTS, _FLAGS = 0xFFE0_0000, 128, P | RW | A | D


def _identity_map(firmware: Firmware) -> int:
    top = _OWN_TABLES >> PAGE_SHIFT
    if firmware.memory.run_at(top) is None:
        below = TableRun(top + 1, _OWN_SLOTS, 0, _OWN_SLOTS << 9, _FLAGS | PS, 1 << 30)
        links = TableRun(top, 1, 0, _OWN_SLOTS, _OWN_TABLES + PAGE_SIZE | _FLAGS, PAGE_SIZE)
        firmware.memory.add_tables([links, below])
    return _OWN_TABLES


_KINDS = (
    EDK2,
    replace(
        EDK2,
        name="checks-pointer",
        title="looks the pointer up in its own memory map first",
        source="inferred: what the specification would allow; Matthew Garrett, 2012-06-20, on what it demands",
        set_virtual_address_map=check_the_pointer,
    ),
    replace(
        EDK2,
        name="physical-clock",
        title="still uses physical addresses after the switch (ASUS)",
        source="Linux 185034e72d59 (Matt Fleming, 2012): GetTime of ASUS machines",
        get_time=get_time_at_the_physical_clock,
    ),
    replace(
        EDK2,
        name="virtual-only",
        title="its services fail until they are switched to virtual addresses",
        source="Linux 916f676f8dc0 (Matthew Garrett, 2011): some hardware fails in physical mode",
        get_time=get_time_in_virtual_mode_only,
    ),
    replace(
        EDK2,
        name="contiguous",
        title="needs what lies in touching regions of one type to stay together (Apple)",
        source="Matthew Garrett, mjg59.dreamwidth.org/137093 (2011): contiguous flash regions of some Macs",
        get_memory_map=data_in_two_regions,
        get_time=get_time_across_regions,
    ),
    replace(
        EDK2,
        name="properties-table",
        title="its code and data, in regions of their own, refer to each other by distance (UEFI 2.5)",
        source="Linux a5caa209ba9c (Matt Fleming, 2015): EFI_PROPERTIES_TABLE splits images in the memory map",
        get_time=get_time_beside_the_code,
    ),
    replace(
        EDK2,
        name="boot-services",
        title="runs boot services' code during the switch",
        source="Linux 916f676f8dc0 (Matthew Garrett, 2011): firmware that does is why they stay mapped for the call",
        set_virtual_address_map=running_boot_services,
    ),
    replace(
        EDK2,
        name="acpi-tables",
        title="reads the ACPI tables during the switch",
        source="inferred: UEFI 2.10, 2.3.4 has all memory of the map 1:1 until ExitBootServices",
        set_virtual_address_map=reading_acpi_tables,
    ),
    replace(
        EDK2,
        name="page-0",
        title="writes to page 0 during the switch",
        source="Linux bf29bddf0417 as recalled: some firmware writes to the first page, which it has given away",
        set_virtual_address_map=writing_page_0,
    ),
    replace(
        EDK2,
        name="high-device",
        title="reads a device above all RAM during the switch (SGI UV's registers near 16 TiB)",
        source="inferred from the memory map of a Superdome2 16s x86, whose runtime MMIO lies near 16 TiB",
        get_memory_map=with_a_high_device,
        set_virtual_address_map=reading_the_high_device,
    ),
    replace(
        EDK2,
        name="own-table",
        title="runs the switch on an identity map of its own",
        source="inferred: UEFI 2.10, 2.3.4 has such a map until ExitBootServices, and nothing forbids to keep it",
        set_virtual_address_map=switch_on_its_own_table,
    ),
)

FIRMWARES: Mapping[str, FirmwareKind] = MappingProxyType({kind.name: kind for kind in _KINDS})


def find_firmware(firmware: FirmwareKind | str) -> FirmwareKind:
    """A firmware by its name, or the record itself; ValueError lists the names there are."""
    if isinstance(firmware, FirmwareKind):
        return firmware
    if firmware not in FIRMWARES:
        raise ValueError(f"firmware {firmware!r}: expected one of {', '.join(FIRMWARES)}")
    return FIRMWARES[firmware]
