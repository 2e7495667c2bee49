"""An entry that can say what it means, and a table that can be read and written like a list."""

from __future__ import annotations

from collections.abc import Iterator

from ..trace import EntryWrite, Trace
from .memory import PAGE_SIZE, PhysMemory, progression
from .modes import ADDRESS_MASK, LONG4, NX, PCD, PS, PWT, RW, US, A, D, G, P, PagingMode

_FLAG_NAMES = {P: "P", RW: "RW", US: "US", PWT: "PWT", PCD: "PCD", A: "A", D: "D", PS: "PS", G: "G", NX: "NX"}


class Entry(int):
    """One page-table entry: a number that can say what it means."""

    __slots__ = ()

    @property
    def present(self) -> bool:
        """Bit 0.  Without it the processor ignores every other bit."""
        return bool(self & P)

    @property
    def address(self) -> int:
        """The physical address in bits 51..12 (a large page's PAT bit, bit 12, is not taken out)."""
        return self & ADDRESS_MASK

    @property
    def flags(self) -> str:
        """The names of the bits that are set, such as "P RW A D"."""
        return " ".join(name for bit, name in _FLAG_NAMES.items() if self & bit)

    def __repr__(self) -> str:
        meaning = f"{self.flags} -> {self.address:#x}" if self.present else "not present"
        return f"Entry {int(self):#x}: {meaning}"

    __str__ = __repr__


class PageTable:
    """A view of one table page in memory.  Reading is silent; `table[i] = entry` is an act and goes to the trace."""

    def __init__(self, memory: PhysMemory, pa: int, name: str, trace: Trace, mode: PagingMode = LONG4) -> None:
        self.memory, self.pa, self.name, self.trace = memory, pa, name, trace
        self.entry_bytes = mode.entry_bytes

    def __len__(self) -> int:
        return PAGE_SIZE // self.entry_bytes

    def __getitem__(self, index: int) -> Entry:
        pa = self._entry_pa(index)
        return Entry.from_bytes(self.memory.read(pa, self.entry_bytes), "little")

    def __setitem__(self, index: int, entry: int) -> None:
        self.fill(index, 1, entry, 0)

    def fill(self, index: int, count: int, first: int, step: int) -> None:
        """Write `count` entries from `index` on: `first`, `first + step`, ...; one event in the trace.

        IndexError, and nothing is written, when the table ends before.
        """
        self._entry_pa(index + count - 1)
        old = self[index]
        self.memory.write(self._entry_pa(index), progression(first, count, step, self.entry_bytes))
        self.trace.emit(EntryWrite(self.name, index, int(old), first, count, step))

    def slots(self) -> dict[int, int]:
        """The entries that are not zero, by index."""
        return {index: int(entry) for index, entry in enumerate(self) if entry}

    def __iter__(self) -> Iterator[Entry]:
        data = self.memory.read(self.pa, PAGE_SIZE)
        size = self.entry_bytes
        return (Entry.from_bytes(data[at : at + size], "little") for at in range(0, PAGE_SIZE, size))

    def _entry_pa(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has entries 0 to {len(self) - 1}, not {index}")
        return self.pa + index * self.entry_bytes
