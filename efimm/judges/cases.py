"""The decisive questions, as data: `efimm judge --all` puts each of them to the firmware.

To add one, add a line.  No answer stands here: the model predicts, the firmware answers, and they agree or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..kernels import KERNELS, hpa_sync, v3_5, va_patch
from ..linux import Kernel, Linux
from ..linux.page_alloc import alloc_pages
from ..machines import parse_size
from ..workers import processors
from ..x86 import walk
from ..x86.memory import GIB
from ..x86.modes import LONG4, NX, PS, RW, US, A, D, P
from .guest import TIMEOUT, Guest, Power
from .handover import Handover
from .host import FirmwareImage, JudgeError, firmware_arch, require
from .judgement import Judgement
from .session import Breaker, Case, ask, learn
from .tables import Tables, memory_of

# Each guest keeps one core busy and takes some 200 MB.
AT_ONCE = min(max(processors(), 2), 4)

# Direct map of physical 0x9040000000, far from what the firmware touches in the call.
WRONG_GIB = 0xFFFF_8890_4000_0000

# Linux's own tables hold few kinds of entries: rights are restricted in leaves only, and no reserved bit is ever set.
# These chains have one odd entry each, in slots that Linux does not use, so that the processor is judged on them, too;
# the call itself meets none of them.
FIRST_SLOT = 128
_ORDINARY = P | RW | US | A | D
_BEYOND_THE_PROCESSOR = 1 << 51  # an address bit that no guest has
_BETWEEN = 1 << 13  # in a large page's entry: between its PAT bit and its address
_PAT_LARGE, _PAT_SMALL = 1 << 12, PS

# (depth of the odd entry, bits that it lacks, bits that it has besides)
ODD = (
    *((depth, lacks, 0) for depth in range(4) for lacks in (P, RW, US)),
    *((depth, 0, has) for depth in range(4) for has in (NX, _BEYOND_THE_PROCESSOR)),
    (0, 0, PS),
    *((depth, lacks, PS | has) for depth in (1, 2) for lacks, has in ((0, 0), (RW, 0), (0, NX), (0, _BETWEEN))),
    *((depth, 0, PS | _PAT_LARGE) for depth in (1, 2)),
    (3, 0, _PAT_SMALL),
)


def entry_changed(handover: Handover, va: int, depth: int, change: Callable[[int], int]) -> Tables:
    """The kernel's tables during the call with one entry, that of `va` at a level, replaced by `change(entry)`."""
    call = handover.call
    step = walk(memory_of(call.tables), call.cr3, va, call.mode).steps[depth]
    page, size = bytearray(call.tables[step.table]), call.mode.entry_bytes
    page[size * step.index : size * (step.index + 1)] = change(step.entry).to_bytes(size, "little")
    return {**call.tables, step.table: bytes(page)}


def one_gib_wrong(handover: Handover) -> Tables:
    """One page of 1 GiB leads to its neighbour's memory; nothing in the call itself depends on it."""
    return entry_changed(handover, WRONG_GIB, 1, lambda entry: entry - GIB)


def write_chain(linux: Linux, slot: int, depth: int, lacks: int, has: int) -> None:
    """One chain of tables for top-level `slot`, each using its entry 1, with the odd entry at `depth`.

    The page that it leads to is free RAM at a GiB of its own above 4 GiB, so that it fits pages of any size.
    """
    table, index = linux.cpu.cr3, slot
    page = (5 + slot - FIRST_SLOT) << 30
    for level in range(len(LONG4.levels)):
        odd = level == depth
        last = level + 1 == len(LONG4.levels) or bool(odd and has & PS and level)
        target = page if last else alloc_pages(linux, 1)
        entry = target | _ORDINARY
        linux.memory.write_u64(table + 8 * index, entry & ~lacks | has if odd else entry)
        if last:
            return
        table, index = target, 1


@contextmanager
def _with_odd_entries(linux: Linux) -> Iterator[None]:
    """What 3.5 does, and the odd entries are there during the call."""
    with v3_5.efi_call_phys(linux):
        for number, (depth, lacks, has) in enumerate(ODD):
            write_chain(linux, FIRST_SLOT + number, depth, lacks, has)
        yield


# Robin's pointer on the table that hpa's plan uses, as 3.5 leaves it: an identity map and no direct map.
NO_DIRECT_MAP = replace(
    va_patch.KERNEL,
    name="va, no direct map",
    title="The va patch on 3.5's trampoline_pgd, which has no direct map",
    source="made up: the table of arch/x86/realmode/init.c, v3.5, with the switch of hpa-sync",
    efi_call_phys=hpa_sync.efi_call_phys,
)
ODD_ENTRIES = replace(
    v3_5.KERNEL,
    name="odd entries",
    title="Linux 3.5 with odd entries in slots that it does not use",
    source="made up, to judge the processor",
    efi_call_phys=_with_odd_entries,
)


