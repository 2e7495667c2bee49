"""A page fault and what else its log tells of it: who was running, in which call, and whose memory it was."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .maps.entries import E820_WORDS
from .maps.oops import Oops
from .uefi.memmap import E820Type, EfiMemoryType, MemoryMap
from .x86.cpu import CR4_LA57
from .x86.modes import LEGACY, LONG4, LONG5, PAE, PagingMode

LOWER_HALF = 1 << 47
KERNEL_OF_I386 = 0xC000_0000  # where a 32-bit kernel begins
ATTRIBUTE_OFFSET = 0x20  # of EFI_MEMORY_DESCRIPTOR: the first field of the array that firmware looks at
PROTECTION = 1  # in the error code: the page was there
# Where Linux maps the runtime services since 3.14: EFI_VA_END to EFI_VA_START (arch/x86/platform/efi/efi_64.c).
EFI_VA = range(0xFFFF_FFEF_0000_0000, 0xFFFF_FFFF_0000_0000)
# Where the kernel's map of all RAM lies until memory KASLR moves it (Documentation/x86/x86_64/mm.txt, v3.5 and v4.7).
DIRECT_MAP = range(0xFFFF_8800_0000_0000, 0xFFFF_C800_0000_0000)
_KERNEL32_CS = 0x08  # of a 64-bit kernel: it calls 32-bit firmware with it (arch/x86/include/asm/segment.h)
SWITCH = ("set_virtual_address_map", "efi_enter_virtual_mode")
_SERVICES = ("virt_efi", "efi_thunk", "efi_call_rts", "uv_bios_")  # calls of the firmware other than the switch
_EFI_WORDS = ("efi_call", *_SERVICES, "efi_rts", "efi_crash_gracefully", "efi_mm", *SWITCH)


@dataclass(frozen=True)
class Region:
    """What one list says of a place, in words.

    `given_back`: the firmware leaves it to the kernel.  `of_the_services`: it may be theirs.  `by_efi`: EFI's list says
    so, which knows better than e820 whose it is.
    """

    words: str
    given_back: bool
    of_the_services: bool
    by_efi: bool


def regions_of(found: MemoryMap, address: int) -> list[Region]:
    """What the lists of `found` say of a physical address, that of e820 first."""
    regions = [
        Region(
            f"in what e820 calls {E820_WORDS.get(e.type, f'type {e.type}')} ({e.start:#x} to {e.end:#x})",
            given_back=e.type == E820Type.RAM,
            of_the_services=e.type == E820Type.RESERVED,
            by_efi=False,
        )
        for e in found.kernel_e820
        if e.start <= address < e.end
    ]
    if "no EFI map was told" in " ".join(found.notes):
        return regions  # what was assumed tells nothing of a fault
    for d in found.descriptors:
        if d.physical_start <= address < d.end:
            known = d.type in set(EfiMemoryType)
            kind = EfiMemoryType(d.type).name.removeprefix("Efi") if known else f"type {d.type:#x}"
            words = f"in EFI's {kind} ({d.physical_start:#x} to {d.end:#x})"
            services = d.type in _OF_THE_SERVICES
            regions.append(Region(words, given_back=d.type in _GIVEN_BACK, of_the_services=services, by_efi=True))
    return regions


_T = EfiMemoryType
_GIVEN_BACK = (_T.EfiBootServicesCode, _T.EfiBootServicesData, _T.EfiConventionalMemory)
_OF_THE_SERVICES = (_T.EfiRuntimeServicesCode, _T.EfiRuntimeServicesData, _T.EfiReservedMemoryType)


@dataclass(frozen=True)
class Scene:
    """A fault, and what else the log tells: the map of its machine (if any), who started the kernel, its options."""

    oops: Oops
    map: MemoryMap | None = None
    command_line: str = ""

    @property
    def mode(self) -> PagingMode | None:
        """Four levels, or five where CR4, the entries or the address say so; of a 32-bit kernel what its words tell."""
        told = dict(self.oops.entries)
        if not self.oops.wide:
            return PAE if "pdpt" in told else LEGACY if told else None
        address = self.oops.address or 0
        if not _is_canonical(address, 57):
            return None
        beyond = not _is_canonical(address, 48)  # no address of four levels
        differ = "p4d" in told and told["p4d"] != told.get("pgd")  # with four it is printed twice
        return LONG5 if beyond or differ or self.oops.registers.get("CR4", 0) & CR4_LA57 else LONG4

    @property
    def version(self) -> tuple[int, ...]:
        """The kernel's version as numbers, () where none was told."""
        found = re.match(r"([0-9]+)\.([0-9]+)", self.oops.kernel)
        return (int(found[1]), int(found[2])) if found else ()

    @property
    def frames(self) -> list[str]:
        """The functions of the trace that count: one that may be left over does not below a stranger's that is sure.

        Above the frames of what was running, a report has those of the function that makes it.
        """
        one, kept, sure = self.oops, [], True
        for place, name in enumerate(one.trace):
            left_over = place in one.left_over
            if sure or not left_over or one.kind != "page fault":
                kept.append(name)
            sure = sure and (left_over or _has(name, _EFI_WORDS))
        return kept

    @property
    def in_efi(self) -> bool:
        """Whether an EFI call was under way, by the message, the function that was running, the trace, or the work.

        What runs under a name of the kernel is the kernel's own.
        """
        one = self.oops
        if "firmware" in one.kind or _has(one.symbol, _EFI_WORDS):
            return True
        if one.symbol and one.kind != "KASAN report":
            return False
        return (one.ip or 0) in EFI_VA or any(_has(name, _EFI_WORDS) for name in (*self.frames, one.workqueue))

    @property
    def in_service(self) -> bool:
        """Whether the call was one of another service than SetVirtualAddressMap."""
        return not self.in_switch and any(_has(name, _SERVICES) for name in (*self.frames, self.oops.workqueue))

    @property
    def in_switch(self) -> bool:
        """Whether that was the call of SetVirtualAddressMap."""
        return any(_has(name, SWITCH) for name in self.frames)

    @property
    def unnamed(self) -> bool:
        """Whether the instruction was neither user code nor the kernel's: no symbol, and not at a kernel's address."""
        ip = self.oops.ip
        if ip is None or self.oops.symbol or self.oops.by_user:
            return False
        if ip in DIRECT_MAP and self.in_efi and self.version < (4, 8):
            return True  # where the services ran until 3.13, and with old_map later
        return 0xFFF < ip < (LOWER_HALF if self.oops.wide else KERNEL_OF_I386) or ip in EFI_VA

    @property
    def by_firmware(self) -> bool:
        """Whether the instruction was the firmware's: in its code segment or mapping, or during an EFI call."""
        if "firmware" in self.oops.kind:
            return True
        placed = self.oops.wide and self.oops.selector == _KERNEL32_CS
        return self.unnamed and (placed or self.in_efi or self.oops.ip in EFI_VA)

    @property
    def regions(self) -> list[Region]:
        """What the map's lists say of the address, taken as a physical one; none without a map."""
        return regions_of(self.map, self.oops.address) if self.map and self.oops.address is not None else []

    @property
    def direct_map_regions(self) -> list[Region]:
        """What the map says of an address in the direct map, if that is where 3.0 to 4.7 have it; else none.

        Memory KASLR came with 4.8, and distributions took it back to older kernels: what follows is an "if".
        """
        address = self.oops.address or 0
        if not self.map or not (3, 0) <= self.version < (4, 8) or address not in DIRECT_MAP:
            return []
        return regions_of(self.map, address - DIRECT_MAP.start)

    @property
    def may_be_ram(self) -> bool:
        """Whether the address may be RAM, where an array can lie: the map, if any, does not call it something else."""
        return not self.regions or any(each.given_back for each in self.regions)

    @property
    def absent(self) -> bool:
        """Whether the page was not mapped, as the error code says."""
        code = self.oops.error_code
        return code is not None and not code & PROTECTION

    @property
    def array(self) -> tuple[str, int] | None:
        """A register whose value + 0x20 is the address: it holds the array whose first Attribute was read."""
        wanted = (self.oops.address or 0) - ATTRIBUTE_OFFSET
        found = (name for name, value in self.oops.registers.items() if value == wanted > 0 and name[:2] != "CR")
        return next(((name, wanted) for name in found), None)

    def lines(self, *what: str) -> tuple[int, ...]:
        """The lines that told `what`, as far as they were there."""
        return tuple(sorted({self.oops.lines[each] for each in what if each in self.oops.lines}))

    def trace_lines(self, words: tuple[str, ...]) -> tuple[int, ...]:
        """The lines of the call trace with one of `words`."""
        return self.lines(*(f"trace {name}" for name in self.oops.trace if _has(name, words)))

    @property
    def call_lines(self) -> tuple[int, ...]:
        """The lines that say that an EFI call was under way."""
        return self.trace_lines(_EFI_WORDS) or self.lines("workqueue") or self.lines("ip") or (self.oops.line,)


def _is_canonical(address: int, bits: int) -> bool:
    return (address + (1 << bits - 1)) % (1 << 64) < 1 << bits


def _has(name: str, words: tuple[str, ...]) -> bool:
    return any(word in name for word in words)
