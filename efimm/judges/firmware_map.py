"""The memory map of the real firmware: asked for in a boot of its own, and kept for the next time."""

from __future__ import annotations

import hashlib
import json
import subprocess
from bisect import bisect_right
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from ..files import write_text
from ..uefi.memmap import EfiMemoryDescriptor, MemoryMap
from ..uefi.synthetic import e820_from_efi
from ..units import GIB
from .build import source_hash
from .guest import Guest, Power, boot
from .host import QEMU, cache_folder
from .testimony import Testimony, read_testimony


@dataclass(frozen=True)
class FirmwareMap:
    """What a guest's firmware says of its memory at ExitBootServices, and how large the witness is in it.

    `descriptors` are in the firmware's own order, which is not always ascending.
    `system_table` is the physical address of EFI_SYSTEM_TABLE.
    """

    descriptors: tuple[EfiMemoryDescriptor, ...]
    image_size: int
    vendor: str
    system_table: int

    @cached_property
    def _ascending(self) -> list[EfiMemoryDescriptor]:
        return sorted(self.descriptors, key=lambda region: region.physical_start)

    def region(self, pa: int) -> EfiMemoryDescriptor | None:
        """The region around physical address `pa`, None where there is none."""
        place = bisect_right(self._ascending, pa, key=lambda region: region.physical_start) - 1
        found = self._ascending[place] if place >= 0 else None
        return found if found is not None and pa < found.end else None

    def memory_map(self, guest: Guest) -> MemoryMap:
        """The map for the simulated machine.  Its e820 list is made the way a boot loader makes it."""
        return MemoryMap(
            name="ovmf",
            descriptors=self.descriptors,
            e820=e820_from_efi(self.descriptors),
            title=f"QEMU guest with {guest.ram / GIB:g} GiB ({guest.vendor}), firmware {self.vendor}",
        )


def learn(guest: Guest, *, timeout: float, afresh: bool = False, power: Power | None = None) -> FirmwareMap:
    """The map of `guest`'s firmware: from the cache, or from a boot (always from one when `afresh`)."""
    kept = cache_folder() / f"map-{_key(guest)}.json"
    known = None if afresh else _load(kept)
    if known is not None:
        return known
    found = map_of(read_testimony(boot(guest, timeout=timeout, power=power)))
    write_text(kept, json.dumps(asdict(found)))
    return found


def map_of(said: Testimony) -> FirmwareMap:
    """The map that a boot told."""
    vendor = said.firmware["vendor"].replace("_", " ")
    return FirmwareMap(said.descriptors, said.image_size, vendor, said.system_table)


@lru_cache
def qemu_version() -> str:
    """QEMU's own line about itself, such as "QEMU emulator version 7.2.22"."""
    done = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.partition("\n")[0].partition(" (")[0]


def _load(path: Path) -> FirmwareMap | None:
    """What an earlier boot left there; None where there is nothing, or nothing that this version can read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        data["descriptors"] = tuple(EfiMemoryDescriptor(**each) for each in data["descriptors"])
        return FirmwareMap(**data)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _key(guest: Guest) -> str:
    """A name that changes with whatever the map may depend on."""
    files = [path for path in (guest.firmware.code, guest.firmware.variables) if path is not None]
    stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    what = (guest.hardware(), stamps, qemu_version(), source_hash(guest.arch))
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]
