"""Notebook 08: indices of two and of three levels, low memory, a call without paging, and a table that falls behind."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..linux.i386.vmalloc import ioremap
from ..linux.pgtable import stale_slots
from ..linux.state import Linux32
from ..machines import machine
from ..run import boot, run
from ..trace import Access
from ..x86 import LEGACY, PAE, PagingMode, PhysMemory, walk
from ..x86.modes import PS, RW, US, A, D, P
from .answers import Question
from .catalog import asks, wants

_MODES = {"with two levels": LEGACY, "with PAE": PAE}
_MIB = 1 << 20
_TABLE = 0x1000
_DESCRIPTOR = 48
WalkOfWords = Callable[[dict[int, int], int, int, bool], int | None]


@asks("08.1")
def index_in_32_bits(random: Random) -> Question:
    """One of the indices in an address of 32 bits."""
    kind = random.choice(list(_MODES))
    mode, va = _MODES[kind], random.randrange(0xC000_0000, 1 << 32)
    level = random.choice(mode.levels[-2:])
    text = f"A kernel {kind} uses the address `{va:#x}`. Which entry of the {level.name} does it use?"
    hints = {}
    for other in (PAE, LEGACY):
        for wrong in other.levels:
            where = "with PAE" if other is PAE else "with two levels"
            hints[wrong.index(va)] = f"That is the {wrong.name}'s index {where}. How many bits has each level here?"
    return Question(text, level.index(va), hints, given={"va": va, "mode": kind, "level": level.name})


@asks("08.2")
def high_memory(random: Random) -> Question:
    """How much RAM has no permanent address in a 32-bit kernel."""
    arch, kind = random.choice((("i386", "with two levels"), ("i386-pae", "with PAE")))
    ram = random.randrange(1024, 2048, 16) if arch == "i386" else random.randrange(1024, 60_000, 16)
    linux = boot(machine(ram * _MIB, arch=arch), "3.5")
    assert isinstance(linux, Linux32)
    low = linux.high_memory - linux.phys_to_virt(0) >> 10
    text = (
        f"A kernel {kind} runs on a machine with {ram} MiB of RAM. How many KiB of it are high memory, without an "
        f"address of their own in the kernel? (Boot one with `arch='{arch}'`, and look at `high_memory`.)"
    )
    all_of_it = ram << 10
    hints = {
        low: "That is low memory. And the rest?",
        all_of_it - (1 << 20): "The kernel's GiB has other things in it, too: the direct map does not get all of it.",
        all_of_it - (896 << 10): "Nearly: the kernel leaves a little more than 128 MiB for other things. Boot one.",
        all_of_it - low >> 10: "That is MiB.",
        all_of_it: "None of it in the direct map? Then the kernel would have nothing to run on.",
    }
    return Question(text, all_of_it - low, hints, f"Low memory has {low} KiB.", {"ram": ram * _MIB, "arch": arch})


@asks("08.3")
def read_without_paging(random: Random) -> Question:
    """Where the firmware looks for the first Attribute when it gets a virtual address and paging is off."""
    start = random.randrange(0x0400_0000, 0x3000_0000, 0x1000)
    outcome = run(machine("4G", arch="i386", buffer=start), "va-patch")
    reads = (event.pa for event in outcome.trace.events if isinstance(event, Access) and event.kind == "read")
    first = next(pa for pa in reads if outcome.pointer <= pa < outcome.pointer + _DESCRIPTOR)
    text = (
        f"On i386, the array lies at physical `{start:#x}`. Robin's patch passes its kernel address. Which physical "
        "address does the firmware read first, for an Attribute?"
    )
    hints = {
        start: "That is where the array is. Who translates?",
        start + 32: "That would be right. But paging is off, and the number that was passed is another one.",
        outcome.pointer: "That is the pointer. The Attribute lies 32 bytes further on.",
        first + 0xFFFF_8800_0000_0000 - 0xC000_0000: "That is x86-64. On 32 bits the direct map begins at 0xc0000000.",
    }
    why = "At that address there is no RAM, so it reads nothing like a descriptor, and says EFI_SUCCESS."
    return Question(text, first, hints, why, {"buffer": start})


@asks("08.4")
def entries_behind(random: Random) -> Question:
    """How many entries of initial_page_table a large ioremap leaves behind."""
    linux = boot(machine("4G", arch="i386"), "3.5")
    assert isinstance(linux, Linux32)
    table = linux.initial_page_table.name
    before = len(stale_slots(linux).get(table, []))
    linux.vmalloc_next = random.randrange(0xF900_0000, 0xFB00_0000, 1 << 19)
    size = random.randrange(2, 48)
    va = ioremap(linux, 0xD000_0000, size * _MIB)
    more = len(stale_slots(linux)[table]) - before
    text = (
        f"On i386 (two levels) a driver maps {size} MiB of a graphics card, at `{va:#x}` and behind; nothing else is "
        f"mapped there. How many entries more does `{table}` lack then?"
    )
    hints = {
        0: "With PAE, yes: there the top level does not change. Here an entry covers 4 MiB.",
        1: "One table is behind. By how many entries?",
        size: "An entry of the top level covers 4 MiB.",
        size // 2: "Entries of 2 MiB are PAE's, and there they are in a table that all share.",
        -(-size // 4): "It does not begin where an entry begins. Count the first and the last one.",
        more + 1: "Does the last byte really lie there?",
    }
    return Question(text, more, hints, "Nobody will bring them.", {"va": va, "size": size * _MIB})


@wants(
    "08.5",
    "Write `walk32(words, cr3, va, pae)`: the physical address of `va`, or None where an entry is not present. `words` "
    "is a dictionary, address for entry. Without PAE: two levels, entries of 4 bytes, pages of 4 KiB or (PS) 4 MiB. "
    "With PAE: three levels of 2, 9 and 9 bits, entries of 8 bytes, pages of 4 KiB or (PS, in the pmd) 2 MiB.",
    why="With these few lines one can read the tables of every 32-bit Linux.",
    rounds=80,
)
def walk32(random: Random, submitted: WalkOfWords) -> str:
    """Try `submitted` on random tables of both kinds, with both sizes of pages, and with missing entries."""
    mode = random.choice((LEGACY, PAE))
    va, words = random.randrange(1 << 32), {}
    depth = random.randrange(len(mode.levels) - 2, len(mode.levels))
    for number, level in enumerate(mode.levels[: depth + 1]):
        place = _TABLE * (number + 1) + mode.entry_bytes * level.index(va)
        words[place] = _leaf(random, mode, depth) if number == depth else _TABLE * (number + 2) | P
    if random.random() < 0.3:
        words[random.choice(list(words))] &= ~P
    memory = PhysMemory()
    for pa, word in words.items():
        memory.write(pa, word.to_bytes(mode.entry_bytes, "little"))
    expected = walk(memory, _TABLE, va, mode).pa
    answer = submitted(dict(words), _TABLE, va, mode is PAE)
    if answer == expected and (answer is None) == (expected is None):
        return ""
    listed = ", ".join(f"{pa:#x}: {word:#x}" for pa, word in words.items())
    call = f"walk32({{{listed}}}, {_TABLE:#x}, {va:#x}, {mode is PAE})"
    return f"{call} gave {_said(answer)}, and the processor finds {_said(expected)}."


def _leaf(random: Random, mode: PagingMode, depth: int) -> int:
    """The entry of a page of the level's size, below 4 GiB, with random flags."""
    shift = mode.levels[depth].shift
    flags = P | sum(bit for bit in (RW, US, A, D) if random.random() < 0.5)
    large = PS if depth < len(mode.levels) - 1 else 0
    return random.randrange(1 << 32 - shift) << shift | flags | large


def _said(address: int | None) -> str:
    return f"{address:#x}" if isinstance(address, int) else repr(address)
