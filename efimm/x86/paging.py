"""An entry that can say what it means, and a table that can be read and written like a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..trace import EntryWrite, Trace
from .memory import PAGE_SHIFT, PAGE_SIZE, PhysMemory, progression
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

    __slots__ = ("_emit", "_page", "entry_bytes", "memory", "name", "pa", "trace")

    def __init__(self, memory: PhysMemory, pa: int, name: str, trace: Trace, mode: PagingMode = LONG4) -> None:
        self.memory, self.pa, self.name, self.trace = memory, pa, name, trace
        self.entry_bytes = mode.entry_bytes
        self._emit = trace.events.append
        # The page's words once it is bytes, which it then stays.  A sync goes through thousands of tables, and looks
        # for each in the memory's frames would take most of its time.
        self._page: memoryview | None = None

    def __len__(self) -> int:
        return PAGE_SIZE // self.entry_bytes

    def __getitem__(self, index: int) -> Entry:
        if self._page is not None and index >= 0:
            return Entry(self._page[index])
        return Entry(self.memory.read_word(self._entry_pa(index), self.entry_bytes))

    def __setitem__(self, index: int, entry: int) -> None:
        page = self._page
        if page is None or index < 0:
            self.fill(index, 1, entry, 0)
            return
        old = page[index]
        page[index] = entry
        self.memory.version += 1
        self._emit(EntryWrite(self.name, index, old, entry))

    def setdefault(self, index: int, entry: int) -> int:
        """The entry at `index`; where that is 0, `entry`, which is then written."""
        page = self._page
        if page is None or index < 0:
            there: int = self[index]
            if not there:
                self[index] = entry
            return there or entry
        if there := page[index]:
            return there
        page[index] = entry
        self.memory.version += 1
        self._emit(EntryWrite(self.name, index, 0, entry))
        return entry

    def fill(self, index: int, count: int, first: int, step: int) -> None:
        """Write `count` entries from `index` on: `first`, `first + step`, ...; one event in the trace.

        IndexError, and nothing is written, when the table ends before.
        """
        self._entry_pa(index + count - 1)
        pa = self._entry_pa(index)
        old = self.memory.read_word(pa, self.entry_bytes)
        self.memory.write(pa, progression(first, count, step, self.entry_bytes))
        self._emit(EntryWrite(self.name, index, old, first, count, step))
        if not self.pa % PAGE_SIZE:
            self._page = self.memory.words[self.entry_bytes][self.pa >> PAGE_SHIFT]

    def words(self, index: int = 0, count: int | None = None) -> Sequence[int]:
        """`count` entries from `index` on as plain numbers; without `count`, all that follow."""
        end = len(self) if count is None else index + count
        data = self.memory.read(self._entry_pa(index), self.entry_bytes * (end - index))
        return memoryview(data).cast("Q" if self.entry_bytes == 8 else "I")

    def alike(self, index: int, most: int, step: int) -> int:
        """How many entries from `index` on, at most `most`, are alike: each `step` more than the one before.

        IndexError for an `index` that the table does not have.
        """
        size, most = self.entry_bytes, min(most, len(self) - index)
        data = self.memory.read(self._entry_pa(index), size * most)
        first = int.from_bytes(data[:size], "little")
        if first + most * step < 1 << 8 * size and data == progression(first, most, step, size):
            return most  # as it nearly always is
        words = memoryview(data).cast("Q" if size == 8 else "I")
        return next((k for k, word in enumerate(words) if word != first + k * step), most)

    def slots(self) -> dict[int, int]:
        """The entries that are not zero, by index."""
        return {index: word for index, word in enumerate(self.words()) if word}

    def __iter__(self) -> Iterator[Entry]:
        return map(Entry, self.words())

    def _entry_pa(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has entries 0 to {len(self) - 1}, not {index}")
        return self.pa + index * self.entry_bytes
