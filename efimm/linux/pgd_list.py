"""The list that links the top-level tables of processes, and the locks around it.

Source: arch/x86/mm/pgtable.c and fault.c, v3.5.  What is *not* on the list: init_mm's own table (swapper_pg_dir),
trampoline_pgd and initial_page_table.  hpa, 2012-06-22: they "aren't on the list of vm contexts created by the kernel
(pgd_list), so they never get updated after a particular point in the boot".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..trace import Trace
from ..x86 import PageTable
from .locks import SpinLock


class Mm:
    """A process's address space, as far as this story needs it: its top-level table, its lock, and who uses it.

    `cpumask` (mm_cpumask) are the numbers of the processors that may have translations of it cached.
    """

    __slots__ = ("cpumask", "page_table_lock", "pgd")

    def __init__(self, pgd: PageTable, page_table_lock: SpinLock, cpumask: frozenset[int] = frozenset()) -> None:
        self.pgd, self.page_table_lock, self.cpumask = pgd, page_table_lock, cpumask


class PgdList:
    """`pgd_list` and its lock, `pgd_lock`; iterating it gives the address spaces.

    The kernel links the pages of the tables and finds the mm by `page->index`; here the page's address is the key.
    Newest first, as list_add puts them.  `make_table` and `make_lock` give what a new process is made of.
    """

    def __init__(
        self,
        trace: Trace,
        make_table: Callable[..., PageTable] = PageTable,
        make_lock: Callable[[str, Trace], SpinLock] = SpinLock,
    ) -> None:
        self.make_table, self.make_lock = make_table, make_lock
        self.lock = make_lock("pgd_lock", trace)
        self._emit = trace.events.append
        self._page_index: dict[int, Mm] = {}

    def __iter__(self) -> Iterator[Mm]:
        return reversed(self._page_index.values())

    def locked(self) -> Iterator[Mm]:
        """The address spaces, each with its page_table_lock held while the caller has it.

        As `with mm.page_table_lock:` around the caller's work; a fault there leaves the lock held.
        """
        emit = self._emit
        for mm in self:
            emit(mm.page_table_lock.taken)
            yield mm
            emit(mm.page_table_lock.unlocked)

    def __len__(self) -> int:
        return len(self._page_index)

    def add(self, mm: Mm) -> None:
        """pgd_set_mm and pgd_list_add."""
        self._page_index[mm.pgd.pa] = mm

    def remove(self, mm: Mm) -> None:
        """pgd_list_del."""
        del self._page_index[mm.pgd.pa]

    def page_get_mm(self, pgd: PageTable) -> Mm:
        """pgd_page_get_mm: the address space whose top-level table this is; KeyError for one that is not listed."""
        return self._page_index[pgd.pa]
