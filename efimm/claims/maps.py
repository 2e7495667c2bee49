"""What the thread says about the 1:1 map, the trampoline's table and pgd_list."""

from __future__ import annotations

from dataclasses import replace

from ..linux import Kernel, Linux
from ..linux.direct_map import arch_add_memory
from ..linux.i386.vmalloc import ioremap as ioremap_32
from ..linux.pgtable import pgd_alloc, stale_slots
from ..linux.setup import do_boot_cpu
from ..linux.state import Linux32, Mm
from ..linux.vmalloc import ioremap
from ..machines import machine
from ..run import boot, run
from ..scenarios import after_kexec
from ..x86 import PageFault, PageTable, walk
from ..x86.memory import GIB, PAGE_SIZE
from .claim import Finding, Kernels, holds, holds_where, opinion
from .pointer import LINE, identity_bytes

_SIZES = ("1G", "256G", "513G", "1T", "16T", "64T")
_NEW_RAM = 2 * LINE


def grown(kernel: Kernel) -> tuple[Linux, Mm]:
    """A machine with one process, to which RAM in a new top-level entry was added."""
    linux = boot(machine("4G"), kernel)
    process = pgd_alloc(linux, "process")
    arch_add_memory(linux, _NEW_RAM, GIB)
    return linux, process


def slot_of(linux: Linux, pa: int) -> int:
    """The top-level entry of the direct map for `pa`."""
    return linux.phys_to_virt(pa) >> 39 & 511


def a_platform_to_fix_it(kernels: Kernels) -> Finding:
    """Hpa's plan at every size of RAM, on 3.5: v3.4.4 has no real_mode_header, the trampoline work came with 3.5."""
    verdicts = {ram: run(machine(ram), kernels["hpa-sync"]).verdict for ram in _SIZES}
    text = "; ".join(f"{ram}: {v}" for ram, v in verdicts.items())
    where = {"from 3.5 on, which has real_mode_header": set(verdicts.values()) == {"success"}, "with 3.4": False}
    return holds_where(where, f"{text}; read in v3.4.4: no real_mode_header yet")


def addressable_with_32_bits(kernels: Kernels) -> Finding:
    """A second processor, started on hpa's table where that is, and with it at the top of RAM."""

    def setup_real_mode(linux: Linux) -> None:
        linux.trampoline_pgd = PageTable(linux.memory, linux.memblock.alloc(PAGE_SIZE), "trampoline_pgd", linux.trace)
        kernels["hpa-sync"].setup_real_mode(linux)

    low, high = (
        boot(machine("1T"), kernel)
        for kernel in (kernels["hpa-sync"], replace(kernels["hpa-sync"], setup_real_mode=setup_real_mode))
    )
    text = "; ".join(f"trampoline_pgd at {linux.trampoline_pgd.pa:#x}: {_second_cpu(linux)}" for linux in (low, high))
    return holds(_second_cpu(low) == "it starts" != _second_cpu(high), text)


def _second_cpu(linux: Linux) -> str:
    """What becomes of a second processor."""
    try:
        do_boot_cpu(linux)
    except PageFault as fault:
        return f"CR3 {fault.walk.root:#x}, {fault.level}[{fault.index}] {fault.walk.problem}"
    return "it starts"


def a_usable_identity_map(kernels: Kernels) -> Finding:
    """Whether hpa's map covers all RAM at the call, and what comes of the call."""
    linux = boot(machine("1T"), kernels["hpa-sync"])
    below, above = identity_bytes(linux)
    ram, outcome = linux.map.ram_bytes, run(machine("1T"), kernels["hpa-sync"])
    text = f"{below + above >> 30} GiB mapped 1:1, {ram >> 30} GiB of RAM; {outcome.verdict} {outcome.reason}".rstrip()
    return holds(below + above >= ram and outcome.verdict == "success", text).leaning_on(outcome)


def an_offset_for_kexec(kernels: Kernels) -> Finding:
    """The second kernel with the offset of 2^46, and 3.5's for comparison."""
    found = {name: after_kexec(boot(machine("4G"), kernels[name])) for name in ("hpa-offset", "3.5")}
    text = "; ".join(f"{name}: {outcome.verdict} {outcome.reason}".rstrip() for name, outcome in found.items())
    return opinion(text)


def all_on_the_list_are_updated(kernels: Kernels) -> Finding:
    """A process's table after RAM was added, and after a driver has mapped its device."""
    linux, process = grown(kernels["3.5"])
    direct = slot_of(linux, _NEW_RAM)
    linux.vmalloc_next = linux.layout.region("vmalloc").start + LINE
    device = ioremap(linux, 0xFEC0_0000, 4096) >> 39 & 511
    where = {"in the direct map": bool(process.pgd[direct]), "in the vmalloc area": bool(process.pgd[device])}
    return holds_where(where, f"slot {direct}: {process.pgd[direct]:#x}; slot {device}: {process.pgd[device]:#x}")


