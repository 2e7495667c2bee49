"""A kernel's top-level tables at some moments of its life: what each act of the kernel wrote, and whom it forgot.

The acts are the kernel's own functions; a moment is a copy of the tables' bytes right after one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from .linux.direct_map import arch_add_memory
from .linux.fault import read_as, vmalloc_sync_all
from .linux.i386.vmalloc import ioremap as ioremap_32
from .linux.layout import PGDIR_SIZE
from .linux.pgtable import pgd_alloc, stale_slots_of
from .linux.state import Kernel, Linux, Linux32, Mm
from .linux.vmalloc import ioremap
from .machines import Machine, machine
from .run import boot, enter, find_kernel
from .text import map_title
from .trace import Fault
from .x86 import PageTable, PagingMode, PhysMemory
from .x86.memory import GIB

_DEVICE, _DEVICE_SIZE = 0xFEC0_0000, 4096
_NEW_VMALLOC_32 = 0xFC00_0000
_ADDED = GIB
_PROCESSES = 3
_FIRMWARES = "the firmware's"
OWN_TABLES = ("kernels_own", "init_top_pgt", "swapper_pg_dir")  # what the kernel's own table is called in saved ones


# What `x86.load_tables` gives: the memory, the roots by name, and the mode.
Saved = tuple[PhysMemory, Mapping[str, int], PagingMode]


@dataclass(frozen=True, slots=True)
class Table:
    """A top-level table at a moment: its entries, and the slots in which it has fallen behind init_mm's."""

    name: str
    pa: int
    role: str
    words: tuple[int, ...]
    stale: frozenset[int]


@dataclass(frozen=True, slots=True)
class TablesMoment:
    """All top-level tables right after an act: its name, what it did, and init_mm's table first."""

    label: str
    note: str
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True)
class TablesStory:
    """The moments of one kernel, with the region of addresses that each slot belongs to.

    `whose` and `machine` are for the title: "kernel 3.5" on "x86_64, 1T".
    """

    whose: str
    machine: str
    regions: tuple[str, ...]
    moments: tuple[TablesMoment, ...]


def story_now(linux: Linux) -> TablesStory:
    """One moment: the tables of `linux` as they are, and at most three processes, the oldest first."""
    processes = list(linux.pgd_list)[::-1]
    left_out = len(processes) - _PROCESSES
    note = f"{left_out} more processes are on pgd_list." if left_out > 0 else "The tables as they are."
    return _story(linux, [_moment(linux, "now", note, processes[:_PROCESSES])])


def story_of(kernel: Kernel | str, ram: str | int = "1T", arch: str = "x86_64") -> TablesStory:
    """`kernel` booted and led through fork, ioremap, a fault, a sync and, on x86-64, added memory.

    The call into the firmware is one of the moments where it gets a table of its own and survives.  On i386 no memory
    is added: the model has no such function there.  Raises MachineError for a machine that cannot be; what a reader's
    own kernel raises goes through.
    """
    record, where = find_kernel(kernel), machine(ram, arch=arch)
    moments: list[TablesMoment] = []
    linux = boot(where, _watched(record, lambda seen: moments.append(_at_copy(seen))))
    _add(moments, _moment(linux, "boot ends", "The kernel has mapped its page structures and the first device.", []))
    with_efi = _after_the_call(where, record)
    acts = _Acts(with_efi or linux, moments)
    if with_efi:
        note = "The firmware has been called, on another table than init_mm's."
        moments.append(_moment(with_efi, "EFI's table", note, []))
    acts.all()
    return _story(acts.linux, moments)


def story_saved(memory: PhysMemory, roots: Mapping[str, int], mode: PagingMode) -> TablesStory:
    """One moment: tables that were saved from a real machine, as `x86.load_tables` gives them.

    The first column is the kernel's own table, by one of the names in OWN_TABLES, or else the first root.  A table
    counts as behind it where it has nothing in the kernel's half and the kernel's own has; a table without any entry
    there is another map altogether, and is not behind.
    """
    first = next((name for name in OWN_TABLES if name in roots), next(iter(roots)))
    words = {name: _words(memory, roots[name], mode) for name in (first, *(other for other in roots if other != first))}
    count = 1 << mode.levels[0].bits
    half = count // 2 if mode.va_bits > 32 else count * 3 // 4
    regions = ["below the kernel" if slot < half else "the kernel's part" for slot in range(count)]

    def behind(name: str) -> frozenset[int]:
        kernels = [slot for slot in range(half, count) if words[first][slot]]
        there = any(words[name][half:])
        return frozenset(slot for slot in kernels if there and not words[name][slot])

    tables = [
        Table(name, roots[name], "init_mm" if name == first else "saved", entries, behind(name))
        for name, entries in words.items()
    ]
    moment = TablesMoment("saved", "The tables as they were saved.", tuple(tables))
    return TablesStory("a real kernel", f"a machine that was saved ({mode.name})", tuple(regions), (moment,))


def _words(memory: PhysMemory, root: int, mode: PagingMode) -> tuple[int, ...]:
    place, size = root & mode.root_mask, mode.entry_bytes
    return tuple(memory.read_word(place + size * index, size) for index in range(1 << mode.levels[0].bits))


def _watched(kernel: Kernel, look: Callable[[Linux], None]) -> Kernel:
    """The kernel, with a look at the moment when the table for other processors has got its entries."""

    def setup_real_mode(linux: Linux) -> None:
        kernel.setup_real_mode(linux)
        look(linux)

    def sync_initial_page_table(linux: Linux32) -> None:
        assert kernel.i386 is not None  # only a 32-bit build gets here
        kernel.i386.sync_initial_page_table(linux)
        look(linux)

    small = kernel.i386 and replace(kernel.i386, sync_initial_page_table=sync_initial_page_table)
    return replace(kernel, setup_real_mode=setup_real_mode, i386=small)


