"""One machine, one kernel, one question: what becomes of the call to SetVirtualAddressMap?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from .kernels import KERNELS
from .linux import Kernel, KernelError, Linux, efi_enter_virtual_mode, virt_efi_get_time
from .linux import boot as boot_kernel
from .linux.page_alloc import TABLE_POOL, TablesUsedUp, alloc_pages
from .machines import Machine, MachineError
from .trace import Trace
from .uefi import EfiStatus, WildCall
from .uefi.runtime import SIZEOF_EFI_TIME
from .x86 import Cpu, GeneralProtection, PageFault, Walk
from .x86.memory import PAGE_SHIFT

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Outcome:
    """How it went.  `verdict` is one of "success", "page-fault", "wrong-memory" and "refused".

    success       SetVirtualAddressMap gave EFI_SUCCESS, and GetTime through the new addresses told the firmware's time;
                  or the kernel does without that call (`status` is None, there is no array), and GetTime told it;
                  or the kernel makes no call at all (efi=noruntime, or 32-bit firmware that it cannot call)
    page-fault    a page fault on the way into the call or in it; `fault` has it
    wrong-memory  what the firmware was given was not the array: EFI_SUCCESS, but the first call afterwards went wrong;
                  or the processor refused the address altogether (a general protection fault, `status` is None)
    refused       any other status

    `who` is "firmware" or "kernel": in whose code the processor was when it went wrong; None for a success.
    `trouble` says in a few words what went wrong where there is neither a fault nor a status to say it.
    """

    verdict: str
    status: EfiStatus | None
    fault: PageFault | None
    buffer_pa: int
    pointer: int
    trace: Trace
    linux: Linux
    trouble: str = ""
    who: str | None = None

    def __repr__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        return f"<Outcome of {self.linux.kernel.name} on {self.linux.machine!r}: {self.verdict}{why}>"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """What a notebook shows: the outcome as text."""
        from .text import outcome  # noqa: PLC0415 - text stands to the right; only who looks at an outcome needs it

        printer.text(outcome(self))

    @property
    def slot(self) -> int | None:
        """The top-level entry in which the processor looked the pointer up; None where paging was off."""
        levels = self.linux.call_mode.levels
        return levels[0].index(self.pointer) if levels else None

    @property
    def reason(self) -> str:
        """Why it went wrong, in a few words; "" for a success."""
        if self.fault is not None:
            return _in_short(self.fault)
        return self.status.name if self.status else self.trouble

    def summary(self) -> dict[str, Any]:
        """The outcome as plain data, the object that `efimm run --json` prints; all addresses are integers.

        `cr3` is the register's value during the first call of the firmware.
        """
        fault = self.fault
        return {
            "kernel": self.linux.kernel.name,
            "arch": self.linux.machine.arch,
            "ram": self.linux.machine.ram,
            "highest_ram": self.linux.machine.highest_ram,
            "buffer_pa": self.buffer_pa,
            "pointer": self.pointer,
            "cr3": self.linux.call_cr3,
            "verdict": self.verdict,
            "status": None if self.status is None else int(self.status),
            "fault": fault
            and {"cr2": fault.cr2, "error_code": fault.error_code, "level": fault.level, "index": fault.index},
            "who": self.who,
        }


def find_kernel(kernel: Kernel | str) -> Kernel:
    """A kernel by its name, or the record itself; MachineError lists the names there are."""
    if isinstance(kernel, Kernel):
        return kernel
    if kernel not in KERNELS:
        raise MachineError(f"kernel {kernel!r}: expected one of {', '.join(KERNELS)}")
    return KERNELS[kernel]


def boot(machine: Machine, kernel: Kernel | str) -> Linux:
    """`kernel` (a record, or its name) started on `machine`, up to the moment before efi_enter_virtual_mode.

    Raises MachineError for a machine that this kernel cannot start on.
    """
    try:
        return boot_kernel(machine, find_kernel(kernel))
    except KernelError:
        raise
    except TablesUsedUp as error:
        raise KernelError(find_kernel(kernel), str(error)) from error
    except (ValueError, MemoryError) as error:
        raise MachineError(str(error)) from error


def run(machine: Machine, kernel: Kernel | str) -> Outcome:
    """Boot, call SetVirtualAddressMap, and try one runtime call after a success.

    Raises MachineError for a machine that cannot be, KernelError for a kernel that gives or does what cannot be; never
    raises for what the model predicts.
    """
    return enter(boot(machine, kernel))


def run_watched(machine: Machine, kernel: Kernel | str) -> tuple[Outcome, Walk | None]:
    """`run`, and the walk of the array's address at the moment when the firmware was entered with it.

    None for a kernel that passes no array, and where the call is made without paging.
    """
    linux, seen = boot(machine, kernel), list[Walk]()
    linux.firmware.watchers.append(lambda cpu: None if seen else seen.append(cpu.walk(linux.pointer)))
    outcome = enter(linux)
    return outcome, seen[0] if seen and linux.memmap_count and linux.call_mode.levels else None


def enter(linux: Linux) -> Outcome:
    """The second half of `run`: what becomes of the call on a kernel that has booted."""
    status: EfiStatus | None = None
    fault: PageFault | None = None
    trouble = ""
    linux.firmware.running = False
    try:
        status = efi_enter_virtual_mode(linux)
        verdict, trouble, who = _after_the_call(linux, status)
    except PageFault as raised:
        fault, verdict, who = raised, "page-fault", _running(linux)
    except (GeneralProtection, WildCall) as error:
        linux.trace.printk(str(error))
        verdict, trouble, who = "wrong-memory", str(error), _running(linux)
    except (KernelError, MachineError):
        raise
    except TablesUsedUp as error:
        raise (
            MachineError(str(error)) if _regions_fill_the_pool(linux) else KernelError(linux.kernel, str(error))
        ) from error
    except ValueError as error:
        raise KernelError(linux.kernel, str(error)) from error
    except MemoryError as error:
        raise MachineError(str(error)) from error
    array = linux.virt_to_phys(linux.new_memmap) if linux.memmap_count else 0
    return Outcome(verdict, status, fault, array, linux.pointer, linux.trace, linux, trouble, who)


def _regions_fill_the_pool(linux: Linux) -> bool:
    """Whether mapping the runtime regions by 4 KiB pages, as ioremap does, takes more tables than the model keeps."""
    return sum(md.number_of_pages for md in linux.map.descriptors if md.runtime) >> 9 > TABLE_POOL >> PAGE_SHIFT


def at_call(linux: Linux, look: Callable[[Cpu], Seen]) -> Seen:
    """What `look` sees when a booted kernel enters the firmware for the first time; the call then goes on.

    MachineError for a kernel that never enters it.
    """
    seen: list[Seen] = []
    linux.firmware.watchers.append(lambda cpu: None if seen else seen.append(look(cpu)))
    enter(linux)
    if not seen:
        raise MachineError(f"kernel {linux.kernel.name!r} never enters the firmware")
    return seen[0]


def call_again(first: Outcome, page: int | None = None) -> Outcome:
    """What a later call of GetTime comes to, made with whatever table is in CR3 now; `first` where that was no success.

    `page` is the physical address of a page for the answer, without it a new one.
    """
    if first.verdict != "success" or first.linux.no_runtime:
        return first
    verdict, trouble, who = _get_time(first.linux, alloc_pages(first.linux, 1) if page is None else page)
    return replace(first, verdict=verdict, trouble=trouble, who=who)


def _running(linux: Linux) -> str:
    """In whose code the processor is."""
    return "firmware" if linux.firmware.running else "kernel"


def _after_the_call(linux: Linux, status: EfiStatus | None) -> tuple[str, str, str | None]:
    """The verdict on a status: a success counts when the firmware can be called at the addresses it was given.

    Under efi=noruntime, or on 32-bit firmware that the kernel cannot call, nobody calls it, then or later.
    """
    if linux.no_runtime:
        return "success", "", None
    if status not in (None, EfiStatus.EFI_SUCCESS):
        return "refused", "", "firmware"
    return _get_time(linux, alloc_pages(linux, 1))


def _get_time(linux: Linux, page: int) -> tuple[str, str, str | None]:
    """The verdict on a call of GetTime with its buffer in `page`, what went wrong, and in whose code."""
    try:
        answer = virt_efi_get_time(linux, linux.phys_to_virt(page))
    except (PageFault, GeneralProtection, WildCall) as error:
        linux.trace.printk(f"GetTime: {error}")
        return "wrong-memory", f"GetTime: {_in_short(error)}", _running(linux)
    clock = linux.firmware.layout.image("PcRtc").buffer
    told = linux.memory.read(page | linux.sme_me_mask, SIZEOF_EFI_TIME) == linux.memory.read(clock, SIZEOF_EFI_TIME)
    if answer == EfiStatus.EFI_SUCCESS and told:
        return "success", "", None
    other = "another time" if answer == EfiStatus.EFI_SUCCESS else answer.name
    return "wrong-memory", f"GetTime: {other}", "firmware"


def _in_short(error: Exception) -> str:
    if isinstance(error, PageFault):
        return f"{error.cr2:#x} {error.level}[{error.index}]"
    return str(error)
