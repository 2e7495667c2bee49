"""Machines to boot: one made from a RAM size, or one whose memory map was read from a log or from data/.

A generated map follows what OVMF 2022.11 reported to our own boots of Linux 3.5.0 (November 2026): RAM up to 2 GiB, the
firmware's regions just below that, device space up to 4 GiB, the rest of the RAM above.  Sizes are rounded.  `number`
reads sizes and addresses as people write them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from .maps.errors import printable, shortened
from .uefi.firmwares import find_firmware
from .uefi.image import LEAST_PAGES
from .uefi.memmap import (
    DESCRIPTOR_SIZE,
    EFI_MEMORY_NV,
    EFI_MEMORY_RUNTIME,
    EFI_MEMORY_UC,
    EFI_MEMORY_WB,
    EFI_MEMORY_WC,
    EFI_MEMORY_WT,
    EFI_PAGE_SIZE,
    E820Entry,
    E820Type,
    EfiMemoryDescriptor,
    EfiMemoryType,
    MemoryMap,
    check_descriptor_size,
    e820_from_efi,
    e820_type_of,
)
from .uefi.runtime import FirmwareKind
from .x86.memory import GIB

_NUMBER = re.compile(r"([-+]?)(0x[0-9a-f]{1,40}|\d{1,40}(?:\.\d{1,18})?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def number(typed: str) -> int | None:
    """The number in `typed`: decimal or hex, with K, M, G or T (powers of 1024) behind it; None if it is none.

    Blanks around it, underscores and commas in it are left out.  A fraction of a unit ("1.5T") is cut to whole bytes.
    """
    match = _NUMBER.fullmatch(typed.strip().replace("_", "").replace(",", ""))
    if not match:
        return None
    sign, digits, unit = match.groups()
    shift = _UNITS[unit.lower()]
    if "." in digits:
        value = int(float(digits) * (1 << shift))
    else:
        value = int(digits, 16 if digits[:2] in ("0x", "0X") else 10) << shift
    return -value if sign == "-" else value


def short_size(size: int) -> str:
    """A size as the command takes it: "1T", "513G", "1.5G"; in bytes where that is not exact."""
    if size % (1 << 40) == 0:
        return f"{size >> 40}T"
    short = f"{size / GIB:g}G"
    return short if "e" not in short and number(short) == size else str(size)


MIB = 1 << 20
LOW_RAM = 2 * GIB
FOUR_GIB = 4 * GIB
ADDRESS_LIMIT = 1 << 46

_CACHED = EFI_MEMORY_UC | EFI_MEMORY_WC | EFI_MEMORY_WT | EFI_MEMORY_WB
_RUNTIME = EFI_MEMORY_RUNTIME | _CACHED
_T = EfiMemoryType

# The firmware's regions below the end of low RAM: (distance of the start from that end, type, attribute).
_FIRMWARE_REGIONS = (
    (24 * MIB, _T.EfiBootServicesCode, _CACHED),
    (20 * MIB, _T.EfiBootServicesData, _CACHED),
    (14 * MIB, _T.EfiRuntimeServicesData, _RUNTIME),
    (13 * MIB, _T.EfiRuntimeServicesCode, _RUNTIME),
    (12 * MIB, _T.EfiReservedMemoryType, _CACHED),
    (11 * MIB, _T.EfiACPIReclaimMemory, _CACHED),
    (10 * MIB, _T.EfiACPIMemoryNVS, _CACHED),
    (9 * MIB, _T.EfiBootServicesData, _CACHED),
)

_EFI_OF_E820: dict[int, tuple[EfiMemoryType, int]] = {
    E820Type.RAM: (_T.EfiConventionalMemory, _CACHED),
    E820Type.ACPI: (_T.EfiACPIReclaimMemory, _CACHED),
    E820Type.NVS: (_T.EfiACPIMemoryNVS, _CACHED),
    E820Type.UNUSABLE: (_T.EfiUnusableMemory, _CACHED),
    E820Type.PMEM: (_T.EfiPersistentMemory, _CACHED | EFI_MEMORY_NV),
}


def generated_map(ram: int) -> MemoryMap:
    """The map of a machine with `ram` bytes of memory: 2 GiB below the device hole, the rest from 4 GiB on.

    Nothing lies above 64 TiB (46 address bits): of 64 TiB of RAM, the 2 GiB that the hole displaces cannot be reached.
    """
    low = min(ram, LOW_RAM)
    starts = [low - distance for distance, _, _ in _FIRMWARE_REGIONS]
    ends = [*starts[1:], low]
    regions = [
        _descriptor(_T.EfiConventionalMemory, 0, 0xA0000, _CACHED),
        _descriptor(_T.EfiConventionalMemory, MIB, 9 * MIB, _CACHED),
        _descriptor(_T.EfiBootServicesData, 9 * MIB, 21 * MIB, _CACHED),
        _descriptor(_T.EfiConventionalMemory, 21 * MIB, starts[0], _CACHED),
    ]
    for start, end, (_, kind, attribute) in zip(starts, ends, _FIRMWARE_REGIONS, strict=True):
        regions.append(_descriptor(kind, start, end, attribute))
    if ram > low:
        high_end = min(FOUR_GIB + ram - low, ADDRESS_LIMIT)
        regions.append(_descriptor(_T.EfiConventionalMemory, FOUR_GIB, high_end, _CACHED))
    regions.append(_descriptor(_T.EfiReservedMemoryType, 0xB000_0000, 0xC000_0000, EFI_MEMORY_UC))
    flash = EFI_MEMORY_RUNTIME | EFI_MEMORY_UC
    regions.append(_descriptor(_T.EfiMemoryMappedIO, 0xFFC0_0000, FOUR_GIB, flash))
    return MemoryMap(
        name="generated",
        descriptors=tuple(regions),
        e820=e820_from_efi(tuple(regions)),
        title=f"a machine with {ram / GIB:g} GiB of RAM",
        notes=("generated: no firmware printed this map",),
    )


def efi_from_e820(given: MemoryMap) -> MemoryMap:
    """`given` with EFI descriptors: its own where it has some, else inferred from its e820 list, and a note saying so.

    Where its own have no room for a firmware, 2 MiB of runtime services are assumed, with a note as well.  The regions
    that an e820 list does not tell apart are put at the start of a reserved range of at least 2 MiB that follows other
    memory below 4 GiB; without such a range, at the end of the RAM below 4 GiB.
    """
    if given.descriptors:
        given = given if given.e820 else replace(given, e820=e820_from_efi(given.descriptors))
        return given if _holds_a_firmware(given) else _with_runtime_services(given)
    e820 = given.kernel_e820
    runtime = _reserved_range(e820)
    if runtime is None:
        e820, runtime = _carved_from_ram(e820)
    regions = _runtime_services(runtime.start)
    for entry in e820:
        start = runtime.start + 2 * MIB if entry is runtime else entry.start
        kind, attribute = _EFI_OF_E820.get(entry.type, (_T.EfiReservedMemoryType, EFI_MEMORY_UC))
        if start < entry.end:
            regions.append(_descriptor(kind, start, entry.end, attribute))
    ordered = tuple(sorted(regions, key=lambda d: d.physical_start))
    notes = [
        *given.notes,
        f"inferred: no EFI map was told; 2 MiB of runtime services are assumed at {runtime.start:#x}",
    ]
    if given.booted_by == "BIOS":
        notes.append("the machine was started by a BIOS and makes no EFI call: this is the same memory under UEFI")
    return replace(given, descriptors=ordered, e820=e820, user_e820=(), notes=tuple(notes))


def _runtime_services(start: int) -> list[EfiMemoryDescriptor]:
    """1 MiB of data from `start` on, and 1 MiB of code behind it."""
    middle = start + MIB
    return [
        _descriptor(_T.EfiRuntimeServicesData, start, middle, _RUNTIME),
        _descriptor(_T.EfiRuntimeServicesCode, middle, middle + MIB, _RUNTIME),
    ]


def _holds_a_firmware(given: MemoryMap) -> bool:
    """Whether the EFI list has runtime code and data for the model's firmware: a list may be cut, or made by hand."""
    large = {d.type for d in given.descriptors if d.runtime and d.number_of_pages >= LEAST_PAGES}
    return {_T.EfiRuntimeServicesCode, _T.EfiRuntimeServicesData} <= large


