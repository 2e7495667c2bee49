"""The memory map as firmware describes it: EFI descriptors to the byte, and the older e820 list.

Offsets of EFI_MEMORY_DESCRIPTOR (UEFI specification, GetMemoryMap): Type u32 at 0, four bytes of padding,
PhysicalStart u64 at 8, VirtualStart u64 at 16, NumberOfPages u64 at 24, Attribute u64 at 32; 40 bytes in all.
edk2 reports a DescriptorSize of 48 on purpose (MdeModulePkg/Core/Dxe/Mem/Page.c), so that code which steps by
sizeof breaks early.  Always step by DescriptorSize.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum

EFI_PAGE_SHIFT = 12
EFI_PAGE_SIZE = 1 << EFI_PAGE_SHIFT

SIZEOF_DESCRIPTOR = 40
DESCRIPTOR_SIZE = 48
DESCRIPTOR_VERSION = 1

EFI_MEMORY_UC = 0x1
EFI_MEMORY_WC = 0x2
EFI_MEMORY_WT = 0x4
EFI_MEMORY_WB = 0x8
EFI_MEMORY_UCE = 0x10
EFI_MEMORY_WP = 0x1000
EFI_MEMORY_RP = 0x2000
EFI_MEMORY_XP = 0x4000
EFI_MEMORY_NV = 0x8000
EFI_MEMORY_MORE_RELIABLE = 0x10000
EFI_MEMORY_RO = 0x20000
EFI_MEMORY_SP = 0x40000
EFI_MEMORY_CPU_CRYPTO = 0x80000
EFI_MEMORY_HOT_PLUGGABLE = 0x100000
EFI_MEMORY_RUNTIME = 1 << 63

_LAYOUT = struct.Struct("<IIQQQQ")


class EfiMemoryType(IntEnum):
    """EFI_MEMORY_TYPE, with the specification's names (UEFI 2.10, AllocatePages)."""

    EfiReservedMemoryType = 0
    EfiLoaderCode = 1
    EfiLoaderData = 2
    EfiBootServicesCode = 3
    EfiBootServicesData = 4
    EfiRuntimeServicesCode = 5
    EfiRuntimeServicesData = 6
    EfiConventionalMemory = 7
    EfiUnusableMemory = 8
    EfiACPIReclaimMemory = 9
    EfiACPIMemoryNVS = 10
    EfiMemoryMappedIO = 11
    EfiMemoryMappedIOPortSpace = 12
    EfiPalCode = 13
    EfiPersistentMemory = 14
    EfiUnacceptedMemoryType = 15


class E820Type(IntEnum):
    """The types of the e820 list (arch/x86/include/asm/e820.h in 3.5; the later ones from e820/types.h in 6.1)."""

    RAM = 1
    RESERVED = 2
    ACPI = 3
    NVS = 4
    UNUSABLE = 5
    PMEM = 7
    PRAM = 12
    RUNTIME = 20
    SOFT_RESERVED = 0xEFFFFFFF


@dataclass(frozen=True, slots=True)
class EfiMemoryDescriptor:
    """One EFI_MEMORY_DESCRIPTOR.  `type` is a plain number, since firmware may use OEM and OS values."""

    type: int
    physical_start: int
    virtual_start: int
    number_of_pages: int
    attribute: int

    @property
    def size(self) -> int:
        """Length of the region in bytes."""
        return self.number_of_pages << EFI_PAGE_SHIFT

    @property
    def end(self) -> int:
        """First physical address behind the region."""
        return self.physical_start + self.size

    @property
    def runtime(self) -> bool:
        """True when the firmware needs this region after ExitBootServices."""
        return bool(self.attribute & EFI_MEMORY_RUNTIME)

    def pack(self, descriptor_size: int = DESCRIPTOR_SIZE) -> bytes:
        """The descriptor as the bytes of one array element, padded with zeros to `descriptor_size`."""
        check_descriptor_size(descriptor_size)
        start, end = self.physical_start, self.virtual_start
        data = _LAYOUT.pack(self.type, 0, start, end, self.number_of_pages, self.attribute)
        return data.ljust(descriptor_size, b"\0")

    @classmethod
    def unpack(cls, data: bytes) -> EfiMemoryDescriptor:
        """The descriptor in the first 40 bytes of `data`; ValueError when there are fewer."""
        if len(data) < SIZEOF_DESCRIPTOR:
            raise ValueError(f"a memory descriptor takes {SIZEOF_DESCRIPTOR} bytes, got {len(data)}")
        kind, _pad, physical, virtual, pages, attribute = _LAYOUT.unpack_from(data)
        return cls(kind, physical, virtual, pages, attribute)


@dataclass(frozen=True, slots=True)
class E820Entry:
    """One line of the e820 list: [start, end) and its type."""

    start: int
    end: int
    type: int


