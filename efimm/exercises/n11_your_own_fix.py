"""Notebook 11: what a fix costs, what it forgets, and as the last exercise hpa's plan as a reader's own kernel.

That kernel is tried on machines of 64 and of 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from random import Random

from ..kernels import KERNELS
from ..linux import Kernel, Linux
from ..linux.direct_map import arch_add_memory
from ..linux.i386.vmalloc import ioremap as ioremap_32
from ..linux.layout import PGDIR_SIZE
from ..linux.pgtable import stale_slots
from ..linux.state import Linux32
from ..linux.vmalloc import ioremap
from ..machines import Machine, machine
from ..run import at_call, boot, enter, run
from ..trace import EntryWrite
from ..x86.memory import GIB, PAGE_SIZE
from .answers import Question
from .catalog import asks, wants
from .small_tables import not_identical

_DEVICE = 0xFEC0_0000
_ARCHES_32 = ("i386", "i386-pae")


@wants(
    "11.5",
    "Make a kernel of 3.5 that keeps a full 1:1 map in `trampoline_pgd` and calls the firmware on it. It has to stand "
    "machines of every size, memory and devices that come before the call or after it, and 32 bits, with two levels of "
    "tables and with PAE. `swapper_pg_dir` lends no slot.",
    why="That is the plan of June 2012, running.",
    rounds=8,
)
def hpas_fix(random: Random, submitted: Kernel) -> str:
    """Try the record on a machine of 64 bits, and on both kinds of 32."""
    if not isinstance(submitted, Kernel):
        return "a kernel is expected, such as `replace(v3_5, ...)`."
    found = (_in_32_bits(random, submitted, arch) for arch in _ARCHES_32)
    return _in_64_bits(random, submitted) or next((wrong for wrong in found if wrong), "")


def _in_64_bits(random: Random, kernel: Kernel) -> str:
    """The call, with memory and a device that came before it or come after it."""
    linux = boot(_some_machine(random), kernel)
    where = f"on a machine whose RAM ends at {linux.machine.highest_ram:#x}"
    early = random.random() < 0.5
    if early:
        _add(random, linux)
        where += ", to which memory and a device came before the call,"
    cr3, gap = at_call(linux, lambda cpu: (cpu.cr3, not_identical(linux, cpu.cr3)))
    if cr3 != linux.trampoline_pgd.pa:
        return f"{where} CR3 was {cr3:#x} during the call, and trampoline_pgd is at {linux.trampoline_pgd.pa:#x}."
    if gap is not None:
        return f"{where} {gap:#x} was not mapped to itself during the call."
    if linux.cpu.cr3 != linux.swapper_pg_dir.pa:
        return f"{where} the call faulted, or CR3 was not put back: it is {linux.cpu.cr3:#x}."
    if not early:
        _add(random, linux)
        where += ", to which memory and a device came after the call,"
    return _what_is_missing(linux, where)


def _some_machine(random: Random) -> Machine:
    return machine(f"{random.choice((4, 511, 600, random.randrange(513, 30_000)))}G")


def _add(random: Random, linux: Linux) -> None:
    """RAM in a slot of its own, and a device in an empty slot of the vmalloc area."""
    arch_add_memory(linux, random.randrange(62, 100) * PGDIR_SIZE, GIB)
    linux.vmalloc_next = linux.layout.region("vmalloc").start + random.randrange(1, 40) * PGDIR_SIZE
    ioremap(linux, _DEVICE, 4096)


def _what_is_missing(linux: Linux, where: str) -> str:
    table = linux.trampoline_pgd
    gap = not_identical(linux, table.pa)
    if gap is not None:
        return f"{where} {gap:#x} is not mapped to itself in {table.name}."
    behind = stale_slots(linux).get(table.name)
    if behind:
        return f"{where} {table.name} lacks the kernel's entries {behind}."
    lent = [
        event.index
        for event in linux.trace.events
        if isinstance(event, EntryWrite) and event.table == "swapper_pg_dir" and event.index < 256
    ]
    return f"{where} swapper_pg_dir was written at slot {lent[0]}." if lent else ""


def _in_32_bits(random: Random, kernel: Kernel, arch: str) -> str:
    """The call without paging, and a device in a new top-level entry before it or after it."""
    linux = boot(machine(f"{random.randrange(1, 5)}G", arch=arch), kernel)
    assert isinstance(linux, Linux32)
    where = f"on {arch} with {linux.machine.ram >> 30} GiB"
    late = random.random() < 0.5
    if not late:
        _map_device(random, linux)
    outcome = enter(linux)
    if outcome.verdict != "success":
        return f"{where} the call ended in {outcome.verdict}: {outcome.reason}."
    if late:
        _map_device(random, linux)
    return _what_is_missing_32(linux, where)


def _map_device(random: Random, linux: Linux32) -> None:
    linux.vmalloc_next = random.randrange(0xFA00_0000, 0xFD00_0000, 1 << 22)
    ioremap_32(linux, _DEVICE, 4096)


def _what_is_missing_32(linux: Linux32, where: str) -> str:
    behind = stale_slots(linux).get(linux.initial_page_table.name)
    if behind:
        return f"{where} initial_page_table lacks the kernel's entries {behind}."
    if linux.layout.shared_kernel_pmd:  # hpa: "PAE 32 bit don't need it, since all the kernel maps are shared"
        return ""
    first, table = linux.layout.kernel_pgd_boundary, linux.initial_page_table
    for index, entry in linux.swapper_pg_dir.slots().items():
        if index >= first and table[index - first] != entry:
            return f"{where} initial_page_table has entry {index} of the kernel, and not the same at {index - first}."
    return ""


_V3_5 = KERNELS["3.5"]
_ATTRIBUTE = 32  # its offset in EFI_MEMORY_DESCRIPTOR
_LOWER_HALF = 256
Seam = Callable[[Linux], AbstractContextManager[None]]


@asks("11.1")
def entries_written(random: Random) -> Question:
    """How many top-level entries 3.8 writes around one call."""
    given = machine(f"{random.randrange(600, 60_000)}G")
    events = run(given, "3.8").trace.events
    low = [event for event in events if isinstance(event, EntryWrite) and event.index < _LOWER_HALF]
    written = sum(event.count for event in low if event.table == "swapper_pg_dir")
    text = (
        f"RAM ends at {given.highest_ram >> 30} GiB. How many entries of `swapper_pg_dir` does 3.8 write around one "
        "call, to borrow and to give back?"
    )
    hints = {
        written // 2: "And to give them back?",
        2 * (given.highest_ram // PGDIR_SIZE): "The last slot counts, too, where RAM fills only a part of it.",
        2: "That is 3.5, when the call does not fault.",
    }
    return Question(text, written, hints, f"{written * 8} bytes.", {"highest_ram": given.highest_ram})


@asks("11.2")
def first_address_out_of_reach(random: Random) -> Question:
    """Where the first array lies that a kernel cannot pass which borrows a list of slots with a gap in it."""
    count = random.randrange(12, 34)
    forgotten = sorted(random.sample(range(1, count), random.randrange(1, 4)))
    slots = [slot for slot in range(count) if slot not in forgotten]
    kernel = _with(_borrowing(slots, 0))
    given = machine("64T")
    first = next(
        start
        for start in range(0x1000_0000, given.highest_ram, PGDIR_SIZE)
        if run(replace(given, buffer=start), kernel).verdict != "success"
    )
    listed = ", ".join(map(str, slots))
    text = (
        f"A kernel on a machine with 64 TiB borrows for the call the slots {listed}. From how many GiB on can the "
        "array lie out of its reach?"
    )
    hints = {
        count * 512: "Behind the last slot, yes. But is there none missing before?",
        len(slots) * 512: "So many slots there are. Do they follow each other?",
        forgotten[0]: "That is the slot. How many GiB lie before it?",
    }
    return Question(text, first // PGDIR_SIZE * 512, hints, f"Slot {forgotten[0]} is missing.", {"slots": slots})


@asks("11.3")
def read_in_the_wrong_place(random: Random) -> Question:
    """What the firmware really reads when a loop fills the slots with their neighbours' entries."""
    shift = random.choice((-2, -1, 1, 2, 3))
    start = random.randrange(4 * PGDIR_SIZE, 40 * PGDIR_SIZE, PAGE_SIZE)
    linux = boot(machine("32T", buffer=start), _with(_borrowing(range(1, 45), shift)))
    found = at_call(linux, lambda cpu: cpu.walk(start + _ATTRIBUTE).pa)
    assert found is not None
    text = (
        f"A reader's loop says `pgd[slot] = pgd[272 + slot {'+' if shift > 0 else '-'} {abs(shift)}]`, for the slots "
        f"from 1 on. The machine has 32 TiB, and the array lies at physical `{start:#x}`; this number is passed to the "
        "firmware. It reads the first Attribute, 32 bytes further on. Which physical address does the processor "
        "really read?"
    )
    hints = {
        start
        + _ATTRIBUTE: "That would be so with a loop that is right. Which part of the memory does the slot lead to?",
        start + _ATTRIBUTE - shift * PGDIR_SIZE: "The other way.",
        start + shift * PGDIR_SIZE: "Plus 32.",
        start: "That is where the array is.",
    }
    why = "No fault, and no array: a fix that maps the wrong thing is worse than none."
    return Question(text, found, hints, why, {"start": start, "shift": shift})


