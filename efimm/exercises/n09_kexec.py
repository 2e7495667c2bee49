"""Notebook 09: addresses that a second kernel can know, how pointers are converted, and what is handed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from ..kernels import KERNELS, hpa_offset
from ..linux import Linux, efi_enter_virtual_mode
from ..linux.layout import PGDIR_SIZE
from ..linux.page_alloc import alloc_pages
from ..linux.vmalloc import ioremap
from ..machines import machine
from ..run import boot, run
from ..scenarios import after_kexec
from ..uefi import EfiStatus
from ..uefi.memmap import EFI_MEMORY_RUNTIME, EfiMemoryDescriptor, EfiMemoryType
from ..uefi.runtime import Variables, convert_pointer
from ..x86.memory import PAGE_SIZE
from .answers import Question
from .catalog import asks, wants

_MAPS = ("ovmf-vm-12gib", "thinkpad-x240-8gib", "dell-r630-64gib")
_PMD = 1 << 21
Convert = Callable[[int, Sequence[EfiMemoryDescriptor]], int | None]
HandOn = Callable[[Linux], Sequence[EfiMemoryDescriptor]]


@asks("09.1")
def address_at_the_offset(random: Random) -> Question:
    """Where hpa's offset puts a byte of the firmware of a real machine, or back."""
    name = random.choice(_MAPS)
    linux = run(machine(map=name), "hpa-offset").linux
    region = random.choice([md for md in linux.memmap if md.runtime and md.virtual_start])
    pa = random.randrange(region.physical_start, region.end)
    va = region.virtual_start + pa - region.physical_start
    back = random.random() < 0.5
    text = f"A machine of data/ (`{name}`) runs `hpa-offset`. "
    text += (
        f"The firmware uses the virtual address `{va:#x}`. Where in physical memory is that?"
        if back
        else f"At which virtual address does the firmware find its byte at physical `{pa:#x}` after the switch?"
    )
    hints = {
        va if back else pa: "That would be an identity map. How far away is the other one?",
        pa + 0xFFFF_8800_0000_0000: "That is where 3.5 would put it.",
        pa + (1 << 47): "2^47 is too far: that is where the lower half of the addresses ends.",
    }
    return Question(text, pa if back else va, hints, given={"address": va if back else pa, "back": back})


@asks("09.2")
def slots_at_the_offset(random: Random) -> Question:
    """The slots of the offset map that a machine fills, as their sum of first and last."""
    linux = boot(machine(f"{random.randrange(600, 60_000)}G"), "hpa-offset")
    end = linux.machine.highest_ram
    offset = hpa_offset.OFFSET // PGDIR_SIZE
    last = max(slot for slot in linux.trampoline_pgd.slots() if slot < 256)
    text = (
        f"RAM ends at {end >> 30} GiB. Which is the last slot of the trampoline's table that `hpa-offset` fills in the "
        "lower half?"
    )
    hints = {
        last - offset: "That is the last slot of the map at address zero. The other map is behind it.",
        last + 1: "The last byte counts, not the one behind it.",
        offset: "There the map at the offset begins. How much RAM is there?",
        last - offset + 272: "That is the direct map's, in the upper half.",
    }
    return Question(text, last, hints, "Slots 0 to 127 and 128 to 255: room for 64 TiB, twice.", {"highest_ram": end})


@asks("09.3")
def next_address_below(random: Random) -> Question:
    """Where 3.14 puts a region, when the one before has its place."""
    regions = [md for md in run(machine(map=random.choice(_MAPS)), "3.14").linux.memmap if md.virtual_start]
    place = random.choice([place for place, md in enumerate(regions) if place and md.size])
    before, region = regions[place - 1], regions[place]
    text = (
        f"3.14 has just put a region at `{before.virtual_start:#x}`. The next one lies at physical "
        f"`{region.physical_start:#x}` and has `{region.size:#x}` bytes. It goes below, as high as possible, and its "
        "offset within 2 MiB has to stay what it is physically. At which address does it begin?"
    )
    hints = {
        before.virtual_start - region.size: "There is room. But is the offset within 2 MiB right?",
        region.virtual_start - _PMD: "There is a place that is 2 MiB higher.",
        region.virtual_start + _PMD: "There it would run into the region above.",
        region.virtual_start // _PMD * _PMD: "That is a multiple of 2 MiB. Is the physical address one?",
    }
    why = "It depends on every region before it. So the second kernel is told, and does not compute."
    given = {"before": before.virtual_start, "pa": region.physical_start, "size": region.size}
    return Question(text, region.virtual_start, hints, why, given)


