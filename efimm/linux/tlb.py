"""Telling other processors to forget translations (arch/x86/mm/tlb.c and xen/mmu.c, v3.5)."""

from __future__ import annotations

from collections.abc import Callable

from .smp import Processor, apic, this_processor
from .state import Mm

FlushTlbOthers = Callable[[Mm], None]


def native_flush_tlb_others(mm: Mm) -> None:
    """Interrupt every other processor that uses `mm`, and wait until all have answered (flush_tlb_others_ipi).

    One flush at a time is modelled: the array of eight flush states is not.
    """
    cpu = this_processor()
    flush_cpumask = [other for other in cpu.others if other.number in mm.cpumask]

    def smp_invalidate_interrupt() -> None:
        me = this_processor()
        me.step("flushes its TLB, answers", "flush_cpumask")
        flush_cpumask.remove(me)

    for other in flush_cpumask:
        cpu.step(f"sends {other} an IPI: flush the TLB", apic(other))
        other.send("flush the TLB", smp_invalidate_interrupt)
    cpu.step("all have answered", "flush_cpumask", lambda: _missing(flush_cpumask))


def xen_flush_tlb_others(_mm: Mm) -> None:
    """One hypercall (MMUEXT_TLB_FLUSH_MULTI): the hypervisor interrupts the real processors, not the guest's code.

    So it does not matter whether the guest has interrupts off.
    """
    this_processor().step("hypercall: flush the others' TLBs", "hypervisor")


def _missing(cpus: list[Processor]) -> str:
    return " and ".join(
        f"{cpu}'s answer" + ("" if cpu.interrupts else f", and {cpu} has interrupts off") for cpu in cpus
    )
