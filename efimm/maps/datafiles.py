"""The project's own form of a memory map: the TOML files in data/, described in data/README.md.

All ends are exclusive.  The words of the e820 types are those of the kernel, the names of the EFI types those of the
UEFI specification.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ..uefi.memmap import E820Entry, EfiMemoryDescriptor, EfiMemoryType, MemoryMap
from .entries import E820_WORDS, e820_entry, efi_descriptor
from .errors import MapError, shortened

_Row = TypeVar("_Row")

_KEYS: dict[str, type] = dict.fromkeys(("name", "title", "kernel", "source", "licence", "booted_by"), str)
_KEYS |= dict.fromkeys(("notes", "reprints"), list) | dict.fromkeys(("e820", "user_e820", "efi"), str)

_ADDRESS = r"0x([0-9a-fA-F]{1,17})"
_E820_ROW = re.compile(rf"{_ADDRESS}\s+{_ADDRESS}\s+(.+)")
_EFI_ROW = re.compile(rf"(\w+)\s+0x([0-9a-fA-F]{{1,16}})\s+{_ADDRESS}\s+{_ADDRESS}")


def read_data_file(text: str, where: str) -> MemoryMap:
    """The map in the TOML `text`, which `where` names in errors (MapError)."""
    table = _checked_table(text, where)

    def descriptors(block: str) -> tuple[EfiMemoryDescriptor, ...]:
        return _rows(block, _efi_row, text, where)

    return MemoryMap(
        **{key: table[key] for key in ("name", "title", "kernel", "source", "licence", "booted_by")},
        notes=tuple(table["notes"]),
        descriptors=descriptors(table["efi"]),
        e820=_rows(table["e820"], _e820_row, text, where),
        user_e820=_rows(table["user_e820"], _e820_row, text, where),
        reprints=tuple(map(descriptors, table["reprints"])),
    )


def write_map(memory_map: MemoryMap) -> str:
    """The TOML text of `memory_map`: `read_map` of it gives an equal map.

    ValueError for a descriptor with a virtual address: the form has no column for it, and firmware reports 0.
    """
    m = memory_map
    texts = {"name": m.name, "title": m.title, "kernel": m.kernel, "source": m.source, "licence": m.licence}
    texts["booted_by"] = m.booted_by
    parts = [f"{key} = {_quoted(text)}\n" for key, text in texts.items() if text or key == "name"]
    if m.notes:
        parts.append("notes = [\n" + "".join(f"    {_quoted(note)},\n" for note in m.notes) + "]\n")
    rows = {"e820": _e820_rows(m.e820), "user_e820": _e820_rows(m.user_e820), "efi": _efi_rows(m.descriptors)}
    parts += [f"\n{key} = {_block(lines)}\n" for key, lines in rows.items() if lines]
    if m.reprints:
        parts.append("\nreprints = [\n" + "".join(f"{_block(_efi_rows(r))},\n" for r in m.reprints) + "]\n")
    return "".join(parts)


def _checked_table(text: str, where: str) -> dict[str, Any]:
    """The TOML table with every key there and of its type; MapError otherwise."""
    import tomllib  # noqa: PLC0415 - here, since few imports of efimm read a data file and all pay for its start

    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise MapError(f"{where}: expected a data file in TOML: {error}") from None
    for key, value in table.items():
        kind = _KEYS.get(key)
        if kind is None:
            raise MapError(f"{where}: unknown key {shortened(key)}; expected {', '.join(_KEYS)}")
        strings = value if isinstance(value, list) else [value]
        if not isinstance(value, kind) or not all(isinstance(string, str) for string in strings):
            raise MapError(f"{where}: {key}: expected {'a string' if kind is str else 'a list of strings'}")
    if "name" not in table or not {"e820", "user_e820", "efi"} & set(table):
        raise MapError(f"{where}: expected a name, and at least one of e820, user_e820 and efi")
    return {key: table.get(key, kind()) for key, kind in _KEYS.items()}


def _rows(block: str, parse: Callable[[str], _Row], text: str, where: str) -> tuple[_Row, ...]:
    """What `parse` makes of each line of `block`, comments and blank lines aside."""
    rows: list[_Row] = []
    for line in block.split("\n"):
        row = line.partition("#")[0].strip()
        try:
            rows += [parse(row)] if row else []
        except MapError as error:
            # tomllib tells no positions.  A row that appears twice is wrong twice, so its first line will do.
            number = next((n for n, candidate in enumerate(text.split("\n"), 1) if line in candidate), 0)
            raise MapError(f"{where}:{number}: {error}") from None
    return tuple(rows)


def _e820_row(row: str) -> E820Entry:
    found = _E820_ROW.fullmatch(row)
    if not found:
        raise MapError(f"expected '0xSTART 0xEND word', found {shortened(row)}")
    return e820_entry(int(found[1], 16), int(found[2], 16), found[3])


def _efi_row(row: str) -> EfiMemoryDescriptor:
    found = _EFI_ROW.fullmatch(row)
    if not found:
        raise MapError(f"expected 'type 0xATTRIBUTE 0xSTART 0xEND', found {shortened(row)}")
    return efi_descriptor(_efi_type(found[1]), *(int(number, 16) for number in found.groups()[1:]))


def _efi_type(word: str) -> int:
    """The number of an EFI memory type, which may be given by its name in the specification or as a number."""
    if re.fullmatch("[0-9]{1,10}", word):
        return int(word)
    if word not in EfiMemoryType.__members__:
        raise MapError(f"unknown memory type {shortened(word)}; expected a name such as EfiLoaderCode, or a number")
    return EfiMemoryType[word]


def _e820_rows(entries: Iterable[E820Entry]) -> list[str]:
    return [f"{e.start:#014x} {e.end:#014x} {E820_WORDS.get(e.type, f'type {e.type}')}" for e in entries]


def _efi_rows(descriptors: Iterable[EfiMemoryDescriptor]) -> list[str]:
    names: dict[int, str] = {kind: kind.name for kind in EfiMemoryType}
    rows = []
    for d in descriptors:
        if d.virtual_start:
            raise ValueError(f"{d.physical_start:#x}: expected virtual address 0, found {d.virtual_start:#x}")
        kind = names.get(d.type, str(d.type))
        rows.append(f"{kind:<26} {d.attribute:>#18x} {d.physical_start:#014x} {d.end:#014x}")
    return rows


def _block(rows: list[str]) -> str:
    return '"""\n' + "".join(f"{row}\n" for row in rows) + '"""'


def _quoted(text: str) -> str:
    """`text` as a basic string of TOML: that is JSON's, but for the DEL character, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
