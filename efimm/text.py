"""Plain text of at most 72 columns: a trace, a walk, an outcome, a map, to be pasted into a mail.

The words that picture, twin and widget share: the verdict, places in memory, what a slot is.

One outcome explained as the answer to a mail would explain it: the address, the walk, and what stands in the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from textwrap import wrap

from .linux.layout import PGDIR_SIZE, V3_5_LAYOUT, Layout
from .linux.page_alloc import another_node
from .maps.errors import printable
from .run import Outcome
from .trace import Access, Enter, Event, Fault, Leave, Trace
from .uefi.memmap import E820Type, EfiMemoryType, MemoryMap
from .x86 import LONG4, LONG5, Entry, PageTable, Step, Walk
from .x86.fields import size
from .x86.memory import GIB
from .x86.modes import ADDRESS_MASK

COLUMNS = 72

_VERDICT_WORDS = {
    "success": "success: EFI_SUCCESS, and the firmware works at its new addresses",
    "page-fault": "page fault: the firmware could not read the descriptor array",
    "wrong-memory": "wrong memory: EFI_SUCCESS, but the next call into firmware went wrong",
    "refused": "refused: the firmware gave an error status",
}


def text(what: Trace | Iterable[Event] | Outcome | Walk | MemoryMap) -> str:
    """`what` as text of at most 72 columns: a story (a trace or events), an outcome, a walk or a memory map."""
    if isinstance(what, Outcome):
        return outcome(what)
    if isinstance(what, Walk):
        return walk(what)
    if isinstance(what, MemoryMap):
        return memory_map(what)
    return story(what.events if isinstance(what, Trace) else what)


def story(events: Iterable[Event]) -> str:
    """One line an event, indented by step; accesses that follow one another are counted, not listed.

    A step that never came to its end (a fault cut it short) is marked at the bottom.
    """
    lines: list[str] = []
    open_steps: list[Enter] = []
    for _, group in groupby(events, key=_group_key):
        run = list(group)
        if isinstance(run[0], Leave) and open_steps:
            open_steps.pop()
        depth = len(open_steps)
        lines.append("  " * depth + _line(run))
        if isinstance(run[0], Enter):
            open_steps.append(run[0])
    lines += [f"never came to its end: {step.step}" for step in reversed(open_steps)]
    return "\n".join(cut for line in lines for cut in wrapped(line))


def outcome(found: Outcome) -> str:
    """What became of the call: machine, kernel, pointer, verdict, and the oops where there was one."""
    lines = verdict(found)
    if found.fault is not None:
        lines += ["", *walk(found.fault.walk).splitlines(), "", *console(found)]
    return "\n".join(lines)


def verdict(found: Outcome) -> list[str]:
    """Machine, kernel, pointer and verdict, a line each where it has room."""
    linux = found.linux
    rows = [
        ("machine", map_title(linux.map)),
        ("RAM ends at", f"{linux.machine.highest_ram:#x} ({gib(linux.machine.highest_ram)})"),
        ("kernel", f"{linux.kernel.name}: {linux.kernel.title}"),
        *_given(found),
        ("verdict", _verdict_words(found)),
    ]
    if found.status is not None:
        rows.append(("status", f"{found.status.name} ({int(found.status):#x})"))
    if found.trouble:
        rows.append(("went wrong", found.trouble))
    return table(rows) + notes(linux.map)


def console(found: Outcome) -> list[str]:
    """What the kernel printed of the oops."""
    printed = found.linux.trace.console
    start = next((k for k, line in enumerate(printed) if line.startswith("BUG:")), len(printed))
    return ["The console:", *(f"  {line.rstrip()}" for line in printed[start:])]


def _verdict_words(found: Outcome) -> str:
    if found.linux.no_runtime and found.linux.machine.mixed:
        return "success: this kernel does not call firmware of 32 bits at all"
    if found.linux.no_runtime:
        return "success: the firmware is not called at all (efi=noruntime)"
    if found.verdict == "success" and found.status is None:
        return "success: the firmware works at its physical addresses"
    fault = found.fault
    if fault is not None and found.who == "kernel":
        return f"page fault: the kernel itself could not {fault.kind} {fault.cr2:#x}"
    if fault is not None and fault.kind == "fetch":
        return "page fault: the processor could not reach the firmware's code"
    if fault is not None and fault.cr2 - found.pointer not in range(1 << 20):  # an array is never that long
        return f"page fault: the firmware could not {fault.kind} {fault.cr2:#x}"
    return _VERDICT_WORDS[found.verdict]


def _given(found: Outcome) -> list[tuple[str, str]]:
    """What the firmware was given, or that it was given nothing."""
    count = found.linux.memmap_count
    if not count:
        return [("array", "none: SetVirtualAddressMap is not called")]
    other = another_node(found.linux)
    assumed = f"; assumed, another node may get it: --buffer {other:#x}" if other is not None else ""
    array = ("array", f"{count} descriptors at {found.buffer_pa:#x} ({gib(found.buffer_pa)}){assumed}")
    if found.fault and found.who == "kernel":  # it did not get so far as to pass it
        return [array]
    return [array, ("pointer", f"{found.pointer:#x}, {_where_looked_up(found)}")]


def _where_looked_up(found: Outcome) -> str:
    if found.slot is None:
        return "a physical address for the firmware: paging is off"
    return f"which the processor looks up in slot {found.slot}"


def walk(found: Walk) -> str:
    """A walk, one line a level, and what came of it."""
    lines = [f"walk of {found.va:#x}"]
    for step in found.steps:
        entry = Entry(step.entry)
        lines.append(f"  {step.level.name}[{step.index}]  {step.entry:#018x}  {entry.flags or '-'}")
    if found.pa is not None:
        rights = ["writable" if found.writable else "read-only", "user" if found.user else "supervisor"]
        rights.append("executable" if found.executable else "no execute")
        lines.append(f"  -> {found.pa:#x}, {size(found.page_size)} page, {', '.join(rights)}")
    else:
        where = f": {found.last.level.name}[{found.last.index}]" if found.last else ""
        lines.append(f"  -> no translation, {found.problem}{where}")
    return "\n".join(cut for line in lines for cut in wrapped(line))


def memory_map(found: MemoryMap) -> str:
    """The e820 list and the EFI list of a map in one form; ends are exclusive."""
    lines = wrap(map_title(found), COLUMNS)
    lines += wrap(f"source: {printable(found.source)}", COLUMNS) if found.source else []
    lines += notes(found)
    lines.append(f"RAM: {gib(found.ram_bytes)} in use by the kernel, up to {found.highest_ram:#x}")
    for title, entries in (("e820", found.e820), ("e820 after memmap= options", found.user_e820)):
        if entries:
            lines += ["", f"{title}: {len(entries)} entries"]
            lines += [f"  {e.start:#016x} {e.end:#016x} {_e820_name(e.type)}" for e in entries]
    if found.descriptors:
        lines += ["", f"EFI: {len(found.descriptors)} descriptors"]
        for d in found.descriptors:
            run = " RUNTIME" if d.runtime else ""
            lines.append(f"  {d.physical_start:#016x} {d.end:#016x} {_efi_name(d.type)}{run}")
    return "\n".join(lines)


def compare(outcomes: Sequence[Outcome]) -> str:
    """One line a kernel: what it passed, in which slot the processor looked (- without paging), what came of it."""
    first = outcomes[0]
    lines = wrap(map_title(first.linux.map), COLUMNS)
    lines += [f"RAM ends at {first.linux.machine.highest_ram:#x}, array at {first.buffer_pa:#x}", ""]
    lines.append(f"{'kernel':<10} {'pointer':<18} {'slot':>4}  {'verdict':<12} {'fault':<20}".rstrip())
    for found in outcomes:
        where = f"{found.fault.cr2:#x} {found.fault.level}[{found.fault.index}]" if found.fault else ""
        asked = f"{found.pointer:<#18x} {'-' if found.slot is None else found.slot:>4}"
        if not found.linux.memmap_count:
            asked = f"{'-':<18} {'-':>4}"
        lines.append(f"{found.linux.kernel.name:<10} {asked}  {found.verdict:<12} {where}".rstrip())
    return "\n".join(lines)


def slots(entries: dict[int, int], layout: Layout = V3_5_LAYOUT) -> str:
    """The non-zero entries of a top-level table, one line each with the region they belong to."""
    return "\n".join(f"[{i:>3}] {entry:#018x}  {_slot_name(layout, i)}" for i, entry in sorted(entries.items()))


def wrapped(line: str, indent: int | None = None) -> list[str]:
    """The line cut to the width; what is left over is indented by `indent`, or by four more than the line is."""
    further = len(line) - len(line.lstrip()) + 4 if indent is None else indent
    return wrap(line, COLUMNS, subsequent_indent=" " * further, break_on_hyphens=False) or [""]


def table(rows: Sequence[Sequence[str]], *widths: int) -> list[str]:
    """Rows of cells in columns, the last cell of each wrapped to the width; `widths` are the columns' least ones.

    Two spaces stand between columns.
    """
    *fixed, _ = zip(*rows, strict=True)
    least = (*widths, *(0 for _ in fixed))
    wide = [max(least[k], *map(len, cells)) + 2 for k, cells in enumerate(fixed)]
    lines = []
    for *cells, last in rows:
        head = "".join(f"{cell:<{width}}" for cell, width in zip(cells, wide, strict=True))
        room = COLUMNS - len(head)
        short = len(last) <= room and last.isprintable()  # as nearly always; to wrap it takes long
        first, *rest = [last] if short else wrap(last, room, break_on_hyphens=False) or [""]
        lines += [f"{head}{first}".rstrip(), *(" " * len(head) + line for line in rest)]
    return lines


def gib(address: int) -> str:
    """An address or a size in GiB, TiB where that is a whole number."""
    if address and address % (1 << 40) == 0:
        return f"{address >> 40} TiB"
    return f"{address / GIB:.6g} GiB"


def _group_key(event: Event) -> object:
    """Accesses of one kind to one page count as one line; anything else is a line of its own."""
    return (event.kind, event.pa >> 12) if isinstance(event, Access) else id(event)


def _line(run: Sequence[Event]) -> str:
    """One event, or a run of accesses, in words."""
    last = run[-1]
    many = f" ({len(run)} times, up to {last.va:#x})" if isinstance(last, Access) and len(run) > 1 else ""
    return f"{run[0]}{many}"


def _slot_name(layout: Layout, index: int) -> str:
    """Linux's name for the region; the lower half is a process's, or an identity map, which the index does not tell."""
    name = layout.region_of_slot(index).name
    return f"lower half, from {size(index << layout.pgdir_shift)}" if name == "user" else name


def notes(found: MemoryMap) -> list[str]:
    """The remarks that a map comes with, wrapped."""
    return [line for remark in found.notes for line in wrap(f"note: {printable(remark)}", COLUMNS)]


def map_title(found: MemoryMap) -> str:
    """The machine's name, or the map's; both may come from a log, and are shown without what drives a terminal."""
    return printable(found.title or found.name)


def _e820_name(kind: int) -> str:
    return E820Type(kind).name if kind in set(E820Type) else f"type {kind}"


def _efi_name(kind: int) -> str:
    return EfiMemoryType(kind).name if kind in set(EfiMemoryType) else f"type {kind:#x}"


def verdict_line(outcome: Outcome) -> str:
    """What became of the call, in one sentence that names the slot."""
    linux, fault = outcome.linux, outcome.fault
    slot = linux.layout.mode.levels[0].index(outcome.pointer)
    if outcome.verdict == "success":
        return f"Success: the firmware read the array through slot {slot}, and it works at its new addresses."
    if fault is not None:
        entry = fault.walk.steps[-1]
        where = f"slot {fault.index}" if fault.level == "pgd" else f"{fault.level}[{fault.index}]"
        state = "is empty" if not entry.entry else f"({entry.entry:#x}) does not allow it"
        return f"Page fault: the {outcome.who}'s {fault.kind} of {fault.cr2:#x} needs {where}, which {state}."
    if outcome.status is None:
        return f"Wrong address: {linux.trace.console[-1]}."
    if outcome.verdict == "refused":
        return f"Refused: the firmware answered {outcome.status.name}."
    after = "a page fault" if any(isinstance(event, Fault) for event in linux.trace.events) else "no sense"
    return f"Wrong memory: the firmware answered {outcome.status.name}, but the next call, GetTime, gave {after}."


def ram_words(count: int) -> str:
    """An amount of RAM in a block: "all RAM", "2 GiB of RAM", "no RAM"."""
    if not count:
        return "no RAM"
    return "all RAM" if count == PGDIR_SIZE else f"{_rounded(count)} of RAM"


def _rounded(count: int) -> str:
    return f"{count / GIB:.4g} GiB"


def some_slots(numbers: Iterable[int]) -> str:
    """Slots as at most two runs, "0, 272–274"; further ones are only hinted at."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return ", ".join(slot_numbers(*run) for run in runs[:2]) + (", ..." if len(runs) > 2 else "")


