"""Notebook 12: what a witness would see, and which probes a judge needs who can say no."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from ..linux import Linux, efi_enter_virtual_mode
from ..linux.layout import PGDIR_SIZE
from ..machines import MAXPHYADDR, PAGE_SIZES, machine
from ..run import boot, run
from ..x86 import PageTable, PhysMemory, mapped_ranges, walk
from ..x86.memory import GIB
from .answers import Question
from .catalog import asks, wants
from .small_tables import lifted

_ATTRIBUTE = 32  # its offset in EFI_MEMORY_DESCRIPTOR
_MOST_PROBES = 6_000
Probes = Callable[[PhysMemory, int], Iterable[int]]


@asks("12.1")
def array_to_fault_at_the_line(random: Random) -> Question:
    """Where an array has to begin, so that the firmware faults at a wanted descriptor, at exactly 512 GiB."""
    size, number = random.randrange(40, 136, 8), random.randrange(1, 5)
    start = PGDIR_SIZE - _ATTRIBUTE - number * size
    outcome = run(machine("2T", buffer=start, descriptor_size=size), "3.5")
    assert outcome.fault
    assert outcome.fault.cr2 == PGDIR_SIZE
    text = (
        f"You prepare a question for the judge: 3.5, a guest with 2 TiB, descriptors of {size} bytes. It shall "
        f"read {number} Attribute{'s' if number > 1 else ''}, and fault at the next one, with CR2 exactly "
        f"`{PGDIR_SIZE:#x}`. At which address do you put the array?"
    )
    hints = {
        start + _ATTRIBUTE: "Then a descriptor begins at the line. Its Attribute lies 32 bytes further on.",
        start + size: "One descriptor further down.",
        start - size: "One descriptor further up: those that are read are counted from 1 here.",
        PGDIR_SIZE: "Then nothing of it can be read. And CR2 would not be the array's first byte.",
        start + 2 * _ATTRIBUTE: "The other way: the array begins below the byte that is read.",
    }
    return Question(text, start, hints, "One run with this address says so.", {"number": number, "size": size})


@asks("12.2")
def pointers_moved_by(random: Random) -> Question:
    """How far the firmware's function pointers move in the switch."""
    kernel = random.choice(("3.14", "4.6", "6.1"))
    linux = boot(machine(map=lifted(machine("2T").map, random.randrange(512, 1024) << 30)), kernel)
    before = linux.firmware.service("GetTime")
    efi_enter_virtual_mode(linux)
    region = next(md for md in linux.memmap if md.runtime and md.physical_start <= before < md.end)
    after = _get_time(linux)
    moved = after - before
    text = (
        f"A firmware that lies high, and kernel {kernel}. Before the call, the firmware's table has GetTime at "
        f"`{before:#x}`. That is in a region which begins at `{region.physical_start:#x}`, and the kernel gives this "
        f"region the address `{region.virtual_start:#x}`. By how much does the pointer move?"
    )
    hints = {
        after: "That is where it is afterwards. By how much did it move?",
        region.virtual_start: "That is where the region begins afterwards. How far is it from where it began?",
        after - region.physical_start: "Take like from like: beginning from beginning, or pointer from pointer.",
        0xFFFF_8800_0000_0000: "That would be 3.5, which leaves the region in its direct map.",
    }
    given = {"before": before, "physical_start": region.physical_start, "virtual_start": region.virtual_start}
    return Question(text, moved, hints, "The row `by` of a judgement says this.", given)


def _get_time(linux: Linux) -> int:
    """The pointer to GetTime in the firmware's table, as bytes of memory."""
    tables = linux.firmware.tables
    place = linux.firmware.layout.runtime_table + tables.service("GetTime")
    return int.from_bytes(linux.memory.read(place, tables.word), "little")


