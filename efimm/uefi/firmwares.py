"""The kinds of firmware met in the field, as records: each differs from edk2 in the functions that it replaces.

What each was seen to do has its source in the record; how it does it here is inferred, since nobody published its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ..x86 import Cpu
from ..x86.memory import PAGE_SHIFT, PAGE_SIZE, TableRun
from ..x86.modes import PS, RW, A, D, P
from . import runtime, switch
from .runtime import EfiStatus, Firmware, FirmwareKind
from .tables import X64

EDK2 = FirmwareKind(
    name="edk2",
    title="edk2, the reference implementation",
    source="tianocore/edk2 snapshot c5aa7e7d94c0, MdeModulePkg/Core/RuntimeDxe",
    set_virtual_address_map=switch.set_virtual_address_map,
    get_time=runtime.get_time,
    get_variable=runtime.get_variable,
)


def check_the_pointer(
    firmware: Firmware, cpu: Cpu, bias: int, size: int, descriptor_size: int, version: int, pointer: int
) -> EfiStatus:
    """edk2's, but first the array must lie in memory that the firmware's own map has: a physical address."""
    known = firmware.memory_map.descriptors
    if not any(d.physical_start <= pointer and pointer + size <= d.end for d in known):
        return EfiStatus.EFI_INVALID_PARAMETER
    return switch.set_virtual_address_map(firmware, cpu, bias, size, descriptor_size, version, pointer)


def get_time_at_the_physical_clock(
    firmware: Firmware, cpu: Cpu, _bias: int, time: int, _capabilities: int = 0
) -> EfiStatus:
    """GetTime that goes on reading its clock at the physical address, also after the switch."""
    cpu.write(time, cpu.read(firmware.layout.image("PcRtc").buffer, runtime.SIZEOF_EFI_TIME))
    return EfiStatus.EFI_SUCCESS


def get_time_beside_the_code(firmware: Firmware, cpu: Cpu, bias: int, time: int, _capabilities: int = 0) -> EfiStatus:
    """GetTime that finds its clock by the distance from its own code, as if both had moved together."""
    cpu.write(time, cpu.read(firmware.layout.image("PcRtc").buffer + bias, runtime.SIZEOF_EFI_TIME))
    return EfiStatus.EFI_SUCCESS


def get_time_in_virtual_mode_only(
    firmware: Firmware, cpu: Cpu, bias: int, time: int, capabilities: int = 0
) -> EfiStatus:
    """GetTime that fails until SetVirtualAddressMap was called."""
    if not switch.Variables(cpu, firmware.layout.variables + bias, firmware.tables).virtual_mode:
        return EfiStatus.EFI_DEVICE_ERROR
    return runtime.get_time(firmware, cpu, bias, time, capabilities)


def switch_on_its_own_table(firmware: Firmware, cpu: Cpu, *arguments: int) -> EfiStatus:
    """edk2's, run on the identity map that the firmware made for itself; 32-bit firmware runs without paging anyway."""
    if firmware.tables is not X64:
        return switch.set_virtual_address_map(firmware, cpu, *arguments)
    systems = cpu.cr3
    cpu.write_cr3(_identity_map(firmware))
    status = switch.set_virtual_address_map(firmware, cpu, *arguments)
    cpu.write_cr3(systems)
    return status


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
        title="needs regions that touch to stay together (Apple)",
        source="Matthew Garrett, mjg59.dreamwidth.org/137093 (2011): contiguous flash regions of some Macs",
        get_time=get_time_beside_the_code,
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