def _after_the_call(where: Machine, kernel: Kernel) -> Linux | None:
    """The kernel after a successful call on a table of the firmware's own, None where there is no such table."""
    linux = boot(where, kernel)
    alive = enter(linux).verdict == "success"
    return linux if alive and _has_efi_table(linux) else None


def _has_efi_table(linux: Linux) -> bool:
    """Whether the firmware runs on another table than the kernel's; on i386 it runs without paging."""
    return not isinstance(linux, Linux32) and linux.efi_pgd.pa != linux.swapper_pg_dir.pa


class _Acts:
    """What happens to the booted kernel, one act after the other."""

    def __init__(self, linux: Linux, moments: list[TablesMoment]) -> None:
        self.linux, self._moments = linux, moments
        self._processes: list[Mm] = []

    def all(self) -> None:
        self._processes = [pgd_alloc(self.linux, name) for name in ("init", "shell")]
        self._tell("fork", "Two processes are born; pgd_alloc copies the kernel's entries of this moment.")
        device = self._ioremap()
        self._tell("ioremap", "A driver maps its device at a vmalloc address that nobody has used yet.")
        with self.linux.trace.record() as events:
            read_as(self.linux, self._processes[-1], device)
        faulted = any(isinstance(event, Fault) for event in events)
        end = "stumbles, and vmalloc_fault copies the entry" if faulted else "finds the entry: there is no fault"
        self._tell("read", f"The shell reads the device's register. It {end}.")
        vmalloc_sync_all(self.linux)
        self._tell("sync", "vmalloc_sync_all goes through the tables on pgd_list.")
        if not isinstance(self.linux, Linux32):
            self._hot_add()
        if _has_efi_table(self.linux):
            with self.linux.efi_call_virt():
                pass
            self._tell("EFI call", "The firmware is called once more; the kernel may prepare its table first.")

    def _ioremap(self) -> int:
        linux = self.linux
        if isinstance(linux, Linux32):
            linux.vmalloc_next = _NEW_VMALLOC_32
            return ioremap_32(linux, _DEVICE, _DEVICE_SIZE)
        linux.vmalloc_next = linux.layout.region("vmalloc").start + PGDIR_SIZE
        return ioremap(linux, _DEVICE, _DEVICE_SIZE)

    def _hot_add(self) -> None:
        start = -(-self.linux.machine.highest_ram // PGDIR_SIZE) * PGDIR_SIZE
        arch_add_memory(self.linux, start, _ADDED)
        self._tell("hot-add", f"1 GiB of memory is added at {start:#x}: the direct map needs one more slot.")

    def _tell(self, label: str, note: str) -> None:
        self._moments.append(_moment(self.linux, label, note, self._processes))


def _at_copy(linux: Linux) -> TablesMoment:
    name = linux.trampoline_pgd.name
    return _moment(linux, "copied", f"During the boot {name} gets its entries, in this kernel's way.", [])


def _add(moments: list[TablesMoment], moment: TablesMoment) -> None:
    """Append; a moment at which nothing is new takes the place of the one before."""
    if moments and [t.words for t in moments[-1].tables] == [t.words for t in moment.tables]:
        moments.pop()
    moments.append(moment)


def _story(linux: Linux, moments: Sequence[TablesMoment]) -> TablesStory:
    regions = tuple(_region(linux, slot) for slot in range(_slot_count(linux)))
    arch = "" if linux.machine.arch == "x86_64" else f", {linux.machine.arch}"
    return TablesStory(f"kernel {linux.kernel.name}", f"{map_title(linux.map)}{arch}", regions, tuple(moments))


def _slot_count(linux: Linux) -> int:
    """How many top-level entries the processor knows: four with PAE, in a page of 512."""
    return 1 << linux.layout.mode.levels[0].bits


def _region(linux: Linux, slot: int) -> str:
    if not isinstance(linux, Linux32):
        name = linux.layout.region_of_slot(slot).name
        return "below the kernel" if name == "user" else name
    start, size = slot << linux.layout.pgdir_shift, 1 << linux.layout.pgdir_shift
    if slot < linux.layout.kernel_pgd_boundary:
        return "below the kernel"
    if start + size >= linux.layout.vmalloc_end > start and size > 1 << 29:
        return "all of the kernel"
    if start < linux.high_memory:
        return "direct map"
    return "vmalloc" if start < linux.layout.vmalloc_end else "fixed maps"


def _moment(linux: Linux, label: str, note: str, processes: Sequence[Mm]) -> TablesMoment:
    listed = {mm.pgd.pa for mm in linux.pgd_list}
    own = linux.efi_pgd if _has_efi_table(linux) else linux.swapper_pg_dir
    trampoline = _FIRMWARES if own.pa == linux.trampoline_pgd.pa else "not on pgd_list"
    tables = [(linux.swapper_pg_dir, "init_mm"), (linux.trampoline_pgd, trampoline)]
    if own.pa not in {table.pa for table, _ in tables}:
        tables.append((own, _FIRMWARES))
    tables += [(mm.pgd, "on pgd_list" if mm.pgd.pa in listed else "not on pgd_list") for mm in processes]
    return TablesMoment(label, note, tuple(_table(linux, table, role) for table, role in tables))


def _table(linux: Linux, table: PageTable, role: str) -> Table:
    """A copy.  The firmware's own table is behind where it has nothing; other entries there are its purpose."""
    words = tuple(table.words(0, _slot_count(linux)))
    stale = stale_slots_of(linux, table)
    if role == _FIRMWARES:
        stale = [slot for slot in stale if not words[slot]]
    return Table(table.name, table.pa, role, words, frozenset(stale))
