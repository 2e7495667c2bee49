"""Notebook 03: the direct map, what it costs, and the identity map that borrows its tables."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..linux import Linux
from ..linux.layout import PAGE_OFFSET, pgd_index
from ..machines import PAGE_SIZES, machine
from ..run import at_call, boot
from ..x86 import LONG4, Entry, PageTable, mapped_ranges
from .answers import Question
from .catalog import asks, wants


@asks("03.1")
def last_slot_of_the_direct_map(random: Random) -> Question:
    """The last top-level slot that 3.5's direct map uses."""
    linux = boot(machine(f"{random.randrange(600, 30000)}G"), "3.5")
    end = linux.machine.highest_ram
    direct_map = linux.layout.region("direct map").slots
    last = max(slot for slot in linux.swapper_pg_dir.slots() if slot in direct_map)
    first = direct_map.start
    text = f"A machine's RAM ends at `{end:#x}`. Which is the last top-level slot of the direct map of 3.5?"
    hints = {
        last + 1: "So many slots there would be, counted from the first. Is one of them the first itself?",
        last - first: "That is the slot of the identity map. Where does the direct map begin?",
        last - first + 1: "That is how many slots there are. Which is the last one?",
        last - 1: "The RAM goes on a little further. In which slot is its last byte?",
    }
    return Question(text, last, hints, given={"highest_ram": end})


@asks("03.2")
def cost_of_the_direct_map(random: Random) -> Question:
    """How many tables of the lowest level a direct map needs."""
    page_size = random.choice(("4K", "2M"))
    ram = random.randrange(64, 4000, 2)
    level = next(level for level in LONG4.levels if level.shift == PAGE_SIZES[page_size])
    tables = (ram << 30) // (level.span * (1 << level.bits))
    text = (
        f"{ram} GiB are mapped by pages of {page_size}, without a hole. The entries of those pages stand in tables "
        f"of the level {level.name}. How many such tables are there?"
    )
    hints = {
        tables * (1 << level.bits): "So many entries. A table holds 512 of them.",
        tables * 4: "That would be their size in KiB.",
        tables * 4096: "That is their size in bytes.",
    }
    why = f"That is {tables * 4} KiB of tables."
    return Question(text, tables, hints, why, {"ram": ram << 30, "page_size": level.span})


@asks("03.3")
def there_and_back(random: Random) -> Question:
    """A physical address from one in the direct map, or the other way round."""
    linux = boot(machine("8T"), "3.5")
    pa = random.randrange(1 << 32, linux.machine.highest_ram)
    va = linux.phys_to_virt(pa)
    given, wanted, asked = random.choice(
        (
            (pa, va, "At which virtual address does 3.5 find physical `{:#x}` through its direct map?"),
            (va, linux.virt_to_phys(va), "A pointer of kernel 3.5 is `{:#x}`. Where in physical memory does it point?"),
        )
    )
    hints = {
        given: "That would be an identity map. The direct map begins at `0xffff880000000000`.",
        pa & (1 << 39) - 1: "That is the offset within a slot of 512 GiB. The slot counts, too.",
        pa + 0xFFFF_8000_0000_0000: "The direct map begins a little higher, at slot 272.",
    }
    return Question(asked.format(given), wanted, hints, given={"address": given})


@asks("03.4")
def not_identity_mapped(random: Random) -> Question:
    """How much of the memory is not mapped to itself while 3.5 calls the firmware."""
    linux = boot(machine(f"{random.randrange(600, 8000)}G"), "3.5")
    end = linux.machine.highest_ram
    ranges = at_call(linux, lambda cpu: mapped_ranges(cpu.memory, cpu.cr3))
    mapped = max(part.end for part in ranges if part.va == part.pa)
    text = (
        f"A machine's RAM ends at {end >> 30} GiB. While 3.5 calls the firmware, how many GiB at the upper end are not "
        "mapped to themselves?"
    )
    hints = {
        mapped >> 30: "So many GiB are mapped. How many are not?",
        end >> 30: "One slot is filled before the call. How much does it cover?",
        end - mapped >> 39: "That counts slots.",
    }
    return Question(text, end - mapped >> 30, hints, given={"highest_ram": end})


@wants(
    "03.5",
    "Write `identity_map(pgd, highest_ram)`: fill `pgd`, the kernel's top-level table, so that every byte below "
    "`highest_ram` is mapped to itself. Make no new table, and write no slot that is not needed.",
    why="It is the loop that efi_call_phys_prelog got in Linux 3.8, and it is the heart of hpa's plan.",
    rounds=12,
)
def identity_map(random: Random, submitted: Callable[[PageTable, int], object]) -> str:
    """Try `submitted` on machines from 1 GiB to 12 TiB."""
    ram = random.choice((random.randrange(1, 520), random.randrange(512, 12000), 510, 1022))
    linux = boot(machine(f"{ram}G"), "3.5")
    end, before = linux.machine.highest_ram, linux.swapper_pg_dir.slots()
    submitted(linux.swapper_pg_dir, end)
    return _unmapped(random, linux) or _written_beside_it(linux, before)


def _unmapped(random: Random, linux: Linux) -> str:
    end = linux.machine.highest_ram
    spots = [end - 1, *range(0, end, LONG4.levels[0].span), *(random.randrange(end) for _ in range(8))]
    for pa in sorted(spots):
        in_direct_map = linux.cpu.walk(linux.phys_to_virt(pa)).pa == pa
        if in_direct_map and linux.cpu.walk(pa).pa != pa:
            return f"RAM ends at {end:#x}, and {pa:#x} is not mapped to itself."
    return ""


def _written_beside_it(linux: Linux, before: dict[int, int]) -> str:
    end = linux.machine.highest_ram
    needed = -(-end // LONG4.levels[0].span)
    tables = [Entry(before[pgd_index(PAGE_OFFSET) + slot]).address for slot in range(needed)]
    for slot, entry in linux.swapper_pg_dir.slots().items():
        if slot < needed and Entry(entry).address != tables[slot]:
            return f"slot {slot} leads to another table than the direct map's. Every table that is needed is there."
        if slot >= needed and before.get(slot) != entry:
            return f"RAM ends at {end:#x}, and slot {slot} was written. Which slots are needed?"
    return ""
