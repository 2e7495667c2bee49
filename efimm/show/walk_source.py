"""Where the explorer's tables come from: a processor, a booted kernel, a memory made by hand, or real tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..linux import Linux
from ..run import Outcome
from ..x86 import LONG4, Cpu, PageTable, PagingMode, PhysMemory, TlbEntry, Walk, walk
from ..x86.memory import PHYSICAL_BITS
from ..x86.registers import CR0_WP, CR4_SMAP, CR4_SMEP
from ..x86.rights import Request
from .sample import sample_tables

CR3 = "CR3"
_KERNEL_TABLES = ("swapper_pg_dir", "initial_page_table", "trampoline_pgd")


@dataclass(frozen=True)
class Root:
    """A top-level table: where it is, and the mode it was made for."""

    pa: int
    mode: PagingMode


@dataclass(frozen=True)
class Source:
    """A memory with its top-level tables by name.  With a `cpu`, the table named CR3 is the one it uses now."""

    memory: PhysMemory
    roots: Mapping[str, Root]
    cpu: Cpu | None = None
    maxphyaddr: int = PHYSICAL_BITS

    def request(self) -> Request:
        """A kernel's read, with the processor's switches as they are now."""
        cpu = self.cpu
        if cpu is None:
            return Request()
        smep, smap = bool(cpu.cr4 & CR4_SMEP), bool(cpu.cr4 & CR4_SMAP) and not cpu.ac
        return Request("read", cpu.cpl == 3, bool(cpu.cr0 & CR0_WP), cpu.registers.nxe, smep, smap)

    def walk(self, va: int, root: str, mode: PagingMode, maxphyaddr: int, *, nxe: bool) -> Walk:
        """What a processor in `mode` finds for `va` in the table named `root`, now."""
        pa = self.roots[root].pa
        pdptes: tuple[int, ...] = ()
        if self.cpu is not None and root == CR3:
            pa, pdptes = self.cpu.cr3, self.cpu.pdptes
        return walk(self.memory, pa, va, mode, maxphyaddr=maxphyaddr, nxe=nxe, pdptes=pdptes)

    def cached(self, va: int, root: str, mode: PagingMode) -> TlbEntry | None:
        """What the TLB holds for `va`; only the table in CR3, in the mode that the processor is in, has one."""
        if self.cpu is None or root != CR3 or mode is not self.cpu.mode:
            return None
        return self.cpu.tlb.lookup(va)


def source_of(what: Any, root: int | Mapping[str, int] | None = None, mode: PagingMode | None = None) -> Source:
    """The tables of `what`: a Cpu, a Linux, an Outcome, (memory, roots, mode) as `load_tables` gives them, a
    PhysMemory with a `root` (an address, or several by name), or None for the sample tables.

    Raises TypeError for anything else, and for a memory without a root.
    """
    if what is None:
        memory, tables = sample_tables()
        return Source(memory, {name: Root(*table) for name, table in tables.items()})
    if isinstance(what, tuple):
        memory, roots, its_mode = what
        return Source(memory, _roots(roots, mode or its_mode))
    if isinstance(what, PhysMemory):
        if root is None:
            raise TypeError("a memory needs a root: the physical address of its top-level table")
        return Source(what, _roots(root, mode or LONG4))
    return _of_a_processor(what)


def _of_a_processor(what: Any) -> Source:
    linux = what.linux if isinstance(what, Outcome) else what
    cpu = linux.cpu if isinstance(linux, Linux) else linux
    if not isinstance(cpu, Cpu):
        raise TypeError(f"{type(what).__name__}: expected a Cpu, a Linux, an Outcome, a PhysMemory, or loaded tables")
    source = Source(cpu.memory, {CR3: Root(cpu.cr3, cpu.mode)}, cpu, cpu.maxphyaddr)
    if not isinstance(linux, Linux):
        return source
    tables = [(name, getattr(linux, name, None)) for name in _KERNEL_TABLES]
    named = {table.pa: name for name, table in reversed(tables) if isinstance(table, PageTable)}
    roots = {name: Root(pa, cpu.mode) for pa, name in reversed(named.items())}
    return replace(source, roots={**source.roots, **roots})


def _roots(roots: int | Mapping[str, int], mode: PagingMode) -> dict[str, Root]:
    named = roots if isinstance(roots, Mapping) else {f"table at {roots:#x}": roots}
    return {name: Root(pa, mode) for name, pa in named.items()}
