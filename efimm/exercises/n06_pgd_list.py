"""Notebook 06: who learns of a new kernel entry, what the walk over pgd_list costs, and which lock is needed when."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product
from random import Random

from ..kernels import KERNELS
from ..linux import Kernel, Linux
from ..linux.direct_map import arch_add_memory
from ..linux.fault import read_as
from ..linux.layout import PGDIR_SIZE, pgd_address
from ..linux.pgtable import pgd_alloc, stale_slots
from ..linux.vmalloc import ioremap
from ..locks import search_history
from ..locks.histories import no_page_table_lock, no_pgd_lock, spin_lock_irqsave
from ..machines import machine
from ..run import boot
from ..trace import EntryWrite, Lock
from ..x86.memory import GIB
from .answers import Question
from .catalog import asks, wants

_OUTER = {
    "no pgd_lock": no_pgd_lock,
    "pgd_lock with interrupts off": spin_lock_irqsave,
    "pgd_lock with interrupts as they are": KERNELS["3.5"].hold_pgd_lock,
}
_INNER = {"no page_table_lock": no_page_table_lock, "each page_table_lock": KERNELS["3.5"].for_each_mm}
_ABOUT = {
    "flush": "`flush`: who waits for an answer with a lock held, and who waits for this lock and cannot answer?",
    "birth": "`birth`: the copy is made first, and linked later. Which lock keeps the walk from coming between?",
    "exec": "`exec`: a table is pinned under its page_table_lock, and only under Xen. Does the walk ask for it?",
    "exit": "`exit`: can the table go, or be unpinned, while the walk is at it? Which locks would hinder that?",
}


@asks("06.1")
def entries_at_hot_add(random: Random) -> Question:
    """How many top-level entries a hot-add writes, in all tables together."""
    processes, size = random.randint(2, 12), random.randrange(64, 1400, 8)
    start = random.randrange(1024, 12_000, 512)
    linux = _with_processes("128G", processes)
    with linux.trace.record() as story:
        arch_add_memory(linux, start * GIB, size * GIB)
    tables = {linux.swapper_pg_dir.name, *(mm.pgd.name for mm in linux.pgd_list), linux.trampoline_pgd.name}
    written = sum(event.count for event in story if isinstance(event, EntryWrite) and event.table in tables)
    new = written // (processes + 1)
    text = (
        f"{processes} processes run on kernel 3.5, with 128 GiB. Then {size} GiB of memory are added at {start} GiB. "
        "How many top-level entries are written, in all tables together?"
    )
    hints = {
        new: "So many new slots there are. In how many tables?",
        processes * new: "And in the kernel's own table?",
        (processes + 2) * new: "trampoline_pgd is not on the list.",
        (processes + 1) * (size >> 9): "A slot counts, too, when the memory fills only a part of it.",
    }
    why = f"{new} new slots, in swapper_pg_dir and in {processes} copies."
    return Question(text, written, hints, why, {"processes": processes, "start": start, "size": size})


@asks("06.2")
def tables_behind(random: Random) -> Question:
    """How many top-level tables lack an entry of the vmalloc area, after some have stumbled and others were born."""
    old, young = random.randint(5, 40), random.randint(2, 20)
    readers = random.randrange(1, old)
    linux = _with_processes("4G", old)
    mms = list(linux.pgd_list)
    linux.vmalloc_next = linux.layout.region("vmalloc").start + PGDIR_SIZE
    device = ioremap(linux, 0xFEC0_0000, 4096)
    for number in range(young):
        pgd_alloc(linux, f"young {number}")
    for mm in mms[:readers]:
        linux.cpu.flush_tlb_all()  # another processor: the page is global, and this one's TLB would know it by now
        read_as(linux, mm, device)
    behind = len(stale_slots(linux))
    text = (
        f"{old} processes run on kernel 3.5. A driver maps its device in an empty slot of the vmalloc area. Then "
        f"{young} more processes are born, and {readers} of the old ones read the device, each on its own processor. "
        "How many top-level tables of the machine still lack the entry?"
    )
    hints = {
        old - readers: "Those are the processes. One more table is not on the list.",
        old + young - readers + 1: "From which table are the new ones copied, and when?",
        old + young - readers: "From which table are the new ones copied, and when?",
        0: "Nobody walks the list for the vmalloc area. Who stumbled?",
        1: "trampoline_pgd is one of them. Which processes have not stumbled yet?",
    }
    why = "The old ones that did not read, and trampoline_pgd, which will never stumble."
    return Question(text, behind, hints, why, {"old": old, "young": young, "readers": readers})


@asks("06.3")
def locks_of_a_walk(random: Random) -> Question:
    """How often a lock is taken in a sync over a range of slots of which some are empty."""
    processes, first = random.randint(10, 300), random.randrange(0, 6)
    linux = _with_processes(f"{random.randrange(2000, 9000)}G", processes)
    last = random.randrange(first, 30)
    boundary = linux.layout.kernel_pgd_boundary
    with linux.trace.record() as story:
        linux.kernel.sync_global_pgds(linux, pgd_address(boundary + first), pgd_address(boundary + last + 1) - 1)
    taken = sum(isinstance(event, Lock) and event.taken for event in story)
    end = linux.machine.highest_ram
    text = (
        f"{processes} processes run on a machine whose RAM ends at {end >> 30} GiB. `sync_global_pgds` is called for "
        f"the slots {boundary + first} to {boundary + last}. How many times is a lock taken?"
    )
    slots = taken // (processes + 1)
    hints = {
        slots: "That is pgd_lock. And the locks inside?",
        slots * processes: "Those are the inner ones. And pgd_lock?",
        slots * processes + 1: "pgd_lock is taken anew for each slot.",
        (last - first + 1) * (processes + 1): "Slots that swapper_pg_dir has empty are passed over.",
    }
    given = {"processes": processes, "first": boundary + first, "last": boundary + last, "highest_ram": end}
    return Question(text, taken, hints, f"{slots} slots are there.", given)


@asks("06.4")
def slot_that_is_missed(random: Random) -> Question:
    """Up to which slot a process learns of memory that does not begin at a slot's start."""
    linux = _with_processes("128G", 1)
    start, size = random.randrange(1024, 12_000, 16), random.randrange(300, 1400, 4)
    arch_add_memory(linux, start * GIB, size * GIB)
    direct_map, (process,) = linux.layout.region("direct map").slots, linux.pgd_list
    last = max(slot for slot in process.pgd.slots() if slot in direct_map)
    kernels_last = max(slot for slot in linux.swapper_pg_dir.slots() if slot in direct_map)
    text = (
        "Read the loop in `efimm.kernels.v3_5.sync_global_pgds`: from the start of the new memory it goes on by "
        f"512 GiB at a time. A process runs on 3.5, with 128 GiB, and {size} GiB are added at {start} GiB. "
        "Which is the last slot of the direct map that the process has afterwards?"
    )
    hints = {
        kernels_last: "That is the kernel's last one. Step through the loop: at which addresses does it look?",
        kernels_last - 1: "Step through the loop: does a step reach the last slot here, before the end of the memory?",
        last - direct_map.start: "That is the slot of the physical address. The direct map begins at 272.",
    }
    missed = (
        "The process lacks the kernel's last slot, and no fault will bring it. Linux had this bug for years: as we "
    )
    why = f"{missed}recall, fc5f9d5f151c corrected it in 2017." if last < kernels_last else "Here the steps reach all."
    return Question(text, last, hints, why, {"start": start * GIB, "size": size * GIB})


