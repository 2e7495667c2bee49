"""What several processors do at the same time: a small machine, and a program of kernel functions for each processor.

The functions are those that a boot runs, with the locks of the kernel that is booted.  Nothing here says in which order
things happen; that is searched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from ..linux import boot
from ..linux.direct_map import init_memory_mapping
from ..linux.layout import V3_5_LAYOUT, pgd_index
from ..linux.pgtable import pgd_alloc, pgd_free
from ..linux.state import Kernel, Linux, Mm, copy_of
from ..linux.tlb import FlushTlbOthers, native_flush_tlb_others, xen_flush_tlb_others
from ..machines import machine
from .finding import Story
from .shared import SharedList, SharedLock, SharedTable
from .xen import XenTable, xen_activate_mm, xen_exit_mmap

_SMALL = machine("1G")
NEW_RAM = 512 << 30
NEW_SLOT = pgd_index(V3_5_LAYOUT.phys_to_virt(NEW_RAM))


@dataclass
class Scene:
    """A booted machine with one process, in use on the processors named in `cpumask`, natively or under Xen."""

    linux: Linux
    mm: Mm
    xen: bool

    @property
    def flush_tlb_others(self) -> FlushTlbOthers:
        """How the others' TLBs are flushed here."""
        return xen_flush_tlb_others if self.xen else native_flush_tlb_others


def boot_small(kernel: Kernel) -> Linux:
    """`kernel` booted on a machine of 1 GiB, where each story begins on a copy of it."""
    return boot(_SMALL, kernel)


def set_the_scene(booted: Linux, xen: bool, cpumask: frozenset[int]) -> Scene:
    """A copy of `booted`, with what several processors use shared; under Xen, a table in use is pinned."""
    linux = copy_of(booted)
    linux.pgd_list = SharedList(linux.trace, XenTable if xen else SharedTable, SharedLock)
    swapper = linux.swapper_pg_dir
    linux.swapper_pg_dir = SharedTable(linux.memory, swapper.pa, swapper.name, linux.trace)
    trampoline = linux.trampoline_pgd
    linux.trampoline_pgd = SharedTable(linux.memory, trampoline.pa, trampoline.name, linux.trace)
    mm = pgd_alloc(linux, "A")
    mm.cpumask = cpumask
    if xen and cpumask:
        xen_activate_mm(mm)
    return Scene(linux, mm, xen)


def unmap(scene: Scene) -> None:
    """A page of process A is replaced: its entry is cleared under page_table_lock, and who may have it cached is told.

    So it is for a huge page (do_huge_pmd_wp_page, mm/huge_memory.c, v3.5: pmdp_clear_flush_notify with the lock held),
    and for a small one where tables have no locks of their own (!USE_SPLIT_PTLOCKS, include/linux/mm.h).  The entry
    itself is left out: it is no top-level one.
    """
    with scene.mm.page_table_lock:
        scene.flush_tlb_others(scene.mm)


def hot_add(scene: Scene) -> None:
    """Memory is added above 512 GiB: a new kernel top-level entry, which is brought to all processes.

    The first half of arch_add_memory; the second, the `struct page` array, brings no new entry here.
    """
    init_memory_mapping(scene.linux, NEW_RAM, NEW_RAM + (128 << 20))


def fork(scene: Scene) -> None:
    """A process B is made."""
    pgd_alloc(scene.linux, "B")


def exit_mm(scene: Scene) -> None:
    """Process A ends: its table is unpinned, where there is Xen, and freed."""
    if scene.xen:
        xen_exit_mmap(scene.mm)
    pgd_free(scene.linux, scene.mm)


def execve(scene: Scene) -> None:
    """Process A begins to use its table, which Xen pins."""
    if scene.xen:
        xen_activate_mm(scene.mm)


@dataclass(frozen=True)
class Plot:
    """A story that can be told on any kernel: what each processor does, and where process A is in use."""

    what: str
    programs: Mapping[str, Callable[[Scene], None]]
    cpumask: frozenset[int] = frozenset()

    def start(self, booted: Linux, *, xen: bool) -> Story:
        """The story from its beginning, on a copy of `booted`."""
        scene = set_the_scene(booted, xen, self.cpumask)
        return Story(
            {name: partial(program, scene) for name, program in self.programs.items()}, partial(left_out, scene)
        )


def left_out(scene: Scene) -> str:
    """Which processes on pgd_list lack a kernel entry that swapper_pg_dir has, in the end.  "" for none."""
    there = scene.linux.swapper_pg_dir[NEW_SLOT]
    lacking = [mm.pgd.name for mm in scene.linux.pgd_list if mm.pgd[NEW_SLOT] != there]
    return f"STALE\n{' and '.join(lacking)}: no entry {NEW_SLOT}, and nobody will bring it" if lacking else ""


STORIES: Mapping[str, Plot] = MappingProxyType(
    {
        "flush": Plot(
            "one thread of A flushes TLBs, another brings a new kernel entry to all processes",
            {"unmap": unmap, "hot-add": hot_add},
            frozenset({0, 1}),
        ),
        "fork": Plot(
            "A flushes TLBs, a second processor brings a new entry, and a third, where A ran, forks",
            {"unmap": unmap, "hot-add": hot_add, "fork": fork},
            frozenset({0, 2}),
        ),
        "birth": Plot(
            "a process is made while a new kernel entry is brought to all", {"fork": fork, "hot-add": hot_add}
        ),
        "exec": Plot(
            "A's table comes into use while a new kernel entry is brought to all",
            {"execve": execve, "hot-add": hot_add},
        ),
        "exit": Plot(
            "A ends while a new kernel entry is brought to all", {"exit": exit_mm, "hot-add": hot_add}, frozenset({0})
        ),
    }
)
