"""The situations that a kernel's way into the firmware has to stand: a machine, and what happens around the call.

None of them says how it ends: that is what running it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .linux import Kernel, Linux
from .linux.direct_map import arch_add_memory
from .linux.pgtable import pgd_alloc
from .linux.state import Mm
from .linux.vmalloc import ioremap
from .machines import machine
from .run import Outcome, boot, call_again, enter
from .uefi.firmwares import FIRMWARES, find_firmware
from .uefi.runtime import FirmwareKind
from .x86.cpu import CR4_LASS, CR4_SMAP
from .x86.memory import GIB, PAGE_SHIFT, PAGE_SIZE

LINE = 512 << 30  # where the second top-level entry begins
DEVICE = 0xFEC0_0000
KASLR = 0xFFFF_8C70_0000_0000  # a direct map that begins in the middle of a top-level entry


@dataclass(frozen=True)
class Scenario:
    """One situation.  `options` are those of `efimm.machine`; `play` takes the booted kernel to the call and beyond.

    What `play` gives is the outcome that counts, which is not always that of the first call.  `judged` is False where
    no judge from outside can show it: then it rests on the kernel's C alone, and whoever shows it says so.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    play: Callable[[Linux], Outcome] = enter
    judged: bool = True

    def run(self, kernel: Kernel) -> Outcome:
        """Boot `kernel` on the machine and play; MachineError where it cannot start there."""
        return self.play(boot(machine(**self.options), kernel))


def with_processes(linux: Linux) -> Outcome:
    """Ten processes have their tables before the call; the call uses none of them."""
    for number in range(10):
        pgd_alloc(linux, f"process {number}")
    return enter(linux)


