"""What the thread says about the locks around pgd_list."""

from __future__ import annotations

from ..linux.direct_map import arch_add_memory
from ..linux.pgtable import pgd_alloc
from ..locks import HISTORIES, search_history
from ..machines import machine
from ..run import boot
from ..trace import Lock
from ..x86.memory import GIB
from .claim import Finding, Kernels, holds, holds_where


def _ends(history: str, stories: tuple[str, ...], *, xen: bool) -> dict[str, str]:
    """The first word of the bad end of each story, "-" where there is none."""
    found = {story: search_history(HISTORIES[history], story, xen=xen).bad_end for story in stories}
    return {story: (end or "-").splitlines()[0] for story, end in found.items()}


def an_mm_lock_for_xen(_kernels: Kernels) -> Finding:
    """3.5 without the page_table_lock, natively and as a guest of Xen."""
    native = _ends("no page_table_lock", ("flush", "exec", "exit"), xen=False)
    xen = _ends("no page_table_lock", ("exec", "exit"), xen=True)
    return holds(set(native.values()) == {"-"} and set(xen.values()) != {"-"}, f"natively {native}, under Xen {xen}")


def taken_unconditionally(kernels: Kernels) -> Finding:
    """The locks that one walk over pgd_list takes on a machine without Xen."""
    linux = boot(machine("4G"), kernels["3.5"])
    for name in ("a", "b", "c"):
        pgd_alloc(linux, name)
    with linux.trace.record() as story:
        arch_add_memory(linux, 1 << 40, GIB)
    taken = [event.name for event in story if isinstance(event, Lock) and event.taken and "page_table" in event.name]
    return holds(len(taken) >= 3, f"{len(taken)} page_table_locks taken for 3 processes")


def deadlock_with_irqs_off(_kernels: Kernels) -> Finding:
    """The same walk with interrupts off and on, while another processor flushes TLBs."""
    off, on = (_ends(history, ("flush",), xen=False)["flush"] for history in ("a79e53d8^", "a79e53d8"))
    return holds(off == "DEADLOCK" and on == "-", f"off: {off}; on: {on}")


def not_put_there_for_xen(_kernels: Kernels) -> Finding:
    """Each of the two locks taken away, on a machine without Xen: is it missed?"""
    outer = _ends("no pgd_lock", ("birth", "exit"), xen=False)
    inner = _ends("no page_table_lock", ("birth", "exit"), xen=False)
    needed = {"of pgd_lock": set(outer.values()) != {"-"}, "of page_table_lock": set(inner.values()) != {"-"}}
    return holds_where(needed, f"without pgd_lock {outer}, without page_table_lock {inner}")