@dataclass(frozen=True)
class MemoryMap:
    """What one machine's firmware said about its memory.

    `e820` is the firmware's list; `user_e820` is the one that `memmap=` options made of it, empty without such options.
    `reprints` holds further EFI lists of the same log (kernels print the map again after changing it), in order.
    `memattr` is the memory attributes table, where the log has it (efi=debug), and `memattr_table` its address, else 0.
    `kernel` is the version of the Linux that printed it, where known.  `booted_by` is "UEFI", "BIOS", "Xen" or
    "kexec", "" where that was not told: under a BIOS, on Xen and after a kexec, Linux makes no such EFI call.  `notes`
    are remarks in plain words; what was inferred rather than read is marked there.
    """

    name: str
    descriptors: tuple[EfiMemoryDescriptor, ...] = ()
    e820: tuple[E820Entry, ...] = ()
    user_e820: tuple[E820Entry, ...] = ()
    reprints: tuple[tuple[EfiMemoryDescriptor, ...], ...] = ()
    memattr: tuple[EfiMemoryDescriptor, ...] = ()
    memattr_table: int = 0
    title: str = ""
    kernel: str = ""
    source: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()
    booted_by: str = ""

    def __repr__(self) -> str:
        lists = f"{len(self.descriptors)} EFI descriptors, {len(self.kernel_e820)} e820 entries"
        return f"<MemoryMap {self.name!r}: {lists}, RAM up to {self.highest_ram:#x}>"

    @property
    def kernel_e820(self) -> tuple[E820Entry, ...]:
        """The list the kernel works with: the user-defined one, else the firmware's, else one made of its EFI list."""
        return self.user_e820 or self.e820 or e820_from_efi(self.descriptors)

    @property
    def ram(self) -> tuple[tuple[int, int], ...]:
        """The RAM ranges [start, end) that the kernel works with, ascending."""
        return ram_ranges(self.kernel_e820)

    @property
    def ram_bytes(self) -> int:
        """How much RAM the kernel works with, in bytes."""
        return sum(end - start for start, end in self.ram)

    @property
    def highest_ram(self) -> int:
        """End (exclusive) of the highest RAM range that the kernel works with; 0 when there is none."""
        return max((end for _, end in self.ram), default=0)

    @property
    def top_of_ram(self) -> int:
        """End (exclusive) of the highest RAM range in the firmware's own list; 0 when there is none."""
        return max((end for _, end in ram_ranges(self.e820)), default=0)


_E820_OF_EFI: dict[int, E820Type] = {
    EfiMemoryType.EfiLoaderCode: E820Type.RAM,
    EfiMemoryType.EfiLoaderData: E820Type.RAM,
    EfiMemoryType.EfiBootServicesCode: E820Type.RAM,
    EfiMemoryType.EfiBootServicesData: E820Type.RAM,
    EfiMemoryType.EfiConventionalMemory: E820Type.RAM,
    EfiMemoryType.EfiACPIReclaimMemory: E820Type.ACPI,
    EfiMemoryType.EfiACPIMemoryNVS: E820Type.NVS,
    EfiMemoryType.EfiUnusableMemory: E820Type.UNUSABLE,
}


def e820_from_efi(descriptors: tuple[EfiMemoryDescriptor, ...]) -> tuple[E820Entry, ...]:
    """The e820 list that a boot loader makes of an EFI map, sorted, with equal neighbours joined.

    A region without pages leaves no entry.
    """
    joined: list[E820Entry] = []
    for region in sorted((d for d in descriptors if d.number_of_pages), key=lambda d: d.physical_start):
        kind = e820_type_of(region)
        if joined and joined[-1].type == kind and joined[-1].end == region.physical_start:
            joined[-1] = replace(joined[-1], end=region.end)
        else:
            joined.append(E820Entry(region.physical_start, region.end, kind))
    return tuple(joined)


def e820_type_of(region: EfiMemoryDescriptor) -> E820Type:
    """The e820 type that a boot loader gives to `region`.

    The types are those of do_add_efi_memmap (arch/x86/platform/efi/efi.c, v3.5); anything it does not name is reserved.
    """
    kind = _E820_OF_EFI.get(region.type, E820Type.RESERVED)
    if kind == E820Type.RAM and not region.attribute & EFI_MEMORY_WB:
        return E820Type.RESERVED
    return kind


def check_descriptor_size(size: int) -> int:
    """`size` itself, when a firmware could report it as DescriptorSize; ValueError otherwise."""
    if size < SIZEOF_DESCRIPTOR or size % 8:
        raise ValueError(f"descriptor size {size}: expected a multiple of 8, at least {SIZEOF_DESCRIPTOR}")
    return size


def ram_ranges(entries: Iterable[E820Entry]) -> tuple[tuple[int, int], ...]:
    """The RAM ranges of an e820 list, ascending, with touching ones joined."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted((e.start, e.end) for e in entries if e.type == E820Type.RAM):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return tuple(joined)