def _with(seam: Seam) -> Kernel:
    return replace(_V3_5, name="a reader's", efi_call_phys=seam)


def _borrowing(slots: Sequence[int], shift: int) -> Seam:
    """A seam that fills `slots` from the direct map's, `shift` further on; it gives nothing back."""

    @contextmanager
    def efi_call_phys(linux: Linux) -> Iterator[None]:
        pgd, first = linux.swapper_pg_dir, linux.layout.kernel_pgd_boundary
        with _V3_5.efi_call_phys(linux):
            for slot in slots:
                pgd[slot] = pgd[first + slot + shift]
            yield

    return efi_call_phys


@wants(
    "11.4",
    "Write `many_slots(linux)`, a seam for 3.5: during the call all RAM is mapped to itself, however much there is; "
    "afterwards the lower half of `swapper_pg_dir` is empty again, as it was before.",
    why="It is Nathan Zimmer's fix, Linux 3.8.",
    rounds=12,
)
def many_slots(random: Random, submitted: Seam) -> str:
    """Try `submitted` on machines from 1 GiB to 60 TiB."""
    ram = random.choice(
        (random.randrange(1, 512), 510, 512, random.randrange(512, 4000), random.randrange(512, 60_000))
    )
    given = machine(f"{ram}G")
    linux = boot(given, _with(submitted))
    missing = at_call(linux, lambda cpu: not_identical(linux, cpu.cr3))
    if missing is not None:
        return f"RAM ends at {given.highest_ram:#x}, and during the call {missing:#x} is not mapped to itself."
    left = [slot for slot in linux.swapper_pg_dir.slots() if slot < _LOWER_HALF]
    return f"RAM ends at {given.highest_ram:#x}, and after the call the slots {left} are still there." if left else ""
