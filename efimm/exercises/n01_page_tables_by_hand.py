"""Notebook 01: taking an address apart, and following it through four tables."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..machines import machine
from ..run import boot
from ..x86 import LONG4, Entry, walk
from ..x86.memory import GIB
from ..x86.modes import NX, RW, US, A, D, G, P
from .answers import Question
from .catalog import asks, wants
from .small_tables import FIRST_TABLE, canonical, memory_of, random_page, random_va, words_for

WalkOfWords = Callable[[dict[int, int], int, int], int | None]
_PAGE_DEPTHS = (1, 2, 3)  # a pud's, a pmd's and a pte's entry can map a page


@asks("01.1")
def index_at_a_level(random: Random) -> Question:
    """One of the four indices in an address."""
    va, level = random_va(random), random.choice(LONG4.levels)
    hints = {
        other.index(va): f"That is the index of the {other.name}. Which bits does the {level.name} have?"
        for other in LONG4.levels
        if other is not level
    }
    text = f"Which entry of the {level.name} does the address `{va:#x}` use?"
    return Question(text, level.index(va), hints, given={"va": va, "level": level.name})


@asks("01.2")
def address_in_an_entry(random: Random) -> Question:
    """The table's address in an entry with flags at both ends."""
    table = random.randrange(1, 1 << 34) << 12
    entry = table | P | sum(bit for bit in (RW, US, A, D, G) if random.random() < 0.6) | random.choice((0, NX))
    hints = {
        entry: "That is the whole word. Some of its bits are flags.",
        entry & ~0xFFF: "The flags below are gone. One more is at the very top: bit 63, NX.",
        entry & ~NX: "NX is gone. The low 12 bits are flags, too.",
        table >> 12: "That is the number of the page frame. The address has 12 zeroes behind it.",
    }
    text = f"To which physical address does the entry `{entry:#x}` lead?"
    return Question(text, Entry(entry).address, hints, given={"entry": entry})


@asks("01.3")
def walk_on_paper(random: Random) -> Question:
    """The physical address of a virtual one, from a handful of words; the page is large, or not."""
    va, depth = random_va(random), random.choice(_PAGE_DEPTHS)
    level = LONG4.levels[depth]
    words = words_for(va, random_page(random, level.shift), depth)
    found = walk(memory_of(words), FIRST_TABLE, va)
    assert found.pa is not None
    page = found.pa & ~(level.span - 1)
    listed = "\n".join(f"at `{pa:#x}`: `{word:#x}`" for pa, word in words.items())
    text = (
        f"CR3 is `{FIRST_TABLE:#x}`, and memory holds these words:\n{listed}\n"
        f"Where in physical memory does `{va:#x}` lie?"
    )
    hints = {
        page: "There the page begins. Add the offset within it.",
        page
        | va & 0xFFF: "How large is the page? The last entry has bit 7 (PS), so the offset is longer than 12 bits.",
        words[max(words)]: "That is the last entry. Take its flags away, and add the offset.",
    }
    return Question(text, found.pa, hints, given={"words": words, "cr3": FIRST_TABLE, "va": va})


@asks("01.4")
def address_from_indices(random: Random) -> Question:
    """The address that has four given indices, with its upper bits."""
    pgd = random.randrange(256, 512)
    indices = (pgd, *(random.randrange(512) for _ in range(3)))
    offset = random.randrange(4096)
    plain = sum(index << level.shift for index, level in zip(indices, LONG4.levels, strict=True)) + offset
    names = ", ".join(f"{level.name} {index}" for index, level in zip(indices, LONG4.levels, strict=True))
    text = f"Which address uses the entries {names}, and the offset `{offset:#x}`?"
    hints = {
        plain: "The 48 bits are right. Bit 47 is set, so what must bits 63 to 48 be?",
        canonical(plain) - offset: "That is the page. Add the offset.",
    }
    return Question(text, canonical(plain), hints, given={"indices": indices, "offset": offset})


@asks("01.5")
def through_a_copied_slot(random: Random) -> Question:
    """The physical address behind a slot into which a slot of the direct map was copied."""
    linux = boot(machine("3T"), "3.5")
    source, target = random.sample(range(6), 2)
    va = (target << 39) + random.randrange(4 * GIB, 1 << 38)  # below that is the hole of slot 0's RAM
    pgd = linux.swapper_pg_dir
    pgd[target] = pgd[272 + source]
    found = linux.cpu.walk(va).pa
    assert found is not None
    text = (
        "A kernel's direct map begins at slot 272, and the machine has 3 TiB. Somebody writes "
        f"`pgd[{target}] = pgd[{272 + source}]`. Where in physical memory does the virtual address `{va:#x}` lie now?"
    )
    hints = {
        va: f"That would be so with `pgd[{target}] = pgd[{272 + target}]`. What does slot {272 + source} map?",
        va & (1 << 39) - 1: f"That is the offset within a slot. Slot {272 + source} maps another part than slot 272.",
    }
    why = "The top-level index chooses the table, and nothing else of the address says which one it was."
    given = {"source": 272 + source, "target": target, "va": va}
    return Question(text, found, hints, why, given)


@wants(
    "01.6",
    "Write `walk_words(words, cr3, va)`: the physical address of `va`, or None where an entry is not present. "
    "`words` is a dictionary as in the notebook. Pages may be of 4 KiB, 2 MiB or 1 GiB, and any flag may be set.",
    why="That is what a processor does, without rights and without reserved bits.",
    rounds=60,
)
def walk_words(random: Random, submitted: WalkOfWords) -> str:
    """Try `submitted` on random tables with all three sizes of pages, and with entries that are not present."""
    va, depth = random_va(random), random.choice(_PAGE_DEPTHS)
    words = words_for(va, random_page(random, LONG4.levels[depth].shift), depth)
    if random.random() < 0.3:
        words[random.choice(list(words))] &= ~P  # not 0: the other bits are still there
    expected = walk(memory_of(words), FIRST_TABLE, va).pa
    answer = submitted(dict(words), FIRST_TABLE, va)
    if answer == expected and (answer is None) == (expected is None):
        return ""
    listed = ", ".join(f"{pa:#x}: {word:#x}" for pa, word in words.items())
    call = f"walk_words({{{listed}}}, {FIRST_TABLE:#x}, {va:#x})"
    return f"{call} gave {_said(answer)}, and the processor finds {_said(expected)}."


def _said(address: int | None) -> str:
    return f"{address:#x}" if isinstance(address, int) else repr(address)
