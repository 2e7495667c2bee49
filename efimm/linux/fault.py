"""What Linux prints when the firmware takes a page fault (arch/x86/mm/fault.c, v3.5; checked against real oopses)."""

from __future__ import annotations

from ..x86 import PageFault
from .state import Linux


def do_page_fault(linux: Linux, fault: PageFault) -> None:
    """Put the oops and the panic on the console.  Registers and stack are not printed: the model has none to show."""
    trace, rip = linux.trace, linux.cpu.rip
    trace.printk(f"BUG: unable to handle kernel paging request at {fault.cr2:016x}")
    trace.printk(f"IP: [<{rip:016x}>] {rip - 1:#x}")
    trace.printk(dump_pagetable(fault))
    trace.printk(f"Oops: {fault.error_code:04x} [#1]")
    trace.printk(f"CR2: {fault.cr2:016x} CR3: {linux.cpu.cr3:016x}")
    trace.printk("Kernel panic - not syncing: Attempted to kill the idle task!")


def dump_pagetable(fault: PageFault) -> str:
    """The walk as one line, such as "PGD 0 " or "PGD 1196063 PUD 0 ": the trailing blank is the kernel's."""
    return "".join(f"{step.level.name.upper()} {step.entry:x} " for step in fault.walk.steps)