@asks("06.5")
def bad_ends(random: Random) -> Question:
    """Which stories can end badly with given locks, as a sum of weights."""
    locks = [key for key in product(_OUTER, _INNER) if key != (list(_OUTER)[-1], list(_INNER)[-1])]
    outer, inner = random.choices(locks, [4 if outer == "no pgd_lock" else 2 for outer, _ in locks])[0]
    xen = random.random() < 0.5
    weights = dict(zip(_ABOUT, random.sample((1, 2, 4, 8), 4), strict=True))
    bad = _bad_ends(outer, inner, xen)
    asked = ", ".join(f"{weight} for `{story}`" for story, weight in weights.items())
    where = "as a guest of Xen" if xen else "on bare hardware"
    text = (
        f"3.5 runs {where}, with other locks. Around the walk over pgd_list: {outer}. In it: {inner}. "
        f"Which of four stories can end badly? Add up: {asked}. (0 if none can.)"
    )
    hints = {}
    for chosen in product((False, True), repeat=4):
        guess = {story for story, taken in zip(_ABOUT, chosen, strict=True) if taken}
        differs = next((story for story in _ABOUT if (story in guess) != (story in bad)), None)
        if differs:
            hints[sum(weights[story] for story in guess)] = _ABOUT[differs]
    why = "Every order of steps was tried to find that out."
    given = {"outer": outer, "inner": inner, "xen": xen, "weights": weights}
    return Question(text, sum(weights[story] for story in bad), hints, why, given)


@cache
def _bad_ends(outer: str, inner: str, xen: bool) -> frozenset[str]:
    tried = replace(KERNELS["3.5"], name="tried", hold_pgd_lock=_OUTER[outer], for_each_mm=_INNER[inner])
    return frozenset(story for story in _ABOUT if search_history(tried, story, xen=xen).bad_end)


@wants(
    "06.6",
    "Make a kernel of 3.5 that takes each process's page_table_lock where it is needed, and nowhere else: none of the "
    "four stories may end badly, on bare hardware or under Xen, and on bare hardware the walk takes pgd_lock alone.",
    why='hpa, 21 June 2012: "grab a lock unconditionally, regardless of if we are affected by Xen or not".',
    rounds=1,
)
def locks_where_needed(_random: Random, submitted: Kernel) -> str:
    """Search every order of the four stories with the submitted record, and count the locks of one walk."""
    if not isinstance(submitted, Kernel):
        return "a kernel is expected, such as `replace(v3_5, ...)`."
    for xen, story in product((False, True), _ABOUT):
        found = search_history(submitted, story, xen=xen)
        if found.bad_end:
            return f"`{story}` {'under Xen' if xen else 'on bare hardware'} can end so:\n{found}"
    linux = _with_processes("4G", 20, submitted)
    with linux.trace.record() as story_of_one:
        linux.kernel.sync_global_pgds(linux, *[pgd_address(linux.layout.kernel_pgd_boundary)] * 2)
    taken = [event.name for event in story_of_one if isinstance(event, Lock) and event.taken]
    inner = [name for name in taken if name != "pgd_lock"]
    return f"on bare hardware a walk over 20 processes takes {len(inner)} inner locks." if inner else ""


def _with_processes(ram: str, count: int, kernel: Kernel | str = "3.5") -> Linux:
    linux = boot(machine(ram), kernel)
    for number in range(count):
        pgd_alloc(linux, f"process {number}")
    return linux
