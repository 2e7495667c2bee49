"""Machines to boot: one made from a RAM size, or one whose memory map was read from a log or from data/."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .maps.errors import printable, shortened
from .maps.formats import read_map
from .uefi.firmwares import FIRMWARES
from .uefi.memmap import DESCRIPTOR_SIZE, E820Type, MemoryMap, check_descriptor_size
from .uefi.synthetic import efi_from_e820, generated_map

ARCHITECTURES = ("x86_64", "i386", "i386-pae")
PAGE_SIZES = {"4K": 12, "2M": 21, "1G": 30}
MAXPHYADDR = 46
SMALLEST_RAM, LARGEST_RAM = 1 << 30, 1 << MAXPHYADDR

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)([KMGT]?)(?:i?B)?", re.IGNORECASE)


class MachineError(ValueError):
    """A machine that cannot be built: one line that says what was given and what was expected."""


@dataclass(frozen=True)
class Machine:
    """A computer before any kernel runs on it.

    `ram` is in bytes as asked for; `buffer` is the physical address to put the descriptor array at, or None to let the
    kernel's allocator decide; `leaf_shift` is the largest page the kernel may use for its direct map (30, 21 or 12).
    `kaslr` is the address to which memory KASLR moves the direct map, None without it; with `kpti` the kernel isolates
    its page tables from processes', as on a processor with the Meltdown bug.
    """

    ram: int
    map: MemoryMap
    buffer: int | None = None
    firmware: str = "edk2"
    arch: str = "x86_64"
    leaf_shift: int = 30
    descriptor_size: int = DESCRIPTOR_SIZE
    maxphyaddr: int = MAXPHYADDR
    kaslr: int | None = None
    kpti: bool = False

    @property
    def highest_ram(self) -> int:
        """End (exclusive) of the highest RAM; above `ram`, since RAM starts again behind the hole below 4 GiB."""
        return self.map.highest_ram


def machine(
    ram: str | int = "1T",
    *,
    buffer: int | str | None = None,
    firmware: str = "edk2",
    arch: str = "x86_64",
    page_size: str = "1G",
    map: MemoryMap | str | os.PathLike[str] | None = None,  # noqa: A002 - the contract's name
    descriptor_size: int = DESCRIPTOR_SIZE,
    kaslr: int | str | None = None,
    kpti: bool = False,
) -> Machine:
    """A machine with `ram` of memory, or with the memory of `map` (then `ram` is not used).

    `ram` is a number of bytes or a text such as "512G"; `map` is a MemoryMap, the path of a log or of a data file, or
    the name of a machine in data/.  `kaslr` is an address in whole GiB, such as 0xffff8c7000000000.  Raises
    MachineError, or MapError for a map that cannot be read.
    """
    _one_of("firmware", firmware, tuple(FIRMWARES))
    _one_of("arch", arch, ARCHITECTURES)
    if arch != "x86_64" and (kaslr is not None or kpti):
        raise MachineError(f"kaslr and kpti: expected with x86_64, not with {arch}")
    _one_of("page size", page_size, PAGE_SIZES)
    memory_map = generated_map(_ram_size(ram)) if map is None else _usable(load_map(map))
    return Machine(
        ram=_ram_size(ram) if map is None else memory_map.ram_bytes,
        map=memory_map,
        buffer=None if buffer is None else _address(buffer),
        firmware=firmware,
        arch=arch,
        leaf_shift=PAGE_SIZES[page_size],
        descriptor_size=_descriptor_size(descriptor_size),
        kaslr=None if kaslr is None else _page_offset(kaslr),
        kpti=kpti,
    )


def parse_size(text: str) -> int:
    """A number of bytes from "1.5T", "512G", "4096": K, M, G and T are powers of 1024; MachineError otherwise."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise MachineError(f"size {shortened(text)}: expected a number with K, M, G or T behind it, such as 512G")
    return int(float(match[1]) * (1 << _UNITS[match[2].upper()]))


def parse_address(text: str) -> int:
    """An address from "0x8000001000" or "1234"; MachineError otherwise."""
    try:
        return int(text, 0)
    except ValueError:
        raise MachineError(f"address {shortened(text)}: expected a number such as 0x8000001000") from None


def load_map(what: MemoryMap | str | os.PathLike[str]) -> MemoryMap:
    """The memory map named by `what`: a map itself, a machine of data/, a file, or a log's text."""
    if isinstance(what, MemoryMap):
        return what
    return read_map(data_files().get(str(what), what))


def data_files() -> dict[str, Path]:
    """The machines that come with efimm: their names and files."""
    return {path.stem: path for path in sorted(_data().glob("*.toml"))}


def table_files() -> dict[str, Path]:
    """The page tables of real kernels that come with efimm: their names and directories, for `x86.load_tables`."""
    return {path.parent.name: path.parent for path in sorted(_data().glob("tables/*/tables.npz"))}


def answers_file() -> Path:
    """What real firmware answered when it was asked for the record: the file that comes with efimm."""
    return _data() / "firmware-answers.json"


def searches_file() -> Path:
    """What the searches of `efimm.locks` found, for a Python that cannot run several processors."""
    return _data() / "lock-searches.json"


def _data() -> Path:
    here = Path(__file__).parent
    return next((path for path in (here / "data", here.parent / "data") if path.is_dir()), here / "data")


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


def _page_offset(address: int | str) -> int:
    value = parse_address(address) if isinstance(address, str) else address
    if value % (1 << PAGE_SIZES["1G"]) or value >> 47 != (1 << 17) - 1:
        raise MachineError(f"kaslr {value:#x}: expected an address of the kernel's half in whole GiB")
    return value


def _usable(given: MemoryMap) -> MemoryMap:
    """The map with both lists, each made from the other where it is missing."""
    try:
        memory_map = efi_from_e820(given)
    except ValueError as error:
        raise MachineError(f"{given.name}: {error}") from error
    if not any(entry.type == E820Type.RAM for entry in memory_map.kernel_e820):
        raise MachineError(f"{given.name}: the map has no RAM in it")
    highest = max((region.end for region in memory_map.descriptors if region.number_of_pages), default=0)
    if highest > 1 << MAXPHYADDR:
        raise MachineError(f"{given.name}: an EFI region ends at {highest:#x}; expected at most 2^{MAXPHYADDR}")
    return memory_map


def _descriptor_size(size: int) -> int:
    try:
        return check_descriptor_size(size)
    except ValueError as error:
        raise MachineError(str(error)) from error
