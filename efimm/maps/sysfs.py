"""Memory maps from directories of sysfs, read where they are or from a copy (`cp -r`).

/sys/firmware/memmap/N/{start,end,type}: drivers/firmware/memmap.c, inclusive ends, names as in /proc/iomem.
/sys/firmware/efi/runtime-map/N/{type,phys_addr,virt_addr,num_pages,attribute}: drivers/firmware/efi/runtime-map.c,
since 3.14; only regions of the runtime services, readable by root.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..uefi.memmap import E820Entry, EfiMemoryDescriptor
from .entries import check_range, efi_descriptor
from .errors import MapError, shortened
from .iomem import RESOURCES
from .lists import MOST_ENTRIES, RUNTIME_MAP, SYSFS, Lists

_NUMBER = re.compile(r"0x([0-9a-f]{1,16})")
_LONGEST_VALUE = 256


def read_sysfs(folder: Path) -> Lists:
    """The lists in `folder`: that of /sys/firmware, or one of the two directories themselves.

    MapError, which names the file, for a value that cannot be read, and where there is no list.  Virtual addresses are
    left out, as in other maps.
    """
    lists = Lists()
    for path in _with_entries([folder, folder / "memmap"], "start"):
        lists.add(SYSFS, _e820_entry(path))
    efi = [folder, folder / "runtime-map", folder / "efi" / "runtime-map"]
    for path in _with_entries(efi, "phys_addr"):
        lists.add(RUNTIME_MAP, _descriptor(path))
    if not lists.found():
        raise MapError("expected a readable file: this is a directory without lists such as /sys/firmware/memmap")
    if folder.name == "firmware" and SYSFS in lists.printed:
        lists.booted_by = "UEFI" if (folder / "efi").is_dir() else "BIOS"
    return lists


def _with_entries(folders: list[Path], member: str) -> Iterator[Path]:
    """The numbered directories that hold a file `member`, in the order of their numbers."""
    for folder in folders:
        numbers = [path.name for path in folder.glob("[0-9]*") if re.fullmatch("[0-9]{1,9}", path.name)]
        if len(numbers) > MOST_ENTRIES:
            raise MapError(f"more than {MOST_ENTRIES} entries")
        yield from (path for name in sorted(numbers, key=int) if ((path := folder / name) / member).exists())


def _e820_entry(path: Path) -> E820Entry:
    name = _value(path / "type")
    if name not in RESOURCES:
        raise MapError(f"{path.name}/type: unknown type {shortened(name)}; expected {', '.join(RESOURCES)}")
    start, end = _number(path / "start"), _number(path / "end") + 1
    check_range(start, end)
    return E820Entry(start, end, RESOURCES[name])


def _descriptor(path: Path) -> EfiMemoryDescriptor:
    kind, start, pages, attribute = (_number(path / name) for name in ("type", "phys_addr", "num_pages", "attribute"))
    return efi_descriptor(kind, attribute, start, start + (pages << 12))


def _number(path: Path) -> int:
    value = _value(path)
    found = _NUMBER.fullmatch(value)
    if not found:
        raise MapError(f"{path.parent.name}/{path.name}: expected a number such as 0x1000, found {shortened(value)}")
    return int(found[1], 16)


def _value(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_LONGEST_VALUE).decode("utf-8", "replace").strip()
