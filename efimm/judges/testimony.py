"""What the firmware answered, and its memory map: the witness's lines, read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterable
from dataclasses import dataclass
from functools import cached_property

from ..uefi.memmap import EfiMemoryDescriptor, MemoryMap, e820_from_efi
from ..x86.memory import GIB
from .guest import Guest
from .host import JudgeError

Fields = dict[str, str]

_WORDS = (4, 8)  # bytes of the firmware's words
_COUNTS = range(1 << 20)  # how many probes in a row may have had the same answer


@dataclass(frozen=True, slots=True)
class Trap:
    """An exception: its vector (14 is the page fault), its error code, CR2 and the address of the instruction."""

    vector: int
    error_code: int
    cr2: int
    rip: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What a call of a service led to: a status, or an exception; `fields` is the line as it was said."""

    status: int | None
    trap: Trap | None
    fields: Fields

    @property
    def good(self) -> bool:
        """True for EFI_SUCCESS."""
        return self.status == 0


@dataclass(frozen=True, slots=True)
class Finding:
    """What the processor found at a probed address; an access is 0 where it worked, NOT_TRIED, or a trap's number.

    `seen` is one of the numbers below; `offset` is physical minus virtual address, where a tag was seen; `cr2_offset`
    is CR2 minus the address that was used.
    """

    read: int
    write: int
    fetch: int
    seen: int
    offset: int
    cr2_offset: int


FAULTED, NOT_TRIED = 0x10000, 0x20000
SEEN_NOTHING, SEEN_TAG, SEEN_SAME, SEEN_OTHER = range(4)


@dataclass(frozen=True)
class Testimony:
    """All that one boot said.  Parts that it did not come to are empty or None; `lines` are its own words."""

    lines: tuple[str, ...]
    image_size: int
    firmware: Fields
    descriptor_size: int
    descriptors: tuple[EfiMemoryDescriptor, ...]
    findings: tuple[Finding, ...]
    call: Reply | None
    second_call: Reply | None
    moves: tuple[int, ...]
    services: dict[str, Reply]
    complete: bool

    @property
    def system_table(self) -> int:
        """Physical address of EFI_SYSTEM_TABLE."""
        return int(self.firmware["system_table"], 16)

    @property
    def moved(self) -> tuple[int, ...]:
        """The distances by which pointers in the runtime services table moved; one that stayed is not among them."""
        return tuple(move for move in self.moves if move)


@dataclass(frozen=True)
class FirmwareMap:
    """What a guest's firmware says of its memory at ExitBootServices, and how large the witness is in it.

    `descriptors` are in the firmware's own order, which is not always ascending.
    `system_table` is the physical address of EFI_SYSTEM_TABLE.
    """

    descriptors: tuple[EfiMemoryDescriptor, ...]
    image_size: int
    vendor: str
    system_table: int

    @cached_property
    def _ascending(self) -> list[EfiMemoryDescriptor]:
        return sorted(self.descriptors, key=lambda region: region.physical_start)

    def region(self, pa: int) -> EfiMemoryDescriptor | None:
        """The region around physical address `pa`, None where there is none."""
        place = bisect_right(self._ascending, pa, key=lambda region: region.physical_start) - 1
        found = self._ascending[place] if place >= 0 else None
        return found if found is not None and pa < found.end else None

    def memory_map(self, guest: Guest) -> MemoryMap:
        """The map for the simulated machine.  Its e820 list is made the way a boot loader makes it."""
        return MemoryMap(
            name="ovmf",
            descriptors=self.descriptors,
            e820=e820_from_efi(self.descriptors),
            title=f"QEMU guest with {guest.ram / GIB:g} GiB ({guest.vendor}), firmware {self.vendor}",
        )


def read_testimony(lines: Iterable[str]) -> Testimony:
    """The lines of one boot as a Testimony; JudgeError when its beginning is missing, or a line is damaged."""
    lines = tuple(lines)
    by_topic: dict[str, list[Fields]] = {}
    for topic, *fields in filter(None, map(str.split, lines)):
        by_topic.setdefault(topic, []).append(dict(field.split("=", 1) for field in fields if "=" in field))
    for topic in ("image", "firmware", "map", "region"):
        if topic not in by_topic:
            raise JudgeError(f"the witness did not come to say its {topic}")
    try:
        return _testimony(lines, by_topic)
    except KeyError as error:
        raise JudgeError(f"a line of the witness is damaged: it has no {error}") from error


def map_of(said: Testimony) -> FirmwareMap:
    """The map that a boot told."""
    vendor = said.firmware["vendor"].replace("_", " ")
    return FirmwareMap(said.descriptors, said.image_size, vendor, said.system_table)


def _testimony(lines: tuple[str, ...], by_topic: dict[str, list[Fields]]) -> Testimony:
    word = _number(by_topic["image"][0], "word", _WORDS)
    _number(by_topic["firmware"][0], "system_table")
    return Testimony(
        lines=lines,
        image_size=_number(by_topic["image"][0], "size"),
        firmware=by_topic["firmware"][0],
        descriptor_size=_number(by_topic["map"][0], "descriptor_size"),
        descriptors=tuple(map(_descriptor, by_topic["region"])),
        findings=tuple(found for fields in by_topic.get("probes", []) for found in _findings(fields)),
        call=_reply(by_topic.get("call"), word),
        second_call=_reply(by_topic.get("second-call"), word),
        moves=tuple(_moved_by(fields) for fields in by_topic.get("pointer", []) if fields["table"] == "runtime"),
        services={fields["name"]: _as_reply(fields, word) for fields in by_topic.get("service", [])},
        complete="done" in by_topic,
    )


def _number(fields: Fields, key: str, allowed: Container[int] = range(1 << 64)) -> int:
    try:
        number = int(fields[key], 16)
    except ValueError:
        number = -1
    if number not in allowed:
        raise JudgeError(f"a line of the witness is damaged: {key}={fields[key][:40]!r}")
    return number


def _descriptor(fields: Fields) -> EfiMemoryDescriptor:
    start, pages = _number(fields, "start"), _number(fields, "pages")
    return EfiMemoryDescriptor(_number(fields, "type"), start, 0, pages, _number(fields, "attribute"))


def _findings(fields: Fields) -> list[Finding]:
    keys = ("read", "write", "fetch", "seen", "offset", "cr2")
    return [Finding(*(_number(fields, key) for key in keys))] * _number(fields, "count", _COUNTS)


def _reply(lines: list[Fields] | None, word: int) -> Reply | None:
    return _as_reply(lines[0], word) if lines else None


def _as_reply(fields: Fields, word: int) -> Reply:
    """A line that was cut short, because the guest died, has neither a status nor a complete exception."""
    trap = None
    if "rip" in fields:
        trap = Trap(*(_number(fields, key) for key in ("vector", "error", "cr2", "rip")))
    status = None if trap or "status" not in fields else _wide(_number(fields, "status"), word)
    return Reply(status, trap, fields)


def _wide(status: int, word: int) -> int:
    """An EFI_STATUS of `word` bytes as one of 64 bits: the error bit is the highest in either."""
    error = 1 << 8 * word - 1
    return status ^ error | 1 << 63 if status & error else status


def _moved_by(fields: Fields) -> int:
    return _number(fields, "after") - _number(fields, "before") & (1 << 64) - 1
