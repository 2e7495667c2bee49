"""Page tables that were saved from a running machine: the pages as an .npz file, what is known of them as .json.

`tables.npz` holds `pfns`, the page frame numbers, and `pages`, a row of entries for each; `tables.json` the mode, the
roots by name, and where the tables come from.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from .memory import PAGE_SHIFT, PAGE_SIZE, PHYSICAL_BITS, PhysMemory
from .modes import LEGACY, LONG4, LONG5, PAE, PagingMode

MODES = {"legacy32": LEGACY, "pae": PAE, "4level": LONG4, "5level": LONG5}
TABLES_NPZ, TABLES_JSON = "tables.npz", "tables.json"
_LARGEST = 1 << 30  # bytes of pages, unpacked


class TableFileError(ValueError):
    """A table file that cannot be read: one line that names the file and what was expected."""


def load_tables(path: str | os.PathLike[str]) -> tuple[PhysMemory, dict[str, int], PagingMode]:
    """The memory, the roots by name and the paging mode of saved tables.

    `path` is the directory that holds tables.npz and tables.json, or one of the two.  A root is a physical address, as
    in CR3 without its flags.  Raises TableFileError.  Pages that were not
    saved read as zeros.
    """
    folder = Path(path)
    folder = folder if folder.is_dir() else folder.parent
    about = _about(folder / TABLES_JSON)
    mode = MODES[about["mode"]]
    memory = PhysMemory()
    for pfn, page in _pages(folder / TABLES_NPZ, mode.entry_bytes):
        memory.write(pfn << PAGE_SHIFT, page)
    return memory, about["roots"], mode


def _about(path: Path) -> dict[str, Any]:
    """The mode and the roots (as numbers) of a tables.json."""
    import json  # noqa: PLC0415 - see _pages

    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        mode = about["mode"]
        roots = {str(name): int(str(root), 0) for name, root in about["roots"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TableFileError(f"{path}: expected JSON with a mode and roots: {_line(error)}") from error
    if not isinstance(mode, str) or mode not in MODES:
        raise TableFileError(f"{path}: mode {mode!r}: expected one of {', '.join(MODES)}")
    bits = 32 if MODES[mode].va_bits == 32 else PHYSICAL_BITS  # CR3 has no more
    if not roots or not all(0 <= root < 1 << bits for root in roots.values()):
        raise TableFileError(f"{path}: expected roots that are physical addresses of at most {bits} bits")
    return {"mode": mode, "roots": roots}


def _arrays(path: Path) -> tuple[_Array, _Array]:
    """What a tables.npz has as `pfns` and `pages`, whatever that is."""
    # Imported here, because everything else of the package starts without it.
    import zipfile  # noqa: PLC0415

    try:
        with zipfile.ZipFile(path) as packed:
            if sum(member.file_size for member in packed.infolist()) <= _LARGEST:
                return _array(packed.read("pfns.npy")), _array(packed.read("pages.npy"))
    except Exception as error:  # damaged bytes make zlib.error, SyntaxError, MemoryError, NotImplementedError, ...
        raise TableFileError(f"{path}: expected an .npz file with pfns and pages: {_line(error)}") from error
    raise TableFileError(f"{path}: expected at most {_LARGEST >> 20} MiB of pages")


class _Array(NamedTuple):
    """An array of integers from a file: their type ("u8", "i4"), the shape, and all of them in a row."""

    kind: str
    shape: tuple[int, ...]
    values: array[int]


_CODES = {"u1": "B", "i1": "b", "u2": "H", "i2": "h", "u4": "I", "i4": "i", "u8": "Q", "i8": "q"}
_LONGEST_HEAD = 10_000  # numpy's own limit


def _array(raw: bytes) -> _Array:
    """The .npy format, version 1 to 3 (NumPy's NEP 1), of integers in C order; read without numpy, which not every
    Python has.
    """
    import ast  # noqa: PLC0415 - as above

    if raw[:6] != b"\x93NUMPY":
        raise ValueError("not an .npy file")
    start = 10 if raw[6] == 1 else 12
    data = start + int.from_bytes(raw[8:start], "little")
    if data > _LONGEST_HEAD:
        raise ValueError("a head that is too long")
    head = ast.literal_eval(raw[start:data].decode("latin-1").strip())
    order, kind = str(head["descr"])[:1], str(head["descr"])[1:]
    values = array(_CODES[kind])
    values.frombytes(raw[data:])
    if head["fortran_order"] or len(values) != prod(head["shape"]):
        raise ValueError("expected as many numbers as the shape says, in C order")
    if (order == ">") != (sys.byteorder == "big") and order in "<>":
        values.byteswap()
    return _Array(kind, tuple(head["shape"]), values)


def _line(error: Exception) -> str:
    """What `error` says, in one line, which comes to an end: zipfile repeats the damaged names."""
    return " ".join(str(error).split())[:200]


def _pages(path: Path, entry_bytes: int) -> list[tuple[int, bytes]]:
    """The pages of a tables.npz with their frame numbers."""
    pfns, pages = _arrays(path)
    words = PAGE_SIZE // entry_bytes
    if len(pfns.shape) != 1 or pages.shape != (*pfns.shape, words):
        raise TableFileError(f"{path}: expected a page of {words} entries for each page frame number")
    if pages.kind not in {f"u{entry_bytes}", f"i{entry_bytes}"}:
        raise TableFileError(f"{path}: expected entries of {entry_bytes} bytes")
    if pfns.values and (min(pfns.values) < 0 or max(pfns.values) >= 1 << PHYSICAL_BITS - PAGE_SHIFT):
        raise TableFileError(f"{path}: expected page frame numbers below 2^{PHYSICAL_BITS - PAGE_SHIFT}")
    if sys.byteorder == "big":
        pages.values.byteswap()
    raw = memoryview(pages.values.tobytes())
    return [(pfn, bytes(raw[at * PAGE_SIZE : (at + 1) * PAGE_SIZE])) for at, pfn in enumerate(pfns.values)]


def save_tables(folder: str | os.PathLike[str], pages: Mapping[int, bytes], about: Mapping[str, Any]) -> None:
    """Write table pages (by physical address) and what is known of them into `folder`, for `load_tables`.

    `about` has at least `mode` (one of MODES) and `roots`.  Each file is complete, or as it was before.
    """
    import json  # noqa: PLC0415 - as in _about

    here = Path(folder)
    here.mkdir(parents=True, exist_ok=True)
    entry_bytes = MODES[about["mode"]].entry_bytes
    frames = sorted(pages)
    pfns = b"".join((pa >> PAGE_SHIFT).to_bytes(8, "little") for pa in frames)
    arrays = {
        "pfns": _npy("<u8", (len(frames),), pfns),
        "pages": _npy(
            f"<u{entry_bytes}", (len(frames), PAGE_SIZE // entry_bytes), b"".join(pages[pa] for pa in frames)
        ),
    }
    _replace(here / TABLES_NPZ, _zipped({f"{name}.npy": data for name, data in arrays.items()}))
    _replace(here / TABLES_JSON, (json.dumps(about, indent=1) + "\n").encode())


def _npy(kind: str, shape: tuple[int, ...], data: bytes) -> bytes:
    """The bytes of an .npy file, version 1.0 (NumPy's NEP 1): a head of a multiple of 64 bytes, then the numbers."""
    head = repr({"descr": kind, "fortran_order": False, "shape": shape})
    size = -(-(len(head) + 11) // 64) * 64
    return b"\x93NUMPY\x01\x00" + (size - 10).to_bytes(2, "little") + head.ljust(size - 11).encode() + b"\n" + data


def _zipped(files: Mapping[str, bytes]) -> bytes:
    import io  # noqa: PLC0415 - as in _arrays
    import zipfile  # noqa: PLC0415

    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return whole.getvalue()


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
