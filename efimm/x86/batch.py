"""The walk for arrays of addresses: the same answers as the walk for one, a hundred times as fast."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from .compiled import (
    ALLOWS_FETCH,
    ALLOWS_USER,
    ALLOWS_WRITE,
    I64,
    MASK_BITS,
    SHIFT_MASK,
    U8,
    U64,
    CompiledTables,
)
from .memory import PAGE_SIZE, PHYSICAL_BITS, PhysMemory
from .modes import LONG4, PAGING_OFF, PagingMode
from .rights import FETCH, WRITE, Request

I32 = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

TRANSLATED, GENERAL_PROTECTION = -1, -13
_BLOCK = 1 << 15  # addresses at a time: what a block needs stays in the processor's second cache
_ANY_READ = Request()
_INDEX_BITS = (1 << MASK_BITS) - 1

_Key = tuple[int, PagingMode, int, bool]
_kept: WeakKeyDictionary[PhysMemory, dict[_Key, tuple[int, CompiledTables]]] = WeakKeyDictionary()


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
    addresses = np.ascontiguousarray(vas, dtype=np.uint64)
    flat = addresses.ravel()
    pas, errors = np.zeros(flat.shape, np.uint64), np.full(flat.shape, TRANSLATED, np.int32)
    tables = None if mode is PAGING_OFF else _compiled(memory, (root & mode.root_mask, mode, maxphyaddr, request.nxe))
    for start in range(0, len(flat), _BLOCK):
        block = slice(start, start + _BLOCK)
        if tables is None:
            pas[block] = flat[block]
        else:
            _translate_block(tables, flat[block], request, pas[block], errors[block])
        beyond = _not_canonical(flat[block], mode)
        if beyond.any():
            pas[block][beyond], errors[block][beyond] = 0, GENERAL_PROTECTION
    return pas.reshape(addresses.shape), errors.reshape(addresses.shape)


def _compiled(memory: PhysMemory, key: _Key) -> CompiledTables:
    """The compiled tables, made anew when memory has changed since."""
    kept = _kept.setdefault(memory, {})
    version, tables = kept.get(key, (-1, None))
    if tables is None or version != memory.version:
        tables = CompiledTables(memory, *key)
        kept[key] = memory.version, tables
    return tables


def _not_canonical(vas: U64, mode: PagingMode) -> Mask:
    sign = 0 if mode.va_bits == 32 else 1 << mode.va_bits - 1
    beyond: Mask = vas + np.uint64(sign) >> np.uint64(mode.va_bits) != 0
    return beyond


def _translate_block(tables: CompiledTables, vas: U64, request: Request, pas: U64, errors: I32) -> None:
    """Walk all lanes of a block, and write what came of them into `pas` and `errors`."""
    asks = request != _ANY_READ._replace(nxe=request.nxe)
    leaf, rights = (_walk_runs if tables.has_runs else _walk)(tables, vas.view(np.int64), asks)
    size_bits = leaf & SHIFT_MASK
    np.left_shift(np.uint64(1), size_bits, out=size_bits)
    size_bits -= 1
    np.bitwise_and(leaf, ~np.uint64(PAGE_SIZE - 1), out=pas)
    pas |= vas & size_bits
    faults = leaf.view(np.int64) < 0
    if faults.any():
        codes = np.array([request.error_code("not present"), request.error_code("reserved bit")], np.int32)
        errors[faults] = codes[leaf[faults] & 1]
        pas[faults] = 0
    if rights is not None:
        denied = _denied(request, rights) & ~faults
        errors[denied] = request.error_code("")
        pas[denied] = 0


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


def _walk_runs(tables: CompiledTables, vas: I64, asks: bool) -> tuple[U64, U8 | None]:
    """The same where some tables are runs, whose entries have to be computed."""
    levels = tables.mode.levels
    position = _indices(vas, levels[0].shift, (1 << levels[0].bits) - 1)
    follow, leaf, rights = tables.look_up(position)
    for level in levels[1:]:
        position = (follow >> MASK_BITS) + (vas >> level.shift & follow & _INDEX_BITS)
        follow, leaf, more = tables.look_up(position)
        rights &= more
    return leaf, rights if asks else None


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
