"""What one boot of a real kernel told: the call of SetVirtualAddressMap, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ...uefi.memmap import SIZEOF_DESCRIPTOR, EfiMemoryDescriptor
from ..tables import Moment
from .guest import LinuxGuest

PAGE_FAULT = 14


@dataclass(frozen=True)
class Call:
    """The moment of the call; its arguments are MemoryMapSize, DescriptorSize, DescriptorVersion, VirtualMap.

    `array` is what the pointer leads to, and `array_pa` where that is; read as physical memory where nothing maps it.
    """

    moment: Moment
    array_pa: int
    array: bytes

    @property
    def pointer(self) -> int:
        """The address of the array, as the firmware gets it."""
        return self.moment.arguments[3]

    @cached_property
    def descriptors(self) -> list[EfiMemoryDescriptor]:
        """The array, descriptor by descriptor."""
        step = max(self.moment.arguments[1], SIZEOF_DESCRIPTOR)
        places = range(0, len(self.array) - SIZEOF_DESCRIPTOR + 1, step)
        return [EfiMemoryDescriptor.unpack(self.array[at : at + step]) for at in places]


@dataclass(frozen=True, slots=True)
class Fault:
    """An exception during the call: vector, error code (0 where it has none), CR2, and the instruction's address."""

    vector: int
    error_code: int
    cr2: int
    rip: int


@dataclass(frozen=True)
class Answer:
    """How the call ended.  `status` and `fault` are both None where the processor was reset.

    `moved` are the distances by which pointers in the runtime services table moved, for each that did.  `own` is the
    moment when the kernel had gone back to the table it works with, None where it did not get there.
    """

    status: int | None = None
    fault: Fault | None = None
    moved: tuple[int, ...] = ()
    own: Moment | None = None

    @property
    def verdict(self) -> str:
        """One of the words of efimm.run.Outcome, or "reset" where nothing came back."""
        if self.fault is not None:
            return "page-fault" if self.fault.vector == PAGE_FAULT else "wrong-memory"
        if self.status is None:
            return "reset"
        if self.status:
            return "refused"
        return "success" if self.moved else "wrong-memory"


@dataclass(frozen=True)
class Told:
    """All that one boot told.

    `reached` says how far it came.  `call` and `answer` are None for a kernel that went on without the call.  `changes`
    are the words for what was changed at the stop, and `before` is the call as it would have been without.  `run_by`
    names QEMU and the firmware; `recorded` is the day of the run, "" for one of just now.
    """

    guest: LinuxGuest
    console: str
    reached: str
    seconds: float
    run_by: str
    recorded: str = ""
    changes: tuple[str, ...] = ()
    before: Call | None = None
    call: Call | None = None
    answer: Answer | None = None

    @property
    def verdict(self) -> str:
        """The answer's verdict, or "no-call"."""
        return "no-call" if self.answer is None else self.answer.verdict
