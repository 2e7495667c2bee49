"""The running kernel as state, and a kernel version as a small record of functions.

`Linux` holds state only; every verb is a function that takes it.  `Kernel` has one field for each function that kernel
versions disagree on: a version, a patch or a reader's own idea is `dataclasses.replace(V3_5, name=..., field=mine)`.

`PgdList` links the top-level tables of processes (arch/x86/mm/pgtable.c and fault.c, v3.5).  What is *not* on it:
init_mm's own table (swapper_pg_dir), trampoline_pgd and initial_page_table.  hpa, 2012-06-22: they "aren't on the list
of vm contexts created by the kernel (pgd_list), so they never get updated after a particular point in the boot".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace

from ..machines import Machine
from ..trace import Trace
from ..uefi.memmap import EfiMemoryDescriptor, MemoryMap
from ..uefi.runtime import EfiStatus, Firmware
from ..x86 import LONG4, Cpu, PageTable, PagingMode, PhysMemory, Walk
from .i386 import head as head_32
from .i386.layout import Layout32
from .layout import EFI_VA_START, PAGE_ENC, KernelImage, Layout
from .memblock import Memblock
from .smp import SpinLock


class Mm:
    """A process's address space, as far as this story needs it: its top-level table, its lock, and who uses it.

    `cpumask` (mm_cpumask) are the numbers of the processors that may have translations of it cached.
    """

    __slots__ = ("cpumask", "page_table_lock", "pgd")

    def __init__(self, pgd: PageTable, page_table_lock: SpinLock, cpumask: frozenset[int] = frozenset()) -> None:
        self.pgd, self.page_table_lock, self.cpumask = pgd, page_table_lock, cpumask


class PgdList:
    """`pgd_list` and its lock, `pgd_lock`; iterating it gives the address spaces.

    The kernel links the pages of the tables and finds the mm by `page->index`; here the page's address is the key.
    Newest first, as list_add puts them.  `make_table` and `make_lock` give what a new process is made of.
    """

    def __init__(
        self,
        trace: Trace,
        make_table: Callable[..., PageTable] = PageTable,
        make_lock: Callable[[str, Trace], SpinLock] = SpinLock,
    ) -> None:
        self.make_table, self.make_lock = make_table, make_lock
        self.lock = make_lock("pgd_lock", trace)
        self._emit = trace.events.append
        self._page_index: dict[int, Mm] = {}

    def copy(self, memory: PhysMemory, trace: Trace, mode: PagingMode) -> PgdList:
        """The same address spaces, their tables in `memory`, a copy of theirs, and their locks free."""
        other = PgdList(trace, self.make_table, self.make_lock)
        for pa, mm in self._page_index.items():
            pgd = self.make_table(memory, pa, mm.pgd.name, trace, mode)
            other.add(Mm(pgd, self.make_lock(mm.page_table_lock.name, trace), mm.cpumask))
        return other

    def __iter__(self) -> Iterator[Mm]:
        return reversed(self._page_index.values())

    def locked(self) -> Iterator[Mm]:
        """The address spaces, each with its page_table_lock held while the caller has it.

        As `with mm.page_table_lock:` around the caller's work; a fault there leaves the lock held.
        """
        emit = self._emit
        for mm in self:
            emit(mm.page_table_lock.taken)
            yield mm
            emit(mm.page_table_lock.unlocked)

    def __len__(self) -> int:
        return len(self._page_index)

    def add(self, mm: Mm) -> None:
        """pgd_set_mm and pgd_list_add."""
        self._page_index[mm.pgd.pa] = mm

    def remove(self, mm: Mm) -> None:
        """pgd_list_del."""
        del self._page_index[mm.pgd.pa]

    def page_get_mm(self, pgd: PageTable) -> Mm:
        """pgd_page_get_mm: the address space whose top-level table this is; KeyError for one that is not listed."""
        return self._page_index[pgd.pa]


class KernelError(ValueError):
    """A kernel whose own functions gave or did what cannot be, in one line; the machine is not at fault."""

    def __init__(self, kernel: Kernel, problem: str) -> None:
        super().__init__(f"broken: kernel {kernel.name!r}: {problem}")


@dataclass(frozen=True, slots=True)
class KnownBug:
    """A failure that a kernel is known for: what it is, a machine that shows it, and who says so."""

    what: str
    ram: str
    buffer: int | None
    verdict: str
    source: str


_LONGEST = 200  # characters of a name


@dataclass(frozen=True)
class Kernel:
    """One kernel: what it calls itself, where it comes from, and the functions in which it differs from others.

    order                          its place in lists
    layout                         its address space
    layout_la57                    its address space with five levels, None where it knows four at most
    mem_encrypt                    True where it can encrypt memory (AMD's SME)
    efi_mixed                      True where a 64-bit build calls firmware of 32 bits (CONFIG_EFI_MIXED)
    image                          where its build puts its own pages
    setup_arch                     memory is found and mapped, in the kernel's order
    efi_reserve_boot_services      what is kept of the firmware's boot-time memory
    init_mem_mapping               which physical ranges the direct map gets
    setup_real_mode                what the kernel puts into the trampoline's page table
    mm_init                        the page allocator, and what gets its place in the address space with it
    pgd_populate                   how kernel top-level entries are written: (linux, first index, physical address of
                                   the first lower table, how many entries; their tables are pages in a row)
    sync_global_pgds               how a new kernel top-level entry reaches other tables: (linux, first va, end va)
    hold_pgd_lock                  how pgd_lock is held while pgd_list is walked or changed
    for_each_mm                    how pgd_list is gone through to write the tables on it: what is held of each
                                   address space
    efi_enter_virtual_mode         the switch of the firmware to virtual addresses, as a whole
    efi_alloc_page_tables          the top-level table that the firmware will run on
    efi_map_regions                the regions the firmware is told of, mapped and with their addresses, in order
    efi_setup_page_tables          what the call needs besides: (linux, physical address of the array, its pages)
    kernel_map_pages_in_pgd        how pages get into a table that is not the kernel's own
    memmap_pointer                 the number handed to SetVirtualAddressMap for the array, given its kernel address
    efi_call_phys                  the seam around the call before the switch: prepare, `yield`, undo
    efi_call_virt                  the seam around every later call
    efi_runtime_update_mappings    the rights of the regions once the firmware has switched
    efi_runtime_map                the regions and addresses that it hands to a kernel started by kexec
    i386                           the 32-bit kernel of the same release, None where the suite has none
    """

    name: str
    order: int
    title: str
    source: str
    layout: Layout
    image: KernelImage
    setup_arch: Callable[[Linux], None]
    efi_reserve_boot_services: Callable[[Linux], None]
    init_mem_mapping: Callable[[Linux], None]
    setup_real_mode: Callable[[Linux], None]
    mm_init: Callable[[Linux], None]
    pgd_populate: Callable[[Linux, int, int, int], None]
    sync_global_pgds: Callable[[Linux, int, int], None]
    hold_pgd_lock: Callable[[Linux], AbstractContextManager[None]]
    for_each_mm: Callable[[Linux], Iterable[Mm]]
    efi_enter_virtual_mode: Callable[[Linux], EfiStatus | None]
    efi_alloc_page_tables: Callable[[Linux], PageTable]
    efi_map_regions: Callable[[Linux], list[EfiMemoryDescriptor]]
    efi_setup_page_tables: Callable[[Linux, int, int], None]
    kernel_map_pages_in_pgd: Callable[[Linux, PageTable, int, int, int, int], None]
    memmap_pointer: Callable[[Linux, int], int]
    efi_call_phys: Callable[[Linux], AbstractContextManager[None]]
    efi_call_virt: Callable[[Linux], AbstractContextManager[None]]
    efi_runtime_update_mappings: Callable[[Linux], None]
    efi_runtime_map: Callable[[Linux], tuple[EfiMemoryDescriptor, ...]]
    known_bugs: tuple[KnownBug, ...] = ()
    i386: Kernel32 | None = None
    layout_la57: Layout | None = None
    mem_encrypt: bool = False
    efi_mixed: bool = False

    def __repr__(self) -> str:
        return f"<Kernel {self.name!r}: {self.title}>"

    def has_build_for(self, arch: str) -> bool:
        """True where the suite has this kernel for the architecture, one of those of `efimm.machine`."""
        return not arch.startswith("i386") or self.i386 is not None

    def layout_on(self, arch: str) -> Layout:
        """Its address space on a machine of `arch`: on a processor with LA57 a kernel without five levels uses four."""
        return self.layout_la57 or self.layout if arch == "x86_64-la57" else self.layout

    def __post_init__(self) -> None:
        """ValueError for a name or a title that is no plain line of words: both are shown wherever the kernel is."""
        for words in (self.name, self.title):
            if type(words) is not str or not words.isprintable() or not 0 < len(words) <= _LONGEST:
                raise ValueError(f"a kernel's name and title: expected words on one line, and not {repr(words)[:60]}")

    def differs_from(self, other: Kernel) -> list[str]:
        """The names of the functions in which this kernel is not the same as `other`, the 32-bit ones last."""
        names = _differing(self, other)
        if self.i386 and other.i386:
            names += [f"i386.{name}" for name in _differing(self.i386, other.i386)]
        return names


@dataclass(frozen=True)
class Kernel32:
    """The functions of a kernel built for i386, with two levels of tables or with PAE; the same source, other files.

    sync_initial_page_table  what is copied into initial_page_table once the kernel's own tables are complete
    set_kernel_pgd           who else learns of a new kernel top-level entry: (linux, index); two levels only
    efi_map_regions          the regions the firmware is told of, mapped and with their addresses, in order
    memmap_pointer           the number handed to SetVirtualAddressMap for the array at kernel address `new_memmap`
    efi_call_phys            the seam around the call before the switch: prepare, `yield`, undo
    efi_call_virt            the seam around every later call
    """

    sync_initial_page_table: Callable[[Linux32], None]
    set_kernel_pgd: Callable[[Linux32, int], None]
    efi_map_regions: Callable[[Linux32], list[EfiMemoryDescriptor]]
    memmap_pointer: Callable[[Linux32, int], int]
    efi_call_phys: Callable[[Linux32], AbstractContextManager[None]]
    efi_call_virt: Callable[[Linux32], AbstractContextManager[None]]


def _differing(one: Kernel | Kernel32, other: Kernel | Kernel32) -> list[str]:
    verbs = [f.name for f in fields(one) if callable(getattr(one, f.name))]
    return [name for name in verbs if getattr(one, name) is not getattr(other, name)]


@dataclass
class Linux:
    """A booted kernel on a machine: its memory, tables, lists and numbers.  Addresses are physical unless named va."""

    machine: Machine
    kernel: Kernel
    layout: Layout
    memory: PhysMemory
    cpu: Cpu
    trace: Trace
    firmware: Firmware
    memblock: Memblock
    swapper_pg_dir: PageTable
    trampoline_pgd: PageTable
    efi_pgd: PageTable
    pgd_list: PgdList
    memmap: list[EfiMemoryDescriptor]
    max_pfn: int = 0
    max_low_pfn: int = 0
    max_pfn_mapped: int = 0
    max_low_pfn_mapped: int = 0
    after_bootmem: bool = False
    page_alloc_base: int = 0
    page_alloc_next: int = 0
    vmalloc_next: int = 0
    regions: tuple[EfiMemoryDescriptor, ...] = ()  # mapped ahead, for the next switch
    new_memmap: int = 0
    memmap_count: int = 0
    pointer: int = 0
    call_cr3: int = 0
    call_mode: PagingMode = LONG4
    efi_systab: int | None = None
    efi_va: int = EFI_VA_START
    efi_setup: tuple[EfiMemoryDescriptor, ...] = ()
    efi_mixed_mode_stack_pa: int = 0

    def __repr__(self) -> str:
        return f"<Linux {self.kernel.name} on {self.machine!r}>"

    @property
    def map(self) -> MemoryMap:
        """The memory map of the machine."""
        return self.machine.map

    @property
    def image(self) -> range:
        """The physical addresses of the kernel's own text and data."""
        return range(self.kernel.image.text, self.kernel.image.end)

    @property
    def sme_me_mask(self) -> int:
        """_PAGE_ENC where this kernel encrypts its memory, else 0."""
        return PAGE_ENC if self.machine.sme and self.kernel.mem_encrypt else 0

    @property
    def efi_is_mixed(self) -> bool:
        """True where this kernel of 64 bits calls firmware of 32."""
        return self.machine.mixed and self.kernel.efi_mixed

    @property
    def no_runtime(self) -> bool:
        """True where no call is made: efi=noruntime, or "No EFI runtime due to 32/64-bit mismatch with kernel"."""
        return self.machine.noruntime or (self.machine.mixed and not self.kernel.efi_mixed)

    def efi_call_virt(self) -> AbstractContextManager[None]:
        """The seam around a call after the switch."""
        return self.kernel.efi_call_virt(self)

    def phys_to_virt(self, pa: int) -> int:
        """`__va` of this kernel."""
        return self.layout.phys_to_virt(pa)

    def virt_to_phys(self, va: int) -> int:
        """`__pa` of this kernel."""
        return self.layout.virt_to_phys(va)


@dataclass(repr=False)
class Linux32(Linux):
    """A booted 32-bit kernel.

    `trampoline_pgd` is initial_page_table here: the table that other processors start on, and that the firmware is
    called with.  hpa, 2012-06-21: "It might be worthwhile to introduce a common pointer for both".
    """

    layout: Layout32
    high_memory: int = 0
    gdt: int = 0
    gdt_at_call: Walk | None = None

    @property
    def image(self) -> range:
        """The physical addresses of the kernel's own text and data."""
        return range(head_32.KERNEL_TEXT, head_32.KERNEL_END)

    def efi_call_virt(self) -> AbstractContextManager[None]:
        """The seam around a call after the switch."""
        return self.record.efi_call_virt(self)

    @property
    def initial_page_table(self) -> PageTable:
        """The table made by head_32.S, with the identity map in it."""
        return self.trampoline_pgd

    @property
    def record(self) -> Kernel32:
        """The functions in which 32-bit kernels differ."""
        assert self.kernel.i386 is not None  # boot refuses a kernel without
        return self.kernel.i386


def copy_of(linux: Linux) -> Linux:
    """A kernel once more, as it is now: what happens to one from here on does not happen to the other.

    Nobody watches the copy's firmware.  Not for a kernel in the middle of a call, whose Python frames stay behind.
    """
    memory, trace = linux.memory.copy(), Trace()
    trace.events += linux.trace.events
    kept = (linux.swapper_pg_dir, linux.trampoline_pgd, linux.efi_pgd)
    tables = {table.pa: PageTable(memory, table.pa, table.name, trace, linux.layout.mode) for table in reversed(kept)}
    return replace(
        linux,
        memory=memory,
        trace=trace,
        cpu=linux.cpu.copy(memory, trace),
        firmware=linux.firmware.copy(memory, trace),
        memblock=linux.memblock.copy(),
        swapper_pg_dir=tables[linux.swapper_pg_dir.pa],
        trampoline_pgd=tables[linux.trampoline_pgd.pa],
        efi_pgd=tables[linux.efi_pgd.pa],
        pgd_list=linux.pgd_list.copy(memory, trace, linux.layout.mode),
        memmap=[*linux.memmap],
    )
