"""What if?  Changes to the machine that stands still at the call, each one made to the model, too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from ...linux import Kernel, Linux
from ...machines import parse_address
from ...x86 import mapped_ranges
from ..host import JudgeError
from ..tables import Moment
from .guest import Running
from .told import Call

_KERNEL_HALF = 1 << 63
_ENTRY = 8


class Change(Protocol):
    """One change: to a real machine, and to a model's kernel."""

    def on_guest(self, running: Running, call: Call, /) -> str:
        """Change the stopped guest, and say in words what was done."""

    def in_model(self, kernel: Kernel, /) -> Kernel:
        """The kernel that calls the firmware with the same change."""


@dataclass(frozen=True, slots=True)
class ZeroSlot:
    """Empty an entry of the top-level table in force: with slot 1 today's kernels meet the bug of 2012."""

    slot: int

    def __post_init__(self) -> None:
        _check(self.slot)

    def on_guest(self, running: Running, call: Call) -> str:
        """Write it into the guest's table."""
        place = call.moment.cr3 + _ENTRY * self.slot
        was = running.read_u64(place)
        running.write_u64(place, 0)
        return f"slot {self.slot} of the table in CR3 was zeroed; it held {was:#x}"

    def in_model(self, kernel: Kernel) -> Kernel:
        """The kernel with this slot empty during the call."""
        return _with_slot(kernel, self.slot, lambda _: 0)


@dataclass(frozen=True, slots=True)
class CopySlot:
    """Copy an entry of the top-level table in force over another one, as Linux 3.5 to 3.8 did before the call."""

    source: int
    target: int

    def __post_init__(self) -> None:
        _check(self.source)
        _check(self.target)

    def on_guest(self, running: Running, call: Call) -> str:
        """Write it into the guest's table."""
        entry = running.read_u64(call.moment.cr3 + _ENTRY * self.source)
        running.write_u64(call.moment.cr3 + _ENTRY * self.target, entry)
        return f"slot {self.source} of the table in CR3, {entry:#x}, was copied to slot {self.target}"

    def in_model(self, kernel: Kernel) -> Kernel:
        """The kernel with this entry copied during the call."""
        return _with_slot(kernel, self.target, lambda linux: _entry(linux, self.source))


@dataclass(frozen=True, slots=True)
class OtherPointer:
    """Give the firmware another pointer: "pa", "va" (the array in the kernel's direct map), or an address."""

    what: str

    def __post_init__(self) -> None:
        if self.what not in ("pa", "va"):
            parse_address(self.what)

    def on_guest(self, running: Running, call: Call) -> str:
        """Write it into R9, the fourth argument."""
        if self.what in ("pa", "va"):
            pointer = call.array_pa + (0 if self.what == "pa" else direct_map(call.moment))
        else:
            pointer = parse_address(self.what)
        running.gdb.set_register("r9", pointer)
        return f"the pointer was {call.pointer:#x}, and the firmware gets {pointer:#x}"

    def in_model(self, kernel: Kernel) -> Kernel:
        """The kernel with this pointer: `new_memmap` is its array in the direct map."""

        def pointer(linux: Linux, new_memmap: int) -> int:
            if self.what == "va":
                return new_memmap
            return linux.virt_to_phys(new_memmap) if self.what == "pa" else parse_address(self.what)

        return replace(kernel, memmap_pointer=pointer)


def direct_map(moment: Moment) -> int:
    """Where the kernel's half has physical address 0: the distance at which it maps most memory.

    JudgeError for a table that maps nothing there.
    """
    distances: Counter[int] = Counter()
    for found in mapped_ranges(moment.memory, moment.cr3, moment.mode):
        if found.va >= _KERNEL_HALF:
            distances[found.va - found.pa] += found.size
    if not distances:
        raise JudgeError("the kernel's half of the table in CR3 is empty: it has no direct map")
    return distances.most_common(1)[0][0]


def _with_slot(kernel: Kernel, slot: int, entry: Callable[[Linux], int]) -> Kernel:
    """`kernel` with an entry of the table in force written over, once everything is prepared for the call."""

    @contextmanager
    def efi_call_phys(linux: Linux) -> Iterator[None]:
        with kernel.efi_call_phys(linux):
            linux.memory.write_u64(linux.cpu.cr3 + _ENTRY * slot, entry(linux))
            linux.cpu.write_cr3(linux.cpu.cr3)
            yield

    return replace(kernel, efi_call_phys=efi_call_phys)


def _entry(linux: Linux, slot: int) -> int:
    return linux.memory.read_u64(linux.cpu.cr3 + _ENTRY * slot)


def _check(slot: int) -> None:
    if not 0 <= slot < 512:
        raise JudgeError(f"slot {slot}: expected 0 to 511")
