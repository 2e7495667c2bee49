"""The top-level tables of processes, the list that links them, and the locks around it.

Source: arch/x86/mm/pgtable.c and init_64.c, v3.5.  What is *not* on the list: init_mm's own table (swapper_pg_dir),
trampoline_pgd and initial_page_table.  hpa, 2012-06-22: they "aren't on the list of vm contexts created by the kernel
(pgd_list), so they never get updated after a particular point in the boot".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..trace import Lock, Trace
from ..x86 import PageTable


@dataclass(frozen=True, slots=True)
class SpinLock:
    """A lock that records when it is taken and let go.  With one processor there is nobody to wait for."""

    name: str
    trace: Trace

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for the block."""
        self.trace.emit(Lock(self.name, taken=True))
        yield
        self.trace.emit(Lock(self.name, taken=False))


@dataclass(frozen=True, slots=True)
class Mm:
    """A process's address space, as far as this story needs it: its top-level table and its lock."""

    pgd: PageTable
    page_table_lock: SpinLock


@dataclass
class PgdList:
    """`pgd_list` and its lock, `pgd_lock` (arch/x86/mm/fault.c, v3.5)."""

    trace: Trace
    mms: list[Mm] = field(default_factory=list)

    def __iter__(self) -> Iterator[Mm]:
        return iter(self.mms)

    @property
    def lock(self) -> SpinLock:
        """The lock that guards the list."""
        return SpinLock("pgd_lock", self.trace)
