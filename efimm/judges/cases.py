"""The decisive questions, as data: `efimm judge --all` puts each of them to the firmware.

To add one, add a line.  No answer stands here: the model predicts, the firmware answers, and they agree or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..kernels import KERNELS, hpa_sync, va_patch
from ..linux import Kernel
from ..machines import parse_size
from ..workers import processors
from . import odd_entries
from .broken import Breaker, one_gib_wrong
from .errors import JudgeError
from .firmware_map import learn
from .guest import TIMEOUT, Guest, Power
from .host import FirmwareImage, firmware_arch, require
from .judgement import Judgement
from .session import Case, ask

# Each guest keeps one core busy and takes some 200 MB.
AT_ONCE = min(max(processors(), 2), 4)

# Robin's pointer on the table that hpa's plan uses, as 3.5 leaves it: an identity map and no direct map.
NO_DIRECT_MAP = replace(
    va_patch.KERNEL,
    name="va, no direct map",
    title="The va patch on 3.5's trampoline_pgd, which has no direct map",
    source="made up: the table of arch/x86/realmode/init.c, v3.5, with the switch of hpa-sync",
    efi_call_phys=hpa_sync.efi_call_phys,
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
    NamedCase("3.5, odd entries elsewhere", odd_entries.KERNEL, buffer=0x7F_FFFF_E000),
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