@asks("09.4")
def after_another_driver(random: Random) -> Question:
    """Where 3.5 puts the firmware's device memory when a driver was there before."""
    linux = boot(machine("4G"), "3.5")
    size = random.randrange(1, 9000)
    ioremap(linux, 0xC000_0000, size * PAGE_SIZE)
    taken = linux.vmalloc_next
    efi_enter_virtual_mode(linux)
    region = next(md for md in linux.memmap if md.type == EfiMemoryType.EfiMemoryMappedIO)
    text = (
        f"On a machine with 4 GiB, before 3.5 calls the firmware, a driver maps {size} pages by `ioremap`. Behind them "
        f"and their guard page, `{taken:#x}` is the first free address of the vmalloc area. Then the firmware's flash, "
        "4 MiB, is mapped to a multiple of 512 KiB. Which virtual address is the firmware told for its flash?"
    )
    align = 1 << 19
    hints = {
        taken: "That is the first free address. Is it a multiple of 512 KiB?",
        taken // align * align: "That is taken. The next one?",
        region.virtual_start + align: "There is one before.",
    }
    why = "One driver more or less, and the address is another one."
    return Question(text, region.virtual_start, hints, why, {"free": taken})


@wants(
    "09.5",
    "Write `convert_pointer(pointer, regions)`: what ConvertPointer makes of `pointer`, None where it finds no region "
    "(EFI_NOT_FOUND). A region has `.attribute`, `.physical_start`, `.end` and `.virtual_start`. Only regions with "
    "EFI_MEMORY_RUNTIME (bit 63 of the attribute) count, and the first that fits decides.",
    why="It adds a distance, so a second time it would not know where it is. That is why the firmware refuses.",
    rounds=40,
)
def convert(random: Random, submitted: Convert) -> str:
    """Try `submitted` against the firmware, on lists of regions that touch, overlap, or do not count."""
    regions = [_some_region(random) for _ in range(6)]
    near = random.choice(regions)
    pointer = near.physical_start + random.choice((0, near.size - 1, near.size, -1, random.randrange(near.size)))
    pointer = random.choice((pointer, pointer, pointer, near.virtual_start))
    expected = _converted(pointer, regions)
    answer = submitted(pointer, list(regions))
    if answer == expected and (answer is None) == (expected is None):
        return ""
    listed = "\n".join(
        f"{'RUNTIME' if md.runtime else '-------'} {md.physical_start:#x} to {md.end:#x} -> {md.virtual_start:#x}"
        for md in regions
    )
    return (
        f"{pointer:#x} became {_said(answer)}, and the firmware makes {_said(expected)} of it. The regions:\n{listed}"
    )


def _some_region(random: Random) -> EfiMemoryDescriptor:
    """Any region: some count, some touch or overlap."""
    return EfiMemoryDescriptor(
        type=EfiMemoryType.EfiRuntimeServicesData,
        physical_start=random.randrange(0x7000, 0x7010) << 16,
        virtual_start=random.randrange(1 << 18) << 16 | 0xFFFF_8800_0000_0000,
        number_of_pages=random.randrange(1, 64),
        attribute=random.choice((EFI_MEMORY_RUNTIME, 0)) | 0xF,
    )


def _converted(pointer: int, regions: Sequence[EfiMemoryDescriptor]) -> int | None:
    """What the firmware's own function makes of a pointer in memory, with the regions as an array in memory."""
    linux = boot(machine("1G"), "3.5")
    page, size = linux.phys_to_virt(alloc_pages(linux, 1)), linux.machine.descriptor_size
    for place, md in enumerate(regions):
        linux.cpu.write(page + place * size, md.pack(size))
    firmware = linux.firmware
    own = Variables(linux.cpu, linux.phys_to_virt(firmware.layout.variables), firmware.tables)
    own.map_pointer, own.map_entries, own.descriptor_size = page, len(regions), size
    place = page + PAGE_SIZE - 8
    linux.cpu.write_uint(place, pointer, 8)
    status = convert_pointer(firmware, linux.cpu, own, place)
    return linux.cpu.read_uint(place, 8) if status == EfiStatus.EFI_SUCCESS else None


def _said(address: int | None) -> str:
    return f"{address:#x}" if isinstance(address, int) else repr(address)


@wants(
    "09.6",
    "Write `hand_on(linux)`: the regions of `linux.memmap` that 3.5 has to hand to a kernel started by kexec, so that "
    "the firmware works there, and no more. The second kernel maps them as 3.14 does, and does not ask again.",
    why="This is what 3.14 shows in /sys/firmware/efi/runtime-map.",
    rounds=6,
)
def hand_on(random: Random, submitted: HandOn) -> str:
    """Try `submitted` through a kexec, on machines of data/ and generated ones."""
    given = machine(f"{random.randrange(4, 500)}G") if random.random() < 0.5 else machine(map=random.choice(_MAPS))
    told = tuple(submitted(run(given, "3.5").linux))
    needless = [md for md in told if not md.runtime]
    if needless:
        return f"the region at {needless[0].physical_start:#x} is not used by the firmware at run time."
    kernel = replace(
        KERNELS["3.5"],
        efi_runtime_map=lambda linux: tuple(submitted(linux)),
        efi_enter_virtual_mode=KERNELS["3.14"].efi_enter_virtual_mode,
    )
    outcome = after_kexec(boot(given, kernel))
    if outcome.verdict == "success" and outcome.status is None:
        return ""
    return (
        f"on {given.map.name}, {len(told)} regions were handed on, and it ended in {outcome.verdict}: {outcome.reason}."
    )