@asks("12.3")
def the_other_address(random: Random) -> Question:
    """The second virtual address at which one wrong entry shows."""
    linux = boot(machine("8T"), "hpa-sync")
    pa = random.randrange(4 * GIB, 8 << 40, 8)
    upper = linux.phys_to_virt(pa)
    root = linux.trampoline_pgd.pa
    assert walk(linux.memory, root, upper).steps[1:] == walk(linux.memory, root, pa).steps[1:]
    shown, other = random.sample((pa, upper), 2)
    text = (
        "Somebody has changed one entry of 1 GiB in the tables of `hpa-sync`, for a machine with 8 TiB. A probe at "
        f"virtual `{shown:#x}` meets the neighbour's memory. At which other address does the same byte show it?"
    )
    hints = {
        shown: "That is where it was found. Which other slot leads to the same table?",
        pa + 0xFFFF_8000_0000_0000: "The direct map begins at slot 272, not at 256.",
        pa + GIB: "That is the neighbour itself.",
        shown + PGDIR_SIZE: "That is the next slot, with other tables. Which slot is an alias of this one?",
    }
    return Question(text, other, hints, "The entry is one, and two slots lead to it.", {"va": shown})


@asks("12.4")
def probes_needed(random: Random) -> Question:
    """How many words have to be read, so that each page of the direct map is met."""
    page_size = random.choice(("2M", "1G"))
    linux = boot(machine(f"{random.randrange(16, 4000)}G", page_size=page_size), "3.5")
    shift, part = PAGE_SIZES[page_size], linux.layout.region("direct map")
    ranges = mapped_ranges(linux.memory, linux.swapper_pg_dir.pa)
    size = sum(each.size for each in ranges if part.start <= each.va < part.end)
    ram = linux.machine.ram
    text = (
        f"Kernel 3.5 maps the {ram >> 30} GiB of a machine's RAM by pages of {page_size}. A judge reads one word "
        "in each page of the direct map. How many does he read?"
    )
    hints = {
        ram >> (30 if page_size == "2M" else 21): f"The pages are of {page_size} here.",
        ram >> shift + 9: "An entry maps one page. That would be whole tables.",
        ram >> 12: "That would be pages of 4 KiB.",
        2 * -(-ram // PGDIR_SIZE): "Those are the ends of the slots. A wrong entry in between would slip past.",
    }
    why = "And each of them can be wrong by itself."
    return Question(text, size >> shift, hints, why, {"ram": ram, "page_size": 1 << shift})


@wants(
    "12.5",
    "Write `probes(memory, root)`: virtual addresses to read, at most 6000, in the tables under `root`. Afterwards one "
    "entry of 1 GiB in the direct map is changed: it leads to its neighbour's memory. One of your probes must notice.",
    why="A thousand random addresses miss it as often as not.",
    rounds=12,
)
def probes(random: Random, submitted: Probes) -> str:
    """Try `submitted` on hpa's table of machines up to 4 TiB, each time with another entry changed."""
    linux = boot(machine(f"{random.randrange(600, 4000)}G"), "hpa-sync")
    root = linux.trampoline_pgd.pa
    chosen = [int(va) for va in submitted(linux.memory, root)]
    if len(chosen) > _MOST_PROBES:
        return f"{len(chosen)} probes. A guest without KVM is slow: at most {_MOST_PROBES}."
    before = [_met(linux, va) for va in chosen]
    pa = random.choice(range(4 * GIB, linux.machine.highest_ram - GIB, GIB))
    step = walk(linux.memory, root, linux.phys_to_virt(pa)).steps[1]
    PageTable(linux.memory, step.table, "pud", linux.trace)[step.index] = step.entry ^ GIB
    if before != [_met(linux, va) for va in chosen]:
        return ""
    shown = "both its addresses" if chosen else "any address"
    return f"RAM ends at {linux.machine.highest_ram:#x}; the entry for {pa:#x} was wrong, and {shown} went unread."


def _met(linux: Linux, va: int) -> int | None:
    return walk(linux.memory, linux.trampoline_pgd.pa, va, maxphyaddr=MAXPHYADDR).pa
