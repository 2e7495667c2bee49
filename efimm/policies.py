"""Robin Holt's three questions of 21 June 2012 as three kernels: which identity maps should be created?

"Do we just add them as we are scanning the e820/EFI memory maps and include the reserved, etc ranges?  Do we look at
the table handed to us by EFI at the beginning of boot and use that as the basis?  Or do we simply wait until the
kernel's memory initialization is complete and cover all of physical memory from zero up to the highest physical
address?"

Each is Linux 3.5 with a table of its own for the call, which has the kernel's half and one identity map.  That the
firmware's own table maps what its memory map lists is the specification's rule (UEFI 2.10, section 2.3.4), not a look
at a real one.  No release did any of this so; hpa's answer the next day was that the maps are there already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

from .kernels import KERNELS
from .linux import Kernel, Linux
from .linux.layout import KERNPG_TABLE, PTRS_PER_PGD
from .linux.page_alloc import alloc_pages
from .linux.pageattr import populate_pgd
from .machines import Machine
from .run import at_call, boot, run
from .trace import EntryWrite
from .x86 import PageTable, mapped_ranges
from .x86.memory import PAGE_SIZE

Range = tuple[int, int]
_TABLE = "identity_pgd"


def scanned(linux: Linux) -> list[Range]:
    """Everything that the e820 list and the EFI list mention, of any type."""
    firmware = [(md.physical_start, md.end) for md in linux.map.descriptors]
    return [(entry.start, entry.end) for entry in linux.map.kernel_e820] + firmware


def firmwares_own(linux: Linux) -> list[Range]:
    """What the firmware's table maps at boot: the memory of its own map."""
    return [(md.physical_start, md.end) for md in linux.map.descriptors]


def up_to_the_top(linux: Linux) -> list[Range]:
    """From zero up to the highest physical address of RAM."""
    return [(0, linux.machine.highest_ram)]


def calling_with(ranges: Callable[[Linux], list[Range]]) -> Callable[[Linux], AbstractContextManager[None]]:
    """The seam around the call: a new table with `ranges` mapped 1:1, loaded for the call."""

    @contextmanager
    def efi_call_phys(linux: Linux) -> Iterator[None]:
        with linux.trace.span("kernel", "make the identity map", "identity-map"):
            pgd = PageTable(linux.memory, alloc_pages(linux, 1), _TABLE, linux.trace)
            for slot in range(linux.layout.kernel_pgd_boundary, PTRS_PER_PGD):
                pgd[slot] = linux.swapper_pg_dir[slot]
            for start, end in _joined(ranges(linux)):
                populate_pgd(linux, pgd, start, start, end, KERNPG_TABLE)
        cr3 = linux.cpu.cr3
        linux.cpu.write_cr3(pgd.pa)
        yield
        linux.cpu.write_cr3(cr3)

    return efi_call_phys


def _policy(name: str, title: str, order: int, ranges: Callable[[Linux], list[Range]]) -> Kernel:
    source = "Robin Holt, linux-kernel, 2012-06-21 16:52, asked as a question; never a release"
    seam = calling_with(ranges)
    record = KERNELS["3.5"]
    return replace(record, name=name, title=title, order=order, source=source, efi_call_phys=seam, known_bugs=())


POLICIES = (
    _policy("scan", "every range that e820 or EFI lists", 20, scanned),
    _policy("efi-table", "what EFI's own table maps", 21, firmwares_own),
    _policy("zero-to-top", "0 to the highest address of RAM", 22, up_to_the_top),
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a policy does on one machine, in bytes.

    `tables` are the pages that it takes and hpa's map does not, `writes` the top-level entries of the identity map.
    """

    name: str
    title: str
    verdict: str
    mapped: int
    ram_missed: int
    not_ram: int
    tables: int
    writes: int


def compare_policies(machine: Machine) -> list[Policy]:
    """The three policies on `machine`, and for comparison hpa's map, which borrows the direct map's tables."""
    found = [_tried(machine, record) for record in (*POLICIES, KERNELS["hpa-sync"])]
    return [replace(row, tables=row.tables - found[-1].tables) for row in found]


def policies_text(found: list[Policy]) -> str:
    """The comparison as a table of at most 72 columns; sizes in GiB."""
    lines = [f"{'':12}{'verdict':<12}{'mapped':>9}{'RAM missed':>12}{'not RAM':>9}{'tables':>8}{'writes':>9}"]
    for row in found:
        sizes = f"{row.mapped / 2**30:>9.5g}{row.ram_missed / 2**30:>12.5g}{row.not_ram / 2**30:>9.5g}"
        lines.append(f"{row.name:<12}{row.verdict:<12}{sizes}{row.tables:>8}{row.writes:>9}")
    return "\n".join([*lines, "(sizes in GiB; tables in pages)"])


def _tried(machine: Machine, record: Kernel) -> Policy:
    linux = boot(machine, record)
    free = linux.page_alloc_next
    ranges = at_call(linux, lambda cpu: mapped_ranges(cpu.memory, cpu.cr3))
    mapped = _joined([(part.va, part.end) for part in ranges if part.va == part.pa])
    ram = list(linux.map.ram)
    covered = sum(max(0, min(end, top) - max(start, low)) for start, end in ram for low, top in mapped)
    size = sum(end - start for start, end in mapped)
    writes = [event for event in linux.trace.events if isinstance(event, EntryWrite) and event.table == _TABLE]
    return Policy(
        name=record.name,
        title=record.title,
        verdict=run(machine, record).verdict,
        mapped=size,
        ram_missed=sum(end - start for start, end in ram) - covered,
        not_ram=size - covered,
        tables=(free - linux.page_alloc_next) // PAGE_SIZE,
        writes=sum(event.count for event in writes if event.index < PTRS_PER_PGD // 2),
    )


def _joined(ranges: list[Range]) -> list[Range]:
    """The ranges in whole pages, sorted, those that touch or overlap made one."""
    joined: list[Range] = []
    for start, end in sorted(
        (start // PAGE_SIZE * PAGE_SIZE, -(-end // PAGE_SIZE) * PAGE_SIZE) for start, end in ranges
    ):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        elif start < end:
            joined.append((start, end))
    return joined
