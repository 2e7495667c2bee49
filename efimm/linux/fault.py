"""What Linux prints of a page fault, in the firmware or in its own code.

Source: arch/x86/mm/fault.c, v3.5; checked against real oopses.
"""

from __future__ import annotations

from ..x86 import PageFault
from .state import Linux


def do_page_fault(linux: Linux, fault: PageFault) -> None:
    """Put the oops and the panic on the console.

    Registers and stack are not printed, and for a fault in kernel code no more than the function: the model has none
    to show.
    """
    trace, rip = linux.trace, linux.cpu.rip
    trace.printk(f"BUG: unable to handle kernel paging request at {fault.cr2:016x}")
    trace.printk(f"IP: [<{rip:016x}>] {rip - 1:#x}" if linux.firmware.running else "IP: efi_enter_virtual_mode")
    trace.printk(dump_pagetable(fault))
    trace.printk(f"Oops: {fault.error_code:04x} [#1]")
    trace.printk(f"CR2: {fault.cr2:016x} CR3: {linux.cpu.cr3:016x}")
    trace.printk("Kernel panic - not syncing: Attempted to kill the idle task!")


def dump_pagetable(fault: PageFault) -> str:
    """The walk as one line, such as "PGD 0 " or "PGD 1196063 PUD 0 ": the trailing blank is the kernel's."""
    return "".join(f"{step.level.name.upper()} {step.entry:x} " for step in fault.walk.steps)
