"""Notebook 10: where later kernels put things, read in real tables, and which kernel helps which machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from itertools import combinations
from random import Random

from ..kernels import KERNELS
from ..linux.layout import EFI_VA_END, EFI_VA_START, PGDIR_SIZE, V6_1_LAYOUT, pgd_index
from ..machines import Machine, machine, table_files
from ..run import at_call, boot, run
from ..trace import Trace
from ..uefi import EfiMemoryType
from ..uefi.firmwares import FIRMWARES
from ..uefi.memmap import e820_from_efi
from ..x86 import Entry, PageTable, load_tables, mapped_ranges
from ..x86.memory import GIB
from ..x86.modes import RW, US, A, D, P
from ..x86.ranges import MappedRange
from .answers import Question
from .catalog import asks, wants

_REAL = "debian-6.1-600g"
Pairs = Iterable[tuple[int, int]]


@asks("10.1")
def slots_with_kaslr(random: Random) -> Question:
    """How many top-level slots a direct map needs that begins in the middle of one."""
    start = random.randrange(V6_1_LAYOUT.page_offset + 64 * PGDIR_SIZE >> 30, 0xFFFF_B000_0000_0000 >> 30) << 30
    linux = boot(machine(f"{random.randrange(600, 20_000)}G", kaslr=start), "6.1")
    end = linux.machine.highest_ram
    slots = [slot for slot in linux.swapper_pg_dir.slots() if slot in linux.layout.region("direct map").slots]
    text = (
        f"Kernel 6.1 with memory KASLR: here the direct map begins at `{start:#x}`. RAM ends at {end >> 30} GiB. "
        "How many top-level slots does the direct map use?"
    )
    hints = {
        -(-end // PGDIR_SIZE): "It does not begin at a slot's start. In which slots are its first and last byte?",
        pgd_index(start): "That is the first of them. How many are there?",
        slots[-1]: "That is the last of them. How many are there?",
        len(slots) - 1: "The first one and the last one both count.",
    }
    alias = "Copied to a low slot, such an entry is no identity map, unless the direct map begins where a slot begins."
    why = f"Slots {slots[0]} to {slots[-1]}. {alias}"
    return Question(text, len(slots), hints, why, {"page_offset": start, "highest_ram": end})


@asks("10.2")
def where_the_firmware_is_called(random: Random) -> Question:
    """The address below -4 GiB at which the real 6.1 has a byte of its firmware."""
    part = random.choice([each for each in _real_windows() if each.size > 1 << 14])
    va = random.randrange(part.va, part.end)
    pa = part.pa + va - part.va
    text = (
        f"In the tables of the real 6.1 kernel (`{_REAL}`) the firmware has a byte at physical `{pa:#x}`. `efi_mm.pgd` "
        "maps it twice: to itself, and once more in the window below -4 GiB. At which address there?"
    )
    hints = {
        pa: "That is the identity map, for firmware that keeps its physical addresses.",
        EFI_VA_START - pa: "The window is filled from the top, but not by such a rule. Ask `mapped_ranges`.",
        part.va: "There that range of the window begins.",
        pa + V6_1_LAYOUT.page_offset: "That is the direct map. The window is at the other end of the address space.",
    }
    why = f"The range begins at {part.va:#x}, and at physical {part.pa:#x}."
    return Question(text, va, hints, why, {"tables": _REAL, "pa": pa})


@cache
def _real_windows() -> list[MappedRange]:
    memory, roots, mode = load_tables(table_files()[_REAL])
    return [each for each in mapped_ranges(memory, roots["efi_mm.pgd"], mode) if EFI_VA_END <= each.va < EFI_VA_START]


@asks("10.3")
def empty_slots_borrowed(random: Random) -> Question:
    """How many of the slots that 3.8 borrows lead nowhere, on a machine with a hole in its RAM."""
    given = _with_a_hole(random.randrange(20, 2000, 4), random.randrange(600, 16_000, 4))
    start, end = max(given.map.ram)
    slots = range(-(-end // PGDIR_SIZE))
    linux = boot(given, "3.8")
    empty = at_call(linux, lambda _cpu: sum(not linux.swapper_pg_dir[slot] for slot in slots))
    text = (
        f"A machine has RAM from 0 to 2 GiB, and from {start >> 30} GiB to {end >> 30} GiB. 3.8 maps RAM only, "
        "and borrows a slot for every 512 GiB up to the end of RAM. How many of the borrowed slots are empty?"
    )
    hints = {
        len(slots): "So many slots does it go through. In which of them is RAM?",
        len(slots) - empty: "Those have something in them.",
        empty + 1: "In slot 0 there is RAM, below 2 GiB.",
        start // PGDIR_SIZE: "Slot 0 is not empty.",
    }
    why = "The loop does not ask. Copying nothing does no harm."
    return Question(text, empty, hints, why, {"start": start, "end": end})


def _with_a_hole(size: int, distance: int) -> Machine:
    """2 GiB of RAM from 0 on, and `size` GiB that are lifted by `distance` GiB."""
    plain = machine(f"{size + 2}G").map
    moved = tuple(
        replace(region, physical_start=region.physical_start + distance * GIB)
        if region.type == EfiMemoryType.EfiConventionalMemory and region.physical_start >= 4 * GIB
        else region
        for region in plain.descriptors
    )
    return machine(map=replace(plain, name="with a hole", descriptors=moved, e820=e820_from_efi(moved)))


@asks("10.4")
def who_is_helped(random: Random) -> Question:
    """Which kernels succeed on one machine with one kind of firmware, as a sum of weights."""
    firmware, ram = random.choice(list(FIRMWARES)), random.randrange(520, 4000)
    names = sorted(random.sample(list(KERNELS), 5), key=list(KERNELS).index)
    weights = dict(zip(names, random.sample((1, 2, 4, 8, 16), 5), strict=True))
    given = machine(f"{ram}G", firmware=firmware)
    verdicts = {name: run(given, name).verdict for name in names}
    helped = sum(weights[name] for name in names if verdicts[name] == "success")
    asked = ", ".join(f"{weight} for `{name}`" for name, weight in weights.items())
    text = (
        f"A machine with {ram} GiB, firmware `{firmware}` ({FIRMWARES[firmware].title}). Which kernels succeed? "
        f"Add up: {asked}. Predict first; `efimm.run` knows."
    )
    hints = {31: "Not all of them do."}
    for count in range(5):
        for chosen in combinations(names, count):
            wrong = [name for name in names if (name in chosen) == (verdicts[name] != "success")]
            if wrong:
                hints[sum(weights[name] for name in chosen)] = (
                    f"Look again at `{wrong[0]}`. What does it pass, and where?"
                )
    why = ", ".join(f"{name}: {verdict}" for name, verdict in verdicts.items()) + "."
    return Question(text, helped, hints, why, {"ram": ram, "firmware": firmware, "weights": weights})


@wants(
    "10.5",
    "Write `aliases(slots)`. `slots` is a top-level table as a dictionary, as `PageTable.slots()` gives it. Return "
    "the pairs `(low, high)` of slots that lead to the same lower table, sorted. Flags may differ.",
    why="Try it on `trampoline_pgd` of the real tables, and of hpa-sync.",
    rounds=25,
)
def aliases(random: Random, submitted: Callable[[Mapping[int, int]], Pairs]) -> str:
    """Try `submitted` on tables of kernels, real ones among them, and on made-up ones."""
    slots = random.choice((_of_a_kernel, _real_top_level, _made_up))(random)
    tables = {slot: Entry(entry).address for slot, entry in slots.items()}
    expected = [(low, high) for low, high in combinations(sorted(slots), 2) if tables[low] == tables[high]]
    answer = [tuple(pair) for pair in submitted(dict(slots))]
    if answer == expected:
        return ""
    shown = ", ".join(f"{slot}: {entry:#x}" for slot, entry in list(slots.items())[:8])
    return f"{{{shown}{', ...' if len(slots) > 8 else ''}}} gave {answer}, expected {expected}."


def _of_a_kernel(random: Random) -> Mapping[int, int]:
    linux = boot(machine(f"{random.randrange(4, 4000)}G"), random.choice(list(KERNELS)))
    return linux.trampoline_pgd.slots()


def _real_top_level(random: Random) -> Mapping[int, int]:
    memory, roots, _mode = load_tables(table_files()[_REAL])
    name = random.choice(sorted(roots))
    return PageTable(memory, roots[name], name, Trace()).slots()


def _made_up(random: Random) -> Mapping[int, int]:
    """Some slots with a few lower tables between them, and any flags."""
    tables = [random.randrange(1, 1 << 34) << 12 for _ in range(4)]
    chosen = random.sample(range(512), random.randrange(2, 9))
    slots = {}
    for slot in sorted(chosen):
        flags = sum(bit for bit in (RW, US, A, D) if random.random() < 0.5)
        slots[slot] = random.choice(tables) | P | flags
    return slots