def not_on_the_list(kernels: Kernels) -> Finding:
    """The trampoline's table after RAM was added."""
    linux, process = grown(kernels["3.5"])
    slot = slot_of(linux, _NEW_RAM)
    behind = stale_slots(linux)
    right = slot in behind.get("trampoline_pgd", []) and bool(process.pgd[slot])
    return holds(right, f"slot {slot}: trampoline_pgd {linux.trampoline_pgd[slot]:#x}, process {process.pgd[slot]:#x}")


def the_list_is_not_enough(kernels: Kernels) -> Finding:
    """A kernel whose trampoline is on pgd_list and nothing more, called on that table."""

    def setup_real_mode(linux: Linux) -> None:
        kernels["3.5"].setup_real_mode(linux)
        linux.pgd_list.add(Mm(linux.trampoline_pgd, linux.pgd_list.make_lock("trampoline's lock", linux.trace)))

    listed = replace(kernels["3.5"], setup_real_mode=setup_real_mode, efi_call_phys=kernels["hpa-sync"].efi_call_phys)
    outcome = run(machine("1T"), listed)
    kernel_slots = [slot for slot in outcome.linux.trampoline_pgd.slots() if slot > 255]
    return holds(outcome.verdict != "success", f"kernel slots {kernel_slots}; {outcome.verdict} {outcome.reason}")


def a_copy_in_the_user_half(kernels: Kernels) -> Finding:
    """Hpa's plan without the copy at address zero."""

    def sync(linux: Linux, start: int, end: int) -> None:
        kernels["3.5"].sync_global_pgds(linux, start, end)
        for slot, entry in linux.swapper_pg_dir.slots().items():
            linux.trampoline_pgd[slot] = entry

    half = replace(kernels["hpa-sync"], setup_real_mode=kernels["3.5"].setup_real_mode, sync_global_pgds=sync)
    without, whole = run(machine("1T"), half), run(machine("1T"), kernels["hpa-sync"])
    right = without.verdict != "success" and whole.verdict == "success"
    return holds(right, f"without: {without.verdict} {without.reason}; with: {whole.verdict}")


def done_ad_hoc(kernels: Kernels) -> Finding:
    """Which of the kernel's entries the two tables have when boot is done."""
    wide, small = boot(machine("4G"), kernels["3.5"]), boot(machine("4G", arch="i386"), kernels["3.5"])
    own = {slot for slot in wide.trampoline_pgd.slots() if slot > 255}
    all_ = {slot for slot in wide.swapper_pg_dir.slots() if slot > 255}
    copied = len([slot for slot in small.trampoline_pgd.slots() if slot >= 768])
    text = f"x86-64: trampoline_pgd has {len(own)} of {len(all_)} kernel slots; i386: a copy of {copied} entries"
    return holds(own < all_ and copied > 0, text)


def _small(arch: str, kernels: Kernels) -> Linux32:
    linux = boot(machine("4G", arch=arch), kernels["3.5"])
    assert isinstance(linux, Linux32)
    return linux


def _map_a_device(linux: Linux32) -> None:
    """A device far from what is mapped already, so that a new lower table is needed."""
    linux.vmalloc_next = 0xFC00_0000
    ioremap_32(linux, 0xFEC0_0000, 4096)


def pae_needs_nothing(kernels: Kernels) -> Finding:
    """What is stale after a driver has mapped its device."""
    behind = {}
    for arch in ("i386", "i386-pae"):
        linux = _small(arch, kernels)
        _map_a_device(linux)
        behind[arch] = stale_slots(linux).get("initial_page_table", [])
    right = not behind["i386-pae"] and bool(behind["i386"])
    return holds(right, "; ".join(f"{arch}: {len(slots)} stale entries" for arch, slots in behind.items()))


def pae_is_fixed(kernels: Kernels) -> Finding:
    """PAE's top-level entries before and after a driver has mapped its device."""
    linux = _small("i386-pae", kernels)
    before = linux.swapper_pg_dir.slots()
    _map_a_device(linux)
    after = linux.swapper_pg_dir.slots()
    return holds(before == after, f"before {sorted(before)}, after {sorted(after)}, all with the same entries")


def already_created(kernels: Kernels) -> Finding:
    """The direct map at both ends of every piece of RAM."""
    linux = boot(machine("1T"), kernels["3.5"])
    ends = [pa for start, end in linux.memblock.memory for pa in (start, end - 1)]
    right = [walk(linux.memory, linux.cpu.cr3, linux.phys_to_virt(pa)).pa == pa for pa in ends]
    return holds(all(right), f"{sum(right)} of {len(ends)} ends of RAM found at __PAGE_OFFSET plus their address")


def in_every_context(kernels: Kernels) -> Finding:
    """A process born before RAM was added, and one born after."""
    linux, old = grown(kernels["3.5"])
    young = pgd_alloc(linux, "child")
    va = linux.phys_to_virt(_NEW_RAM)
    found = {mm.pgd.name: walk(linux.memory, mm.pgd.pa, va).pa for mm in (old, young)}
    return holds(
        set(found.values()) == {_NEW_RAM}, f"{va:#x} in both processes: {sorted({hex(p or 0) for p in found.values()})}"
    )
