"""A call, put into facts in which two sides can be compared: what a real kernel did, and what the model says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from ...text import slot_numbers
from ...x86 import MappedRange, mapped_ranges
from ...x86.memory import PAGE_SIZE
from ..tables import Moment, entries
from .changes import direct_map
from .told import Answer, Call

_UNITS = {12: "4K", 21: "2M", 30: "1G"}

# Where memory KASLR puts vmalloc and vmemmap the model does not know, and slot 510 is a matter of the configuration.
NOT_COMPARED = ("other_slots",)


@dataclass(frozen=True, slots=True)
class Facts:
    """One side's account.  What does not apply is None.

    `own_table` is True when the table in CR3 is not the one that the kernel works with.  `page` is the page that the
    pointer leads to.  `array` says how much of the array is mapped where the pointer says; `at_pa` and `at_va` count
    the regions that are mapped from end to end at their physical and at their virtual address.  `addresses` are the
    regions' physical and virtual addresses in the array's order, `one_to_one` is all that the lower half maps.
    `low_slots` are the filled top-level entries of the lower half, `direct_slots` those with the direct map, and
    `other_slots` the rest.
    """

    map_size: int
    descriptor_size: int
    version: int
    pointer: int
    paging: bool
    own_table: bool | None
    page: str
    array: str
    regions: int
    at_pa: int
    at_va: int
    addresses: tuple[tuple[int, int], ...]
    one_to_one: tuple[MappedRange, ...]
    low_slots: tuple[int, ...]
    direct_slots: tuple[int, ...]
    other_slots: tuple[int, ...]
    verdict: str
    status: int | None
    cr2: int | None
    error_code: int | None
    pointers_moved: int
    moved_by: tuple[int, ...]


def facts(call: Call, answer: Answer) -> Facts:
    """The facts of a call and its answer."""
    moment, fault = call.moment, answer.fault
    size, step, version, pointer = moment.arguments
    mapped = mapped_ranges(moment.memory, moment.cr3, moment.mode)
    told = [md for md in call.descriptors if md.virtual_start]
    low, direct, other = _slots(moment, mapped)
    return Facts(
        map_size=size,
        descriptor_size=step,
        version=version,
        pointer=pointer,
        paging=moment.paging,
        own_table=None if answer.own is None else answer.own.cr3 != moment.cr3,
        page=_page(moment, pointer),
        array=_how_much(moment, pointer, call.array_pa, size),
        regions=len(call.descriptors),
        at_pa=sum(_maps(moment, md.physical_start, md.physical_start, md.size) for md in told),
        at_va=sum(_maps(moment, md.virtual_start, md.physical_start, md.size) for md in told),
        addresses=tuple((md.physical_start, md.virtual_start) for md in call.descriptors),
        one_to_one=tuple(each for each in mapped if each.va < 1 << 63),
        low_slots=low,
        direct_slots=direct,
        other_slots=other,
        verdict=answer.verdict,
        status=answer.status,
        cr2=fault.cr2 if fault else None,
        error_code=fault.error_code if fault else None,
        pointers_moved=len(answer.moved),
        moved_by=tuple(sorted(set(answer.moved))),
    )


def differing(real: Facts, model: Facts) -> list[str]:
    """The names of the facts in which two sides differ; what one side cannot know is not one of them."""
    return [
        each.name
        for each in fields(Facts)
        if each.name not in NOT_COMPARED
        and getattr(real, each.name) != getattr(model, each.name)
        and not (each.name == "own_table" and None in (real.own_table, model.own_table))
    ]


def slots_in_words(slots: Iterable[int]) -> str:
    """Slots as text: "0–1, 273", runs as one."""
    runs: list[list[int]] = []
    for slot in slots:
        if runs and runs[-1][-1] == slot - 1:
            runs[-1].append(slot)
        else:
            runs.append([slot])
    return ", ".join(slot_numbers(run[0], run[-1]) for run in runs) or "none"


def _slots(moment: Moment, mapped: list[MappedRange]) -> tuple[tuple[int, ...], ...]:
    """The filled top-level entries: of the lower half, with the direct map, and the rest."""
    top = moment.mode.levels[0]
    filled = [index for index, entry in enumerate(entries(moment.tables, moment.cr3, 0, moment.mode)) if entry]
    distance = direct_map(moment)
    ends = [(each.va, each.end - 1) for each in mapped if each.va - each.pa == distance and each.va >= 1 << 63]
    direct = {slot for first, last in ends for slot in range(top.index(first), top.index(last) + 1)}
    low = tuple(slot for slot in filled if slot < 1 << top.bits - 1)
    rest = tuple(slot for slot in filled if slot not in low and slot not in direct)
    return low, tuple(sorted(direct)), rest


def _maps(moment: Moment, va: int, pa: int, size: int) -> bool:
    """True when [va, va + size) is mapped to [pa, pa + size), whatever the sizes of the pages."""
    end = va + size
    while va < end:
        found = moment.walk(va)
        if found.pa != pa:
            return False
        step = found.page_size - va % found.page_size
        pa, va = pa + step, va + step
    return True


def _how_much(moment: Moment, pointer: int, pa: int, size: int) -> str:
    """How many bytes of the array loads through the pointer would find."""
    good = 0
    for at in range(pointer & -PAGE_SIZE, pointer + size, PAGE_SIZE):
        first, last = max(at, pointer), min(at + PAGE_SIZE, pointer + size)
        good += (last - first) * (moment.walk(first).pa == pa + first - pointer)
    return "all of it" if good == size else f"{good} of {size} bytes" if good else "none of it"


def _page(moment: Moment, va: int) -> str:
    found = moment.walk(va)
    if found.pa is None:
        return found.problem
    rights = f"r{'w' if found.writable else '-'}{'x' if found.executable else '-'}"
    return f"{_UNITS.get(found.page_size.bit_length() - 1, 'large')} {rights}"
