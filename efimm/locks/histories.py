"""The locking of pgd_list in three periods, as kernels that differ from 3.5 in the functions that take the locks.

Named as git names them: `a79e53d8^` is the kernel before commit a79e53d8.

617d34d9e5d8  J. Fitzhardinge, 2010-09-21: "Hold mm->page_table_lock while doing vmalloc_sync"; the walk over pgd_list
              takes each address space's lock, because Xen pins and unpins tables under that lock.
a79e53d85683  A. Arcangeli, 2011-02-16: "Fix pgd_lock deadlock"; pgd_lock is taken with interrupts on, because inside it
              a processor now waits for a lock whose holder may be waiting for that processor to answer an interrupt.

The other two are questions of the thread and no kernels: 3.5 without one of its two locks.  Hpa on the list,
2012-06-21: "there is code in there to grab an mm lock for the benefit of Xen".  Konrad Rzeszutek Wilk, the same day, of
pgd_lock: "I am not really convienced that lock was put there for Xen".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import MappingProxyType

from ..kernels import v3_5
from ..linux.state import Kernel, Linux, Mm


def spin_lock_irqsave(linux: Linux) -> AbstractContextManager[None]:
    """pgd_lock, with interrupts off, as before a79e53d8."""
    return linux.pgd_list.lock.irqsave()


def no_pgd_lock(_linux: Linux) -> AbstractContextManager[None]:
    """No kernel did this."""
    return nullcontext()


def no_page_table_lock(linux: Linux) -> Iterable[Mm]:
    """The list alone, as before 617d34d9."""
    return linux.pgd_list


_BEFORE_XEN = replace(
    v3_5.KERNEL,
    name="617d34d9^",
    title="until October 2010: pgd_lock alone, with interrupts off",
    source="commit 617d34d9e5d8, what it removes",
    hold_pgd_lock=spin_lock_irqsave,
    for_each_mm=no_page_table_lock,
)
_DEADLOCK = replace(
    v3_5.KERNEL,
    name="a79e53d8^",
    title="until March 2011: each mm's page_table_lock inside, interrupts off",
    source="commits 617d34d9e5d8, what it adds, and a79e53d85683, what it removes",
    hold_pgd_lock=spin_lock_irqsave,
)
_TODAY = replace(
    v3_5.KERNEL,
    name="a79e53d8",
    title="since March 2011, and in 3.5: the same locks, interrupts on",
    source="commit a79e53d85683; arch/x86/mm/pgtable.c and init_64.c, v3.5",
)
_NO_MM_LOCK = replace(
    v3_5.KERNEL, name="no page_table_lock", title="3.5 without the lock inside", for_each_mm=no_page_table_lock
)
_NO_PGD_LOCK = replace(v3_5.KERNEL, name="no pgd_lock", title="3.5 without the lock outside", hold_pgd_lock=no_pgd_lock)

HISTORIES: Mapping[str, Kernel] = MappingProxyType(
    {kernel.name: kernel for kernel in (_BEFORE_XEN, _DEADLOCK, _TODAY, _NO_MM_LOCK, _NO_PGD_LOCK)}
)
