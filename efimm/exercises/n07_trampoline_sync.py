"""Notebook 07: what hpa's plan writes into the trampoline's table, what it costs, and what falls behind without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from ..linux import Linux
from ..linux.direct_map import arch_add_memory
from ..linux.layout import PGDIR_SIZE
from ..machines import machine
from ..policies import compare_policies
from ..run import boot
from ..x86 import Entry, mapped_ranges
from ..x86.memory import GIB
from .answers import Question
from .catalog import asks, wants

_SCAN, _EFI_TABLE, _ZERO_TO_TOP, _HPA = range(4)


@asks("07.1")
def two_slots(random: Random) -> Question:
    """The two slots of the trampoline's table that lead to one physical address."""
    linux = boot(machine("60T"), "hpa-sync")
    pa = random.randrange(1 << 40, linux.machine.highest_ram)
    entry = linux.swapper_pg_dir[linux.layout.kernel_pgd_boundary + pa // PGDIR_SIZE]
    first, second = (slot for slot, found in linux.trampoline_pgd.slots().items() if found == entry)
    text = (
        f"A machine has 60 TiB. With hpa's plan, which two slots of `trampoline_pgd` lead to physical `{pa:#x}`? "
        "Type their sum."
    )
    hints = {
        first: "That is the identity index. And where the kernel expects the same memory?",
        second: "That is the kernel's index. And at address zero?",
        second - first: "That is the distance between the two.",
        first + 256 + first: "The kernel's half begins at 256, the direct map at 272.",
    }
    return Question(text, first + second, hints, f"Slots {first} and {second}.", {"pa": pa})


@asks("07.2")
def entries_of_the_trampoline(random: Random) -> Question:
    """How many entries the trampoline's table has with hpa's plan, all areas counted."""
    linux = boot(machine(f"{random.randrange(700, 32000)}G"), "hpa-sync")
    end, slots = linux.machine.highest_ram, linux.trampoline_pgd.slots()
    direct_map = linux.layout.region("direct map").slots
    own = sum(slot in direct_map for slot in slots)
    text = (
        f"RAM ends at {end >> 30} GiB. How many entries does `trampoline_pgd` have after the boot of `hpa-sync`? "
        "The kernel uses one slot each for vmalloc, for the `struct page` array and for its text."
    )
    hints = {
        own: "So many slots has the direct map. Where else do its entries go?",
        2 * own: "That is the direct map, twice. The kernel has other areas, too.",
        2 * (len(slots) - own): "Only the direct map's entries are written twice.",
        len(slots) - own: "So many has the kernel's half. And the identity map?",
    }
    return Question(text, len(slots), hints, "Twice the direct map, once the rest.", {"highest_ram": end})


@asks("07.3")
def seen_through_an_old_copy(random: Random) -> Question:
    """How much of later memory a copy of the direct map's entries, made once at boot, still shows."""
    linux = boot(machine(f"{random.randrange(600, 2000, 8)}G"), "3.5")
    end = linux.machine.highest_ram
    slots = -(-end // PGDIR_SIZE)
    for slot in range(slots):
        linux.trampoline_pgd[slot] = linux.swapper_pg_dir[linux.layout.kernel_pgd_boundary + slot]
    start = (random.randrange(end, slots * PGDIR_SIZE) // GIB + 2) * GIB
    size = random.randrange(32, 800, 2) * GIB
    arch_add_memory(linux, start, size)
    seen = sum(
        min(part.end, start + size) - max(part.va, start)
        for part in mapped_ranges(linux.memory, linux.trampoline_pgd.pa)
        if part.va == part.pa and part.end > start
    )
    text = (
        f"RAM ends at {end / GIB:g} GiB. At boot a kernel copies the direct map's entries once into `trampoline_pgd`, "
        f"at address zero. Later {size >> 30} GiB are added at {start >> 30} GiB. "
        "How many GiB of the added memory does the old copy map to themselves?"
    )
    hints = {
        0: "The copy is old, but the tables that it leads to are shared. In which slots is the new memory?",
        size >> 30: "The new memory goes beyond the slots that were copied.",
        size - seen >> 30: "So many are not mapped. And the rest?",
    }
    why = "Below an entry that was copied everything is shared. Only new entries are missing."
    return Question(text, seen >> 30, hints, why, {"highest_ram": end, "start": start, "size": size})


@asks("07.4")
def tables_of_a_policy(random: Random) -> Question:
    """How many pages of tables the map from zero to the top takes, which hpa's does not."""
    given = machine(f"{random.randrange(600, 20000)}G")
    found = compare_policies(given)
    slots = found[_ZERO_TO_TOP].writes
    text = (
        f"RAM ends at {given.highest_ram >> 30} GiB. Robin's third way is a map \"from zero up to the highest physical "
        'address" in tables of its own, here by pages of 1 GiB. How many pages of tables does it take?'
    )
    hints = {
        found[_HPA].tables: "That is hpa's: it aliases what is there.",
        slots: "So many tables it leads to. It is one, too.",
        slots + 2: "One table at the top, and one for each 512 GiB.",
        slots * 512: "So many GiB. An entry maps one, a table has 512 entries.",
    }
    why = "hpa's map takes none: it has been there all the time, for the kernel."
    return Question(text, found[_ZERO_TO_TOP].tables, hints, why, {"highest_ram": given.highest_ram})


@wants(
    "07.5",
    "Write `identity_gaps(linux)`: slots at which `linux.trampoline_pgd` should have an identity entry and has none, "
    "or another, in order. It should have one for each slot of the direct map that `linux.swapper_pg_dir` has, "
    "leading to the same table. (Flags may differ; an entry has `.address`.)",
    why="A kernel could check itself in this way, at every hot-add.",
    rounds=25,
)
def identity_gaps(random: Random, submitted: Callable[[Linux], Sequence[int]]) -> str:
    """Try `submitted` on both kernels, with memory added, and with entries taken away or led astray."""
    linux = boot(machine(f"{random.randrange(600, 6000)}G"), random.choice(("3.5", "hpa-sync", "hpa-sync")))
    if random.random() < 0.5:
        arch_add_memory(linux, random.randrange(20, 60) * PGDIR_SIZE, GIB)
    table, first = linux.trampoline_pgd, linux.layout.kernel_pgd_boundary
    kernels = {
        s - first: e for s, e in linux.swapper_pg_dir.slots().items() if s in linux.layout.region("direct map").slots
    }
    for slot in random.sample(sorted(kernels), random.randrange(len(kernels))):
        table[slot] = random.choice((0, kernels[slot] ^ 1 << 6, kernels[random.choice(sorted(kernels))]))
    expected = [slot for slot, entry in kernels.items() if table[slot].address != Entry(entry).address]
    answer = list(submitted(linux))
    if answer == expected:
        return ""
    return f"with entries at {', '.join(map(str, table.slots()))} it gave {answer}, expected {expected}."
