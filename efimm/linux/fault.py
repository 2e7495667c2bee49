"""What Linux does about a page fault: the oops for the firmware's or its own, a repair for one in the vmalloc area.

Source: arch/x86/mm/fault.c, v3.5; the oops is checked against real ones.  Only the vmalloc area is repaired by a fault.
The direct map and vmemmap have to be synced before anybody looks; an entry that is missing in the lower half is never
put there by the kernel's own faults.
"""

from __future__ import annotations

from ..x86 import PageFault, walk
from .i386 import vmalloc as i386
from .state import Linux, Linux32, Mm

PF_PROT, PF_USER, PF_RSVD = 1 << 0, 1 << 2, 1 << 3


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


def kernel_fault(linux: Linux, mm: Mm, fault: PageFault) -> bool:
    """The start of do_page_fault: True when the fault was one of these, and the access can be made again."""
    if fault.cr2 < linux.layout.task_size_max or fault.error_code & (PF_RSVD | PF_USER | PF_PROT):
        return False
    return vmalloc_fault(linux, mm, fault.cr2)


def read_as(linux: Linux, mm: Mm, va: int, size: int = 8) -> bytes:
    """`size` bytes at kernel address `va`, read while `mm`'s table is in CR3, with the kernel's help.

    Raises PageFault where that does not help.  CR3 is left as it was found.
    """
    cpu, cr3 = linux.cpu, linux.cpu.cr3
    cpu.write_cr3(mm.pgd.pa)
    try:
        return cpu.read(va, size)
    except PageFault as fault:
        if not kernel_fault(linux, mm, fault):
            raise
        return cpu.read(va, size)
    finally:
        cpu.write_cr3(cr3)


def vmalloc_fault(linux: Linux, mm: Mm, va: int) -> bool:
    """Copy the missing top-level entry from init_mm: True when init_mm has a page at `va`.

    BUG, an AssertionError, where the process's entry leads elsewhere; below the top level nothing can differ then.
    """
    if isinstance(linux, Linux32):
        return i386.vmalloc_fault(linux, mm, va)
    area = linux.layout.region("vmalloc")
    if not area.start <= va < area.end:
        return False
    index = linux.layout.pgd_index(va)
    pgd_ref = linux.swapper_pg_dir[index]
    if not pgd_ref:
        return False
    if mm.pgd.setdefault(index, pgd_ref) & ~0xFFF != pgd_ref & ~0xFFF:
        raise AssertionError(f"BUG_ON: {mm.pgd.name}[{index}] leads elsewhere")
    return walk(linux.memory, linux.swapper_pg_dir.pa, va, linux.layout.mode).pa is not None


def vmalloc_sync_all(linux: Linux) -> None:
    """Bring the vmalloc area's entries to every table on pgd_list, for those who cannot take a fault (NMI handlers)."""
    if isinstance(linux, Linux32):
        i386.vmalloc_sync_all(linux)
    else:
        area = linux.layout.region("vmalloc")
        linux.kernel.sync_global_pgds(linux, area.start & -(1 << linux.layout.pgdir_shift), area.end - 1)
