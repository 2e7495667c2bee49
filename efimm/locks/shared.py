"""What several processors share, made so that each read, write, lock and link is a step that others can come before.

These stand in for the plain ones of `linux` and `x86`; the kernel's functions are the same for both.  A machine of one
processor has the plain ones, and pays nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..linux.smp import ALONE, Crash, Processor, SpinLock, this_processor
from ..linux.state import Mm, PgdList
from ..trace import Trace
from ..x86 import Entry, PageTable


class SharedTable(PageTable):
    """A table whose every read and write is a step."""

    def __getitem__(self, index: int) -> Entry:
        this_processor().step(f"reads {self.name}[{index}]", self.name)
        return super().__getitem__(index)

    def words(self, index: int = 0, count: int | None = None) -> Sequence[int]:
        """Entries in a row, read as one step: memcpy, of which no order between the entries is modelled."""
        this_processor().step(f"reads entries of {self.name}", self.name)
        return super().words(index, count)

    def __setitem__(self, index: int, entry: int) -> None:
        self.fill(index, 1, entry, 0)

    def setdefault(self, index: int, entry: int) -> int:
        """Read, and write where there is nothing: two steps."""
        old = self[index]
        if not old:
            self[index] = entry
        return old or entry

    def fill(self, index: int, count: int, first: int, step: int) -> None:
        """Write `count` entries at once."""
        this_processor().step(f"writes {self.name}[{index}]", self.name)
        super().fill(index, count, first, step)


class SharedLock(SpinLock):
    """A lock with an owner.  A processor that finds it taken spins, with its interrupts as they are.

    Not modelled: preempt_disable, and fairness (the ticket): who spins gets the lock in any order.
    """

    __slots__ = ("owner",)

    def __init__(self, name: str, trace: Trace) -> None:
        super().__init__(name, trace)
        self.owner: Processor | None = None

    def __enter__(self) -> None:
        cpu = this_processor()
        if cpu is not ALONE:
            cpu.step(f"spin_lock({self.name})", self.name, self._holder, key="lock")
            self.owner = cpu
        super().__enter__()

    def __exit__(self, exception: object, value: object, traceback: object) -> None:
        if exception is None and self.owner is not None:
            this_processor().step(f"spin_unlock({self.name})", self.name, key="unlock")
            self.owner = None
        super().__exit__(exception, value, traceback)

    def _holder(self) -> str:
        return f"{self.name}, held by {self.owner}" if self.owner else ""


class SharedList(PgdList):
    """pgd_list, walked from link to link: each a step, since others may change the list meanwhile."""

    def __iter__(self) -> Iterator[Mm]:
        step = this_processor().step
        step("first of pgd_list", "pgd_list")
        pages = list(reversed(self._page_index))
        while pages:
            here = pages[0]
            yield self._page_index[here]
            step("next on pgd_list", "pgd_list")
            if here not in self._page_index:
                raise Crash("the page it stands on is no longer on pgd_list: its link is LIST_POISON1")
            links = list(reversed(self._page_index))
            pages = links[links.index(here) + 1 :]

    def locked(self) -> Iterator[Mm]:
        """The address spaces, each with its page_table_lock held while the caller has it."""
        for mm in self:
            with mm.page_table_lock:
                yield mm

    def add(self, mm: Mm) -> None:
        """pgd_set_mm and pgd_list_add."""
        this_processor().step("adds to pgd_list", "pgd_list")
        super().add(mm)

    def remove(self, mm: Mm) -> None:
        """pgd_list_del."""
        this_processor().step("takes out of pgd_list", "pgd_list")
        super().remove(mm)