def slot_numbers(first: int, last: int) -> str:
    """One slot or a run of them: "1", "3–271"."""
    return f"{first}" if first == last else f"{first}–{last}"


_KERNEL_HALF = 256


def reply(found: Outcome, at_call: Walk | None) -> str:
    """The outcome and why: the walk that faulted, else that of the array when the firmware was entered (`at_call`).

    None for a kernel that passes no array, and where the call is made without paging.  All numbers are read from the
    machine's memory as the call has left it; after a fault that is as the firmware met it, since nothing is undone.
    """
    parts = [verdict(found)]
    if found.fault is not None:
        parts += [_asked(found), _steps(found.fault.walk)]
        if found.who == "firmware":
            parts += [_lower_half(found, found.fault.walk), _direct_map(found, found.fault.cr2)]
        parts += [console(found)]
    elif at_call is not None:
        parts += [_entered_with(at_call), _steps(at_call)]
    elif found.linux.memmap_count:
        parts += [wrap("The firmware was called without paging, so an address is what it says, and no walk is made.")]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _asked(found: Outcome) -> list[str]:
    """What the firmware (or the kernel) wanted, and where the processor begins to look."""
    assert found.fault is not None  # the caller has looked
    offset = found.fault.cr2 - found.pointer
    size = found.linux.memmap_count * found.linux.machine.descriptor_size
    place = f", {offset:#x} into the array it was given," if 0 <= offset < size else ""
    words = f"The {found.who}'s {found.fault.kind} at {found.fault.cr2:#x}{place} failed."
    if found.who == "kernel":
        return wrap(f"{words} The processor walked from CR3 = {found.fault.walk.root:#x}:", COLUMNS)
    return wrap(f"{words} {_taken_for_virtual(found.fault.walk)}", COLUMNS)