def _with_runtime_services(given: MemoryMap) -> MemoryMap:
    """`given` with 2 MiB of runtime services, at the end of a reserved range or of the RAM below 4 GiB, and a note."""
    e820 = given.kernel_e820
    reserved = _reserved_range(e820)
    e820, runtime = (e820, reserved) if reserved else _carved_from_ram(e820)
    end = runtime.end // EFI_PAGE_SIZE * EFI_PAGE_SIZE
    start = end - 2 * MIB
    regions = _runtime_services(start)
    for d in given.descriptors:
        parts = ((d.physical_start, min(d.end, start)), (max(d.physical_start, end), d.end))
        regions += [_descriptor(d.type, *part, d.attribute) for part in parts if part[0] < part[1]]
    note = f"inferred: the EFI list has no room for a firmware; 2 MiB of runtime services are assumed at {start:#x}"
    ordered = tuple(sorted(regions, key=lambda d: d.physical_start))
    return replace(given, descriptors=ordered, e820=e820, user_e820=(), notes=(*given.notes, note))


def _descriptor(kind: int, start: int, end: int, attribute: int) -> EfiMemoryDescriptor:
    return EfiMemoryDescriptor(int(kind), start, 0, (end - start) // EFI_PAGE_SIZE, attribute)


def _reserved_range(e820: tuple[E820Entry, ...]) -> E820Entry | None:
    ends = {entry.end for entry in e820}
    for entry in e820:
        big_enough = entry.end - entry.start >= 2 * MIB and entry.start % EFI_PAGE_SIZE == 0
        if entry.type == E820Type.RESERVED and big_enough and MIB <= entry.start < FOUR_GIB and entry.start in ends:
            return entry
    return None


def _carved_from_ram(e820: tuple[E820Entry, ...]) -> tuple[tuple[E820Entry, ...], E820Entry]:
    low_ram = [e for e in e820 if e.type == E820Type.RAM and min(e.end, FOUR_GIB) - e.start > 2 * MIB]
    if not low_ram:
        raise ValueError("the map has no RAM below 4 GiB to put a firmware in")
    ram = max(low_ram, key=lambda e: e.end)
    end = min(ram.end, FOUR_GIB)
    cut = end // EFI_PAGE_SIZE * EFI_PAGE_SIZE - 2 * MIB
    runtime = E820Entry(cut, end, E820Type.RESERVED)
    above = [replace(ram, start=end)] if ram.end > end else []  # of a guest whose RAM has no hole
    pieces = [(replace(e, end=cut), runtime, *above) if e is ram else (e,) for e in e820]
    return tuple(piece for group in pieces for piece in group), runtime


ARCHITECTURES = ("x86_64", "x86_64-la57", "i386", "i386-pae")
PAGE_SIZES = {"4K": 12, "2M": 21, "1G": 30}
MAXPHYADDR = 46
SMALLEST_RAM, LARGEST_RAM = GIB, 1 << MAXPHYADDR


class MachineError(ValueError):
    """A machine that cannot be built: one line that says what was given and what was expected."""


@dataclass(frozen=True)
class Machine:
    """A computer before any kernel runs on it.

    `ram` is in bytes as asked for; `buffer` is the physical address to put the descriptor array at, or None to let the
    kernel's allocator decide; `leaf_shift` is the largest page the kernel may use for its direct map (30, 21 or 12).
    `kaslr` is the address to which memory KASLR moves the direct map, None without it, and `kaslr_areas` are those of
    the vmalloc area and of vmemmap, None where they are not moved; with `kpti` the kernel isolates its page tables from
    processes', as on a processor with the Meltdown bug.  On "x86_64-la57" the processor can translate with five levels,
    which kernels use that know how: here those since 6.1.  With `noruntime` it is told not to call the firmware at all
    (efi=noruntime, since 3.16 as recalled; noefi before; real-time kernels are built so).

    Two that no judge of ours can show, from the C alone: with `sme` an AMD processor encrypts what is written through
    entries with bit 47 (_PAGE_ENC), if the kernel knows how (here since 6.1): the model keeps that at an address with
    this bit, apart from what lies there in plain, since neither can be read as the other; the tables themselves stay
    plain.  With `mixed` the firmware is of 32 bits, and the kernel's of 64.
    """

    ram: int
    map: MemoryMap
    buffer: int | None = None
    firmware: str | FirmwareKind = "edk2"
    arch: str = "x86_64"
    leaf_shift: int = 30
    descriptor_size: int = DESCRIPTOR_SIZE
    maxphyaddr: int = MAXPHYADDR
    kaslr: int | None = None
    kaslr_areas: tuple[int, int] | None = None
    kpti: bool = False
    noruntime: bool = False
    sme: bool = False
    mixed: bool = False

    def __repr__(self) -> str:
        place = "" if self.buffer is None else f", array at {self.buffer:#x}"
        memory = f"{self.ram / GIB:.6g} GiB of RAM up to {self.highest_ram:#x}"
        return f"<Machine {self.arch}, {memory}, firmware {find_firmware(self.firmware).name}{place}>"

    @property
    def highest_ram(self) -> int:
        """End (exclusive) of the highest RAM; above `ram`, since RAM starts again behind the hole below 4 GiB."""
        return self.map.highest_ram


def machine(
    ram: str | int = "1T",
    *,
    buffer: int | str | None = None,
    firmware: str | FirmwareKind = "edk2",
    arch: str = "x86_64",
    page_size: str = "1G",
    map: MemoryMap | str | os.PathLike[str] | None = None,  # noqa: A002 - the contract's name
    descriptor_size: int = DESCRIPTOR_SIZE,
    kaslr: int | str | None = None,
    kpti: bool = False,
    noruntime: bool = False,
    sme: bool = False,
    mixed: bool = False,
) -> Machine:
    """A machine with `ram` of memory, or with the memory of `map` (then `ram` is not used).

    `ram` is a number of bytes or a text such as "512G"; `map` is a MemoryMap, the path of a log or of a data file, or
    the name of a machine in data/; `firmware` is a name of `uefi.firmwares.FIRMWARES`, or a record of one's own.
    `kaslr` is an address in whole GiB, such as 0xffff8c7000000000, or three in a text: page_offset_base, vmalloc_base
    and vmemmap_base, with commas between.  Raises MachineError, or MapError for a map that
    cannot be read.
    """
    _firmware(firmware)
    _one_of("arch", arch, ARCHITECTURES)
    if arch.startswith("i386") and (kaslr is not None or kpti or sme or mixed):
        raise MachineError(f"kaslr, kpti, sme and mixed: expected with x86_64, not with {arch}")
    _one_of("page size", page_size, PAGE_SIZES)
    bases: tuple[int, ...] = () if kaslr is None else _kaslr(kaslr, 57 if arch == "x86_64-la57" else 48)
    memory_map = generated_map(_ram_size(ram)) if map is None else _usable(load_map(map))
    return Machine(
        ram=_ram_size(ram) if map is None else memory_map.ram_bytes,
        map=memory_map,
        buffer=None if buffer is None else _address(buffer),
        firmware=firmware,
        arch=arch,
        leaf_shift=PAGE_SIZES[page_size],
        descriptor_size=_descriptor_size(descriptor_size),
        kaslr=bases[0] if bases else None,
        kaslr_areas=(bases[1], bases[2]) if len(bases) == 3 else None,
        kpti=kpti,
        noruntime=noruntime,
        sme=sme,
        mixed=mixed,
    )


def parse_size(text: str) -> int:
    """A number of bytes from "1.5T", "512G", "4096": K, M, G and T are powers of 1024; MachineError otherwise."""
    size = number(text)
    if size is None or size < 0:
        raise MachineError(f"size {shortened(text)}: expected a number with K, M, G or T behind it, such as 512G")
    return size


def parse_address(text: str) -> int:
    """An address from "0x8000001000", "1234" or "600G"; MachineError otherwise."""
    address = number(text)
    if address is None or address < 0:
        raise MachineError(f"address {shortened(text)}: expected a number such as 0x8000001000")
    return address


def load_map(what: MemoryMap | str | os.PathLike[str] | BinaryIO, boot: int | None = None) -> MemoryMap:
    """The memory map named by `what`: a map itself, a machine of data/, a file (its path, or open), or a log's text.

    Of several boots in a log, `boot` is the number of one.
    """
    if isinstance(what, MemoryMap):
        return what
    from .maps.formats import read_map  # noqa: PLC0415 - a dozen readers, which a generated machine does without

    return read_map(data_files().get(what, what) if isinstance(what, str) else what, boot)


def data_files() -> dict[str, Path]:
    """The machines that come with efimm: their names and files."""
    return {path.stem: path for path in sorted(installed("data").glob("*.toml"))}


def table_files() -> dict[str, Path]:
    """The page tables of real kernels that come with efimm: their names and directories, for `x86.load_tables`."""
    return {path.parent.name: path.parent for path in sorted(installed("data").glob("tables/*/tables.npz"))}


def answers_file() -> Path:
    """What real firmware answered when it was asked for the record: the file that comes with efimm."""
    return installed("data") / "firmware-answers.json"


def searches_file() -> Path:
    """What the searches of `efimm.locks` found, for a Python that cannot run several processors."""
    return installed("data") / "lock-searches.json"


def linux_runs() -> dict[str, Path]:
    """The recorded runs of real kernels that come with efimm: their names and folders, for `judges.linux.recall`."""
    return {path.parent.name: path.parent for path in sorted(installed("data").glob("linux/*/tables.npz"))}


def installed(folder: str) -> Path:
    """Where `folder` of the project lies: within an installed package, beside the package in a checkout.

    The former where it lies nowhere.
    """
    package = Path(__file__).parent
    within, beside = package / folder, package.parent / folder
    return beside if beside.is_dir() and not within.is_dir() else within


def _firmware(firmware: str | FirmwareKind) -> None:
    try:
        find_firmware(firmware)
    except ValueError as error:
        raise MachineError(str(error)) from error


def _one_of(what: str, value: str, allowed: object) -> None:
    names = list(allowed) if isinstance(allowed, tuple | dict) else []
    if value not in names:
        raise MachineError(f"{what} {value!r}: expected one of {', '.join(names)}")


def _ram_size(ram: str | int) -> int:
    size = parse_size(ram) if isinstance(ram, str) else ram
    if not SMALLEST_RAM <= size <= LARGEST_RAM:
        raise MachineError(f"RAM size {printable(str(ram))}: expected 1G to 64T")
    return size


def _address(address: int | str) -> int:
    value = parse_address(address) if isinstance(address, str) else address
    if not 0 <= value < 1 << MAXPHYADDR:
        raise MachineError(f"address {value:#x}: expected a physical address below 2^{MAXPHYADDR}")
    return value


def _kaslr(bases: int | str, va_bits: int) -> tuple[int, ...]:
    """The addresses of `va_bits` bits that memory KASLR has chosen: one, or three with commas between."""
    texts = str(bases).split(",") if isinstance(bases, str) else [hex(bases)]
    if len(texts) not in (1, 3):
        raise MachineError(f"kaslr {printable(str(bases))}: expected one address, or three with commas between")
    values = tuple(parse_address(text) for text in texts)
    for value in values:
        if value % (1 << PAGE_SIZES["1G"]) or value >> va_bits - 1 != (1 << 65 - va_bits) - 1:
            raise MachineError(f"kaslr {value:#x}: expected an address of the kernel's half in whole GiB")
    return values


def _usable(given: MemoryMap) -> MemoryMap:
    """The map with both lists, each made from the other where it is missing."""
    try:
        memory_map = efi_from_e820(_without_what_lies_too_high(given))
    except ValueError as error:
        raise MachineError(f"{given.name}: {error}") from error
    if not any(entry.type == E820Type.RAM for entry in memory_map.kernel_e820):
        raise MachineError(f"{given.name}: the map has no RAM in it")
    highest = max((region.end for region in memory_map.descriptors if region.number_of_pages), default=0)
    if highest > 1 << MAXPHYADDR:
        raise MachineError(f"{given.name}: an EFI region ends at {highest:#x}; expected at most 2^{MAXPHYADDR}")
    return memory_map


def _without_what_lies_too_high(given: MemoryMap) -> MemoryMap:
    """The map without regions that end above 2^46 and that no kernel here touches: no RAM, no runtime region."""
    limit = 1 << MAXPHYADDR
    e820 = tuple(e for e in given.e820 if e.end <= limit or e.type == E820Type.RAM)
    user = tuple(e for e in given.user_e820 if e.end <= limit or e.type == E820Type.RAM)
    efi = tuple(d for d in given.descriptors if d.end <= limit or d.runtime or e820_type_of(d) == E820Type.RAM)
    left = len(given.e820) + len(given.user_e820) + len(given.descriptors) - len(e820) - len(user) - len(efi)
    if not left:
        return given
    note = f"set aside: {left} reserved or device regions above 2^{MAXPHYADDR}, which no kernel here touches"
    return replace(given, e820=e820, user_e820=user, descriptors=efi, notes=(*given.notes, note))


def _descriptor_size(size: int) -> int:
    try:
        return check_descriptor_size(size)
    except ValueError as error:
        raise MachineError(str(error)) from error
