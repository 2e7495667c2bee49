"""The translation lookaside buffer: translations that were used, kept until something makes the processor forget them.

Source: Intel SDM, volume 3A, section 4.10 (recalled).  A real TLB may forget any entry at any time; this one never does
by itself, so that what *may* happen on a machine surely happens here.  Not modelled: paging-structure caches and PCIDs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TlbEntry:
    """One cached translation: the page at `va` of `size` bytes is at `pa`, with the rights of all levels together."""

    va: int
    size: int
    pa: int
    writable: bool
    user: bool
    executable: bool
    is_global: bool
    dirty: bool

    def translate(self, va: int) -> int:
        """The physical address of `va`, which must lie in the page."""
        return self.pa + va - self.va

    def __str__(self) -> str:
        rights = f"r{'w' if self.writable else '-'}{'x' if self.executable else '-'}{'u' if self.user else '-'}"
        return f"{self.va:#x} -> {self.pa:#x} {rights}{' global' if self.is_global else ''}"


class Tlb:
    """The cached translations of one processor, by page."""

    def __init__(self) -> None:
        self._pages: dict[int, dict[int, TlbEntry]] = {}

    def __iter__(self) -> Iterator[TlbEntry]:
        """Every cached translation, by address."""
        return iter(sorted((entry for pages in self._pages.values() for entry in pages.values()), key=lambda e: e.va))

    def __len__(self) -> int:
        return sum(map(len, self._pages.values()))

    def lookup(self, va: int) -> TlbEntry | None:
        """The cached translation that covers `va`, or None."""
        return next((pages[va & -size] for size, pages in self._pages.items() if va & -size in pages), None)

    def insert(self, entry: TlbEntry) -> None:
        """Cache `entry` in place of whatever covered its first byte."""
        self.invalidate(entry.va)
        self._pages.setdefault(entry.size, {})[entry.va] = entry

    def invalidate(self, va: int) -> None:
        """Forget the translation of the page that `va` lies in, a global one too."""
        for size, pages in self._pages.items():
            pages.pop(va & -size, None)

    def flush(self, *, global_pages: bool) -> None:
        """Forget every translation; those of global pages only when `global_pages` says so."""
        for size, pages in self._pages.items():
            kept = {} if global_pages else {va: entry for va, entry in pages.items() if entry.is_global}
            self._pages[size] = kept