def _entered_with(at_call: Walk) -> list[str]:
    words = f"When the firmware was entered, it was given {at_call.va:#x}."
    return wrap(f"{words} {_taken_for_virtual(at_call)}", COLUMNS)


def _taken_for_virtual(found: Walk) -> str:
    root = f"walks from CR3 = {found.root:#x}"
    return f"Paging is on, so the processor takes this number for a virtual address, and {root}:"


def _steps(found: Walk) -> list[str]:
    """One step of a walk after the other, with the bits of the address that choose the entry."""
    lines = [line for step in found.steps for line in _step(step)]
    if found.pa is not None:
        return [*lines, f"  which is the physical address {found.pa:#x}"]
    end = f"  {found.problem}: the walk ends here" if found.problem else "  the rights of these entries do not allow it"
    return [*lines, end]


def _step(step: Step) -> list[str]:
    level, entry = step.level, Entry(step.entry)
    bits = f"bits {level.shift + level.bits - 1}-{level.shift} = {step.index}"
    return [
        f"  {bits:<19} {level.name}[{step.index}] at {step.pa:#x}",
        f"{'':<22}= {step.entry:#x}  {entry.flags}".rstrip(),
    ]


def _lower_half(found: Outcome, failed: Walk) -> list[str]:
    """What the lower half of the table held, where low addresses are looked up, and which slots it shares."""
    if failed.mode not in (LONG4, LONG5):
        return []
    entries = PageTable(found.linux.memory, failed.root, "CR3", found.trace).slots()
    low = {slot: entry for slot, entry in entries.items() if slot < _KERNEL_HALF}
    if not low:
        return ["The lower half of this table is empty."]
    shared = [
        f"pgd[{slot}] leads to the same table as pgd[{other}]"
        for slot, entry in low.items()
        for other, kernel in entries.items()
        if other >= _KERNEL_HALF and (entry ^ kernel) & ADDRESS_MASK == 0
    ]
    which = f"The lower half of this table has {_many(low)}."
    return wrap(f"{which} {'; '.join(shared[:1])}{'.' if shared else ''}".strip(), COLUMNS)


def _many(slots: Iterable[int]) -> str:
    """One entry, or how many and which ones first and last."""
    numbers = sorted(slots)
    if len(numbers) == 1:
        return f"one entry, pgd[{numbers[0]}]"
    return f"{len(numbers)} entries, from pgd[{numbers[0]}] to pgd[{numbers[-1]}]"


def _direct_map(found: Outcome, pa: int) -> list[str]:
    """Where the kernel itself has the memory that the firmware asked for, if the number was a physical address."""
    own = found.linux.cpu.walk(found.linux.phys_to_virt(pa))
    if own.pa != pa:
        return []
    words = f"The memory is there: the kernel's own address for {pa:#x} is {own.va:#x}, in the same tables."
    return [*wrap(words, COLUMNS), *walk(own).splitlines()]
