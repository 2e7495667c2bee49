"""The walk for arrays of addresses: the same answers as the walk for one, a hundred times as fast."""

from __future__ import annotations

from functools import cache
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from .compiled import (
    ALLOWS_FETCH,
    ALLOWS_USER,
    ALLOWS_WRITE,
    I64,
    MASK_BITS,
    NOT_PRESENT,
    RESERVED_BIT,
    U8,
    U64,
    UNKNOWN,
    CompiledTables,
)
from .cpu import FETCH, WRITE, Request
from .memory import PHYSICAL_BITS, PhysMemory
from .modes import ADDRESS_MASK, LONG4, PAGING_OFF, PagingMode
from .pagewalk import walk

I32 = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

TRANSLATED, GENERAL_PROTECTION = -1, -13
_ASK = -2  # only inside a block: the walk for one address has to be asked
_BLOCK = 1 << 15  # addresses at a time: what a block needs stays in the processor's second cache
_ANY_READ = Request()
_INDEX_BITS = (1 << MASK_BITS) - 1
_PAGE_BITS = np.uint64(ADDRESS_MASK)
_ENDING_BITS = 63  # in `leaf`: the number of offset bits, or how else the walk ended
_OFFSETS = np.array([(1 << bits) - 1 if bits > UNKNOWN else 0 for bits in range(_ENDING_BITS + 1)], dtype=np.uint64)

_Key = tuple[int, PagingMode, int, bool]
_MOST_KEPT = 8
_kept: WeakKeyDictionary[PhysMemory, tuple[int, dict[_Key, CompiledTables]]] = WeakKeyDictionary()


def translate(
    memory: PhysMemory,
    root: int,
    vas: npt.ArrayLike,
    mode: PagingMode = LONG4,
    *,
    request: Request = _ANY_READ,
    maxphyaddr: int = PHYSICAL_BITS,
) -> tuple[U64, I32]:
    """Physical addresses and errors for `vas` (uint64), each as an array of the same shape.

    An error is -1 where the address was translated, else the error code of the page fault that `request` meets, or -13
    for an address that is not canonical (a #GP).  The physical address is 0 where there is none.  Silent, as `walk` is:
    no accessed bit is set, no TLB is asked.  The tables are kept in a compiled form until something is written.
    """
    addresses = np.asarray(vas, dtype=np.uint64)
    flat = np.ascontiguousarray(addresses).ravel()
    request = request._replace(nxe=request.nxe and mode.entry_bytes == 8)
    pas, errors = np.empty(flat.shape, np.uint64), np.empty(flat.shape, np.int32)
    key = root, mode, maxphyaddr, request.nxe
    tables = None if mode is PAGING_OFF else _compiled(memory, key)
    for start in range(0, len(flat), _BLOCK):
        block = slice(start, start + _BLOCK)
        if tables is None:
            pas[block], errors[block] = flat[block], TRANSLATED
        else:
            _translate_block(tables, flat[block], request, pas[block], errors[block])
        if tables is not None and tables.incomplete:
            _ask(memory, key, request, flat[block], pas[block], errors[block])
        beyond = _not_canonical(flat[block], mode)
        if beyond.any():
            pas[block][beyond], errors[block][beyond] = 0, GENERAL_PROTECTION
    return pas.reshape(addresses.shape), errors.reshape(addresses.shape)


def _compiled(memory: PhysMemory, key: _Key) -> CompiledTables:
    """The compiled tables, made anew when memory has changed since.  A few are kept: a model has few roots in use."""
    version, tables = _kept.get(memory, (-1, {}))
    if version != memory.version or (len(tables) == _MOST_KEPT and key not in tables):
        tables = {}
        _kept[memory] = memory.version, tables
    if key not in tables:
        tables[key] = CompiledTables(memory, *key)
    return tables[key]


def _not_canonical(vas: U64, mode: PagingMode) -> Mask:
    sign = 0 if mode.va_bits == 32 else 1 << mode.va_bits - 1
    beyond: Mask = vas + np.uint64(sign) >> np.uint64(mode.va_bits) != 0
    return beyond


def _translate_block(tables: CompiledTables, vas: U64, request: Request, pas: U64, errors: I32) -> None:
    """Walk all lanes of a block, and write what came of them into `pas` and `errors`.

    Faults are lanes like others, whose leaf is 0 but for the low bits: no lane is told from another by a condition.
    """
    asks = request != _ANY_READ._replace(nxe=request.nxe)
    leaf, rights = _walk(tables, vas.view(np.int64), asks)
    ending = (leaf & _ENDING_BITS).view(np.int64)
    _OFFSETS.take(ending, out=pas, mode="clip")
    pas &= vas
    pas |= leaf & _PAGE_BITS
    _codes(request).take(ending, out=errors, mode="clip")
    if rights is not None:
        denied = _denied(request, rights) & (errors == TRANSLATED)
        errors[denied] = request.error_code("")
        pas[denied] = 0


@cache
def _codes(request: Request) -> I32:
    """The error for each way a walk can end."""
    codes = np.full(_ENDING_BITS + 1, TRANSLATED, np.int32)
    codes[NOT_PRESENT], codes[RESERVED_BIT] = request.error_code("not present"), request.error_code("reserved bit")
    codes[UNKNOWN] = _ASK
    return codes


def _ask(memory: PhysMemory, key: _Key, request: Request, vas: U64, pas: U64, errors: I32) -> None:
    """Walk the lanes one by one whose tables were too many to be compiled."""
    root, mode, maxphyaddr, nxe = key
    for lane in np.flatnonzero(errors == _ASK).tolist():
        found = walk(memory, root, int(vas[lane]), mode, maxphyaddr=maxphyaddr, nxe=nxe)
        allowed = found.pa is not None and request.allowed_by(found)
        pas[lane] = found.pa if allowed and found.pa else 0
        errors[lane] = TRANSLATED if allowed else request.error_code(found.problem)


def _walk(tables: CompiledTables, vas: I64, asks: bool) -> tuple[U64, U8 | None]:
    """The last entry of every lane's walk, and the rights of all its levels where somebody `asks` for them."""
    levels = tables.mode.levels
    position = _indices(vas, levels[0].shift, (1 << levels[0].bits) - 1)
    rights = tables.rights.take(position) if asks else None
    follow, index = np.empty_like(position), np.empty_like(position)
    for level in levels[1:]:
        np.take(tables.follow, position, out=follow, mode="clip")
        np.right_shift(vas, level.shift, out=index)
        index &= follow
        index &= _INDEX_BITS
        np.right_shift(follow, MASK_BITS, out=position)
        position += index
        if rights is not None:
            rights &= tables.rights.take(position)
    return tables.leaf.take(position), rights


def _indices(vas: I64, shift: int, mask: int) -> I64:
    index = vas >> shift
    index &= mask
    return index


def _denied(request: Request, rights: U8) -> Mask:
    """Where `Request.allowed_by` would say no."""
    user: Mask = rights & ALLOWS_USER != 0
    denied: Mask = ~user if request.user else user & (request.smep if request.kind == FETCH else request.smap)
    if request.kind == WRITE and (request.user or request.wp):
        denied |= rights & ALLOWS_WRITE == 0
    if request.kind == FETCH:
        denied |= rights & ALLOWS_FETCH == 0
    return denied