@dataclass(frozen=True, slots=True)
class NamedCase:
    """A named question: a kernel on a guest with `ram` from this `vendor`, and the machine options of `efimm run`.

    With `broken` the firmware gets other tables than the model: the two must not agree.
    """

    name: str
    kernel: Kernel | str
    ram: str = "768G"
    vendor: str = "intel"
    buffer: int | None = None
    page_size: str = "1G"
    descriptor_size: int = 48
    arch: str = "x86_64"
    broken: Breaker | None = None

    def case(self, firmware: FirmwareImage | None = None) -> Case:
        """The question for `firmware`, else for the one of this computer; NotInstalledError where it has none."""
        firmware = firmware or require(firmware_arch(self.arch))
        guest = Guest(parse_size(self.ram), firmware, self.vendor, firmware_arch(self.arch))
        return Case(self.kernel, guest, self.buffer, self.page_size, self.descriptor_size, self.arch)


DECISIVE = (
    NamedCase("3.5, array below 512 GiB", "3.5", ram="256G"),
    NamedCase("3.5, last page below 512 GiB", "3.5", buffer=0x7F_FFFF_E000),
    NamedCase("3.5, straddling 512 GiB", "3.5", buffer=0x7F_FFFF_FF80),
    NamedCase("3.5, direct map of 2 MiB pages", "3.5", page_size="2M"),
    NamedCase("3.5, AMD hole", "3.5", ram="1T", vendor="amd"),
    NamedCase("hpa-sync, AMD hole", "hpa-sync", ram="1T", vendor="amd"),
    NamedCase("hpa-sync, array below 512 GiB", "hpa-sync", ram="256G"),
    NamedCase("hpa-sync, descriptors of 56 bytes", "hpa-sync", descriptor_size=56),
    NamedCase("va-patch, straddling 512 GiB", "va-patch", buffer=0x7F_FFFF_FF80),
    NamedCase("va-patch, no direct map", NO_DIRECT_MAP),
    NamedCase("3.5, odd entries elsewhere", ODD_ENTRIES, buffer=0x7F_FFFF_E000),
    NamedCase("3.5, i386", "3.5", ram="1G", arch="i386"),
    NamedCase("3.5, i386 with PAE", "3.5", ram="1G", arch="i386-pae"),
    NamedCase("va-patch, i386", "va-patch", ram="1G", arch="i386"),
    NamedCase("va-patch, i386 with PAE", "va-patch", ram="1G", arch="i386-pae"),
    NamedCase("hpa-sync, i386", "hpa-sync", ram="1G", arch="i386"),
)

# What the judge must not let pass.
CONTROLS = (NamedCase("hpa-sync, one wrong 1 GiB entry", "hpa-sync", broken=one_gib_wrong),)


def named_cases() -> tuple[NamedCase, ...]:
    """Every kernel with its array above 512 GiB, then the decisive ones, and last the tables broken on purpose."""
    return *(NamedCase(f"{name}, array above 512 GiB", name) for name in KERNELS), *DECISIVE, *CONTROLS


def named_case(name: str) -> NamedCase:
    """The case of that name; JudgeError lists the names there are."""
    cases = {case.name: case for case in named_cases()}
    if name not in cases:
        raise JudgeError(f"no case {name!r}: expected one of {'; '.join(cases)}")
    return cases[name]


def ask_all(
    wanted: Sequence[NamedCase],
    *,
    timeout: float = TIMEOUT,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[NamedCase, Judgement]]:
    """The judgement of each case, in their order; several guests run at a time."""
    cases = [named.case() for named in wanted]
    guests = dict.fromkeys(case.guest for case in cases)
    with _bench() as (pool, power):
        progress(f"learning {len(guests)} memory maps, for {len(cases)} cases")
        learnt = {guest: pool.submit(learn, guest, timeout=timeout, power=power) for guest in guests}

        def judged(case: Case, named: NamedCase) -> Judgement:
            learnt[case.guest].result()  # in the queue before any case, so it cannot wait for one
            return ask(case, timeout=timeout, broken=named.broken, power=power)

        for done, (named, judgement) in enumerate(zip(wanted, pool.map(judged, cases, wanted), strict=True), 1):
            progress(f"case {done} of {len(cases)}: {named.name}")
            yield named, judgement


@contextmanager
def _bench() -> Iterator[tuple[ThreadPoolExecutor, Power]]:
    """Threads that boot guests; at its end, and at an early one, too, no guest runs and no question waits."""
    pool, power = ThreadPoolExecutor(AT_ONCE), Power()
    try:
        yield pool, power
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a thread that is in the midst of the model ends by itself
        power.off()
