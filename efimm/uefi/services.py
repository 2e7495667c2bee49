"""The runtime services that this suite calls, as edk2's drivers answer them."""

from __future__ import annotations

import struct

from ..x86 import Cpu
from .runtime import EfiStatus, Firmware

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