def array_in_added_memory(linux: Linux) -> Outcome:
    """RAM is added to the running kernel, in a top-level entry of its own, and the array is put there."""
    start = -(-linux.machine.highest_ram // LINE) * LINE
    arch_add_memory(linux, start, GIB)
    linux.machine = replace(linux.machine, buffer=start + PAGE_SIZE)
    return enter(linux)


def device_mapped_before(linux: Linux) -> Outcome:
    """A driver has mapped its device in a top-level entry of its own, of which the firmware's table knows nothing."""
    linux.vmalloc_next = linux.layout.region("vmalloc").start + LINE
    ioremap(linux, DEVICE, PAGE_SIZE)
    return enter(linux)


def called_by_a_new_process(linux: Linux) -> Outcome:
    """A process is born after the switch, and makes a call."""
    first = enter(linux)
    return _as_process(linux, pgd_alloc(linux, "child"), lambda: call_again(first))


def called_with_added_memory(linux: Linux) -> Outcome:
    """RAM is added after the switch; a process that was there before makes a call with its buffer in the new RAM."""
    parent = pgd_alloc(linux, "parent")
    first = enter(linux)
    start = -(-linux.machine.highest_ram // LINE) * LINE
    arch_add_memory(linux, start, GIB)
    return _as_process(linux, parent, lambda: call_again(first, start + PAGE_SIZE))


def called_with_memory_added_across_a_slot(linux: Linux) -> Outcome:
    """RAM that is added begins in one top-level entry and ends in the next; a process calls with its buffer there."""
    parent = pgd_alloc(linux, "parent")
    first = enter(linux)
    start, size = 3 * LINE // 2, 300 << 30
    arch_add_memory(linux, start, size)
    return _as_process(linux, parent, lambda: call_again(first, start + size - PAGE_SIZE))


def called_with_lass_on(linux: Linux) -> Outcome:
    """Linear-address-space separation, and SMAP, which it needs, are on when a later call is made."""
    first = enter(linux)
    linux.cpu.write_cr4(linux.cpu.cr4 | CR4_LASS | CR4_SMAP)
    return call_again(first)


def switched_twice(linux: Linux) -> Outcome:
    """The kernel goes through efi_enter_virtual_mode once more, on the machine where it has done so."""
    enter(linux)
    return enter(linux)


def _as_process(linux: Linux, mm: Mm, call: Callable[[], Outcome]) -> Outcome:
    """What `call` gives with the process's table in CR3."""
    kernel_cr3 = linux.cpu.cr3
    linux.cpu.write_cr3(mm.pgd.pa)
    outcome = call()
    linux.cpu.write_cr3(kernel_cr3)
    return outcome


def after_kexec(linux: Linux) -> Outcome:
    """The kernel is started once more by kexec: the firmware was switched already, and keeps its memory.

    The second kernel is told what the first one hands on, if it hands on anything.
    """
    enter(linux)
    second = boot(linux.machine, linux.kernel)
    second.efi_setup = linux.kernel.efi_runtime_map(linux)
    frames = linux.memory.words[8]
    for region in linux.map.descriptors:
        if region.runtime:
            kept = [
                pfn for pfn in range(region.physical_start >> PAGE_SHIFT, region.end >> PAGE_SHIFT) if pfn in frames
            ]
            for pfn in kept:
                second.memory.write(pfn << PAGE_SHIFT, linux.memory.read(pfn << PAGE_SHIFT, PAGE_SIZE))
    return enter(second)


def with_firmware(firmware: FirmwareKind | str) -> Scenario:
    """The machine of 1 TiB with that firmware: one of ours by its name, or a reader's own."""
    return Scenario(f"firmware {find_firmware(firmware).name}", {"ram": "1T", "firmware": firmware})


_RAM_SIZES = ("1G", "4G", "256G", "511G", "512G", "1T", "4T", "16T", "64T")

SCENARIOS: tuple[Scenario, ...] = (
    *(Scenario(f"{ram} of RAM", {"ram": ram}) for ram in _RAM_SIZES),
    *(Scenario(f"1T by {size} pages", {"ram": "1T", "page_size": size}) for size in ("2M", "4K")),
    *(
        Scenario(f"array {where}", {"ram": "1T", "buffer": address})
        for where, address in (
            ("low", 0x1234_5000),
            ("just below 512G", LINE - PAGE_SIZE),
            ("across 512G", LINE - 0x80),
            ("just above 512G", LINE),
            ("above 1T", (1 << 40) + PAGE_SIZE),
        )
    ),
    Scenario("ten processes", {"ram": "1T"}, with_processes),
    Scenario("array in added memory", {"ram": "256G"}, array_in_added_memory),
    Scenario("a device mapped before", {"ram": "1T"}, device_mapped_before),
    Scenario("called by a new process", {"ram": "256G"}, called_by_a_new_process),
    Scenario("called with added memory", {"ram": "256G"}, called_with_added_memory),
    Scenario("memory added across a slot", {"ram": "256G"}, called_with_memory_added_across_a_slot),
    Scenario("memory KASLR", {"ram": "1T", "kaslr": KASLR}),
    Scenario("page-table isolation", {"ram": "1T", "kpti": True}),
    Scenario("five levels", {"ram": "1T", "arch": "x86_64-la57"}),
    *(with_firmware(name) for name in FIRMWARES if name != "edk2"),
    *(Scenario(arch, {"ram": "4G", "arch": arch}) for arch in ("i386", "i386-pae")),
    Scenario("after kexec", {"ram": "4G"}, after_kexec),
    Scenario("kexec, physical clock", {"ram": "4G", "firmware": "physical-clock"}, after_kexec),
    Scenario("LASS, physical clock", {"ram": "4G", "firmware": "physical-clock"}, called_with_lass_on, judged=False),
    Scenario("memory encryption (SME)", {"ram": "1T", "sme": True}, judged=False),
    *(Scenario(f"32-bit firmware, {ram}", {"ram": ram, "mixed": True}, judged=False) for ram in ("2G", "1T")),
    Scenario("efi=noruntime", {"ram": "1T", "noruntime": True}),
    Scenario("switched twice", {"ram": "4G"}, switched_twice),
)

NOT_JUDGED = frozenset(scenario.name for scenario in SCENARIOS if not scenario.judged)
FROM_THE_C = "From the C, not judged"


def from_the_c(names: Iterable[str]) -> str:
    """A line that names the scenarios of `names` which no judge can show; "" where there is none."""
    found = [name for name in names if name in NOT_JUDGED]
    return f"{FROM_THE_C}: {'; '.join(found)}." if found else ""
