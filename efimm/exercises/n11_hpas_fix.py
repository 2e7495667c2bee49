"""The last exercise of notebook 11: hpa's plan as a reader's kernel, tried on machines of 64 and of 32 bits."""

from __future__ import annotations

from random import Random

from ..linux import Kernel, Linux
from ..linux.direct_map import arch_add_memory
from ..linux.i386.vmalloc import ioremap as ioremap_32
from ..linux.layout import PGDIR_SIZE
from ..linux.pgtable import stale_slots
from ..linux.state import Linux32
from ..linux.vmalloc import ioremap
from ..machines import Machine, machine
from ..run import at_call, boot, enter
from ..trace import EntryWrite
from .catalog import wants
from .identity import not_identical

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
    arch_add_memory(linux, random.randrange(62, 100) * PGDIR_SIZE, 1 << 30)
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
