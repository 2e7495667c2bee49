"""What a page fault of Linux says: where the walk ended, what was accessed, and which known fault it is.

Each sentence follows from lines of the log and names them; where two readings are possible none is chosen.  What tells
the causes apart stands in `_CAUSES`, one function each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .maps.oops import Oops
from .scene import ATTRIBUTE_OFFSET, DIRECT_MAP, LOWER_HALF, PROTECTION, SWITCH, Region, Scene
from .uefi.memmap import MemoryMap
from .x86.cpu import CR4_SMAP, CR4_SMEP
from .x86.modes import LONG5, NX, PAE, RW, US, P
from .x86.paging import Entry

LINE = 512 << 30
RAM_SIZES = (1, 2, 4, 8, 16, 32, 64)  # in TiB; 64 is the largest machine that the model makes
_WRITE, _USER, _RESERVED, _FETCH, _KEY = (1 << bit for bit in range(1, 6))
_RMP = 1 << 31  # AMD's APM, volume 2, 8.4.2: the table of SEV-SNP says that the page is another's


@dataclass(frozen=True)
class Finding:
    """One sentence, and the numbers of the lines that it follows from."""

    says: str
    lines: tuple[int, ...]


@dataclass(frozen=True)
class Diagnosis:
    """What is found of one fault.

    `cause` is one of "bug of 2012", "KPTI with old_map", "NX on runtime code", "KASLR with old_map", "no identity map
    after kexec", "boot-services memory touched late" and "none of these"; `level` and `index` say where the walk ended,
    None where it was not printed; `section` is what explains it, `command` what shows it, "" where nothing does.
    """

    oops: Oops
    cause: str
    findings: tuple[Finding, ...]
    section: str
    command: str
    slot: int | None
    level: str | None
    index: int | None

    def summary(self) -> dict[str, Any]:
        """The diagnosis as plain data; addresses are integers."""
        one = self.oops
        return {
            "kind": one.kind,
            "line": one.line,
            "address": one.address,
            "ip": one.ip,
            "symbol": one.symbol,
            "error_code": one.error_code,
            "access": access(one),
            "entries": [
                {"level": name, "entry": entry, "flags": Entry(entry).flags, "address": Entry(entry).address}
                for name, entry in one.entries
            ],
            "registers": dict(one.registers),
            "trace": list(one.trace),
            "kernel": one.kernel,
            "machine": one.machine,
            "slot": self.slot,
            "level": self.level,
            "index": self.index,
            "cause": self.cause,
            "findings": [{"says": each.says, "lines": list(each.lines)} for each in self.findings],
            "section": self.section,
            "command": self.command,
        }


def diagnose(oops: Oops, found: MemoryMap | None = None, command_line: str = "") -> Diagnosis:
    """What `oops` says, on the machine of `found`."""
    scene = Scene(oops, found, command_line)
    slot, level, index = _walk_end(scene)
    cause, because, section, command = _cause(scene)
    findings = (*_what(scene), *_how(scene), *_walked(scene), *_where(scene), *because)
    return Diagnosis(oops, cause, findings, section, command, slot, level, index)


def access(oops: Oops) -> str | None:
    """Read, write or fetch; None where no error code was told."""
    code = oops.error_code
    if code is None:
        return oops.access or None
    return "fetch" if code & _FETCH else "write" if code & _WRITE else "read"


def _walk_end(scene: Scene) -> tuple[int | None, str | None, int | None]:
    """The slot of the address, and level and index of the last entry that was printed."""
    mode, address = scene.mode, scene.oops.address
    if mode is None or address is None:
        return None, None, None
    slot = mode.levels[0].index(address)
    name = scene.oops.entries[-1][0] if scene.oops.entries else None
    as_the_model_says = {
        "pdpt": "pgd",
        "pde": "pmd" if mode is PAE else "pgd",
        "p4d": "p4d" if mode is LONG5 else "pgd",
    }
    level = next((each for each in mode.levels if each.name == as_the_model_says.get(name or "", name)), None)
    return slot, name, level.index(address) if level else None


def _what(scene: Scene) -> Iterator[Finding]:
    one = scene.oops
    at = "" if one.address is None else f" at {one.address:#x}"
    yield Finding(f"a {one.kind}{at}", scene.lines("address") or (one.line,))
    if one.kind == "firmware page fault" and (one.address or 0) >= LOWER_HALF:
        words = "the message calls this a physical address; it is a virtual one, of the kernel's half"
        yield Finding(words, (one.line,))
    if one.symbol:
        yield Finding(f"the instruction is the kernel's, in {one.symbol}", scene.lines("ip", "symbol"))
    elif one.ip is not None:
        of_firmware = scene.unnamed and scene.by_firmware
        where = " and is where firmware is mapped" if of_firmware else ""
        words = "is user code's" if one.by_user else f"has no symbol{where}"
        yield Finding(f"the instruction at {one.ip:#x} {words}", scene.lines("ip"))


def _how(scene: Scene) -> Iterator[Finding]:
    """What the error code says."""
    code = scene.oops.error_code
    if code is None:
        if scene.oops.access:
            kasan = scene.oops.kind == "KASAN report"
            how = "by the kernel's own bookkeeping of memory" if kasan else "as the #PF line says"
            yield Finding(f"a {scene.oops.access}, {how}", scene.lines("access"))
        return
    who = "user code" if code & _USER else "the kernel or firmware"
    why = "that the entries forbid" if code & PROTECTION else "of a page that is not mapped"
    smap = "SMEP" if code & _FETCH else "SMAP"
    why = f"that the entries allow to user code: {smap} forbids it" if _allowed_to_user(scene.oops) else why
    why = "that a protection key forbids" if code & _KEY else why
    why = "through an entry with a reserved bit set" if code & _RESERVED else why
    why = "of a page that is another's in the table of SEV-SNP (RMP)" if code & _RMP else why
    yield Finding(f"error code {code:#06x}: a {access(scene.oops)} by {who} {why}", scene.lines("error_code"))


def _allowed_to_user(oops: Oops) -> bool:
    """Whether the entries down to a page allow user code what the kernel was refused, and CR4 does not deny it."""
    code, entries = oops.error_code or 0, [entry for _, entry in oops.entries]
    if not entries or not code & PROTECTION or code & _USER:
        return False
    if oops.entries[-1][0] != "pte" and "PS" not in Entry(entries[-1]).flags.split():
        return False
    if not oops.registers.get("CR4", CR4_SMAP | CR4_SMEP) & (CR4_SMEP if code & _FETCH else CR4_SMAP):
        return False
    wanted = P | US | (RW if code & _WRITE else 0)
    forbidden = any(entry & NX for entry in entries) and code & _FETCH
    return not forbidden and all(entry & wanted == wanted for entry in entries)


def _walked(scene: Scene) -> Iterator[Finding]:
    """The slot, each entry's bits, and where the walk ended."""
    one, mode, lines = scene.oops, scene.mode, scene.lines("entries")
    if one.address is None or mode is None:
        return
    slot, _, index = _walk_end(scene)
    yield Finding(f"the address belongs to slot {slot} of the top-level table", scene.lines("address"))
    if not one.entries:
        return
    for name, entry in one.entries:
        yield Finding(f"{name} = {entry:#x}: {_bits(entry)}", lines)
    name, entry = one.entries[-1]
    if not entry & P:
        may_be_swapped = (one.address or 0) < LOWER_HALF and not scene.by_firmware
        hid = "" if may_be_swapped else ": something hid the page"
        state = "empty" if not entry else f"not present, though other bits are set{hid}"
        yield Finding(f"the walk ended at {name}[{index}], which is {state}", lines)
    elif scene.absent and name != "pte" and not Entry(entry).flags.count("PS"):
        yield Finding(f"the walk was printed down to {name}; what lay below is not told", lines)
    else:
        yield Finding(f"the walk went through to {name}[{index}]", lines)


def _bits(entry: int) -> str:
    flags = Entry(entry).flags
    if not entry & P:
        return "empty" if not entry else f"not present (other bits: {flags or 'only an address'})"
    return f"{flags} -> {Entry(entry).address:#x}"


def _where(scene: Scene) -> Iterator[Finding]:
    """The region of the log's map that the address lies in, where it can be a physical one."""
    address = scene.oops.address
    regions = scene.direct_map_regions
    if address and regions:
        pa = address - DIRECT_MAP.start
        words = f"where Linux {scene.oops.kernel} has its direct map it would be the physical address {pa:#x}"
        yield Finding(f"{words}, {_told(regions)}", scene.lines("address", "kernel"))
    if address is None or address >= LOWER_HALF:
        return
    if address < 0x1000:
        yield Finding("the address is that of a NULL pointer, or a few bytes behind it", scene.lines("address"))
    elif scene.map is not None:
        yield Finding(f"taken as a physical address it lies {_told(scene.regions)}", scene.lines("address"))


def _told(regions: list[Region]) -> str:
    return " and ".join(each.words for each in regions) or "in no region of the map"


_OF_EFI = re.compile(r"(?:^|_)u?efi(?:[\d_]|var|fb|$)")
_Answer = tuple[str, tuple[Finding, ...], str, str]


def _cause(scene: Scene) -> _Answer:
    """The cause, the sentences that say why, the notebook's section and the command that shows it."""
    for asked in _CAUSES:
        answer = asked(scene)
        if answer:
            return answer
    return "none of these", (*_nearly(scene), _whose(scene)), "", ""


def _nearly(scene: Scene) -> Iterator[Finding]:
    """That the address is where an array's first Attribute would be, though the rest is not the bug of 2012."""
    if scene.array and scene.by_firmware and not scene.in_service:
        lent = bool(scene.oops.entries) and scene.oops.entries[0][1]
        register = f"{scene.array[0]} + {ATTRIBUTE_OFFSET:#x}"
        words = f"{register} is the address, as where firmware reads an array's first Attribute"
        but = "; but the slot was lent: it is not the bug of 2012" if lent else ""
        yield Finding(words + but, scene.lines(scene.array[0], "address", "entries"))


def _whose(scene: Scene) -> Finding:
    """Whether the firmware was running, the kernel's own code for EFI, or neither."""
    if scene.in_efi:
        words = "an EFI call was under way, and it is none of the faults that are explained here"
        return Finding(words, scene.call_lines)
    names = [name for name in (scene.oops.symbol, *scene.oops.trace) if _OF_EFI.search(name)]
    if names:
        words = "the kernel's own code for EFI is named, but no call of the firmware was under way by what is told"
        return Finding(words, scene.trace_lines(tuple(names)) or scene.lines("symbol") or (scene.oops.line,))
    return Finding("nothing in it names EFI: it is none of the faults that are explained here", (scene.oops.line,))


def _bug_of_2012(scene: Scene) -> _Answer | None:
    """Firmware reads the array in a slot that the kernel did not lend: the top-level entry is empty."""
    array, (slot, _, _) = scene.array, _walk_end(scene)
    if not _reads_an_array_in_an_empty_slot(scene):
        return None
    because = []
    if scene.in_switch:
        because.append(Finding("the call trace is that of SetVirtualAddressMap", scene.trace_lines(SWITCH)))
    if array:
        words = f"{array[0]} + {ATTRIBUTE_OFFSET:#x} is the address: the first Attribute of an array at {array[1]:#x}"
        because.append(Finding(words, scene.lines(array[0], "address")))
    sure = (
        "this is the bug of 2012" if scene.in_switch else "the numbers are those of the bug of 2012; no trace says so"
    )
    lent = "the kernel had lent it the slots below only" if () < scene.version < (3, 14) else "nothing is mapped there"
    words = f"{sure}: firmware reads the array in slot {slot}, and {lent}"
    because.append(Finding(words, scene.lines("entries", "error_code", "ip")))
    place = array[1] if array else (scene.oops.address or 0) - ATTRIBUTE_OFFSET
    return "bug of 2012", tuple(because), "notebook 04, Which slot does the pointer need?", _shown_again(place & ~7)


def _reads_an_array_in_an_empty_slot(scene: Scene) -> bool:
    """Whether firmware read what may be the array, in the switch or where no other service is named."""
    one, (slot, _, _) = scene.oops, _walk_end(scene)
    empty = one.entries[0] == ("pgd", 0) if one.entries else bool(scene.in_switch and scene.array)
    reads = access(one) == "read" and scene.absent and scene.unnamed
    by_switch = scene.in_switch and (scene.array or scene.may_be_ram)
    return bool(slot and slot < 256 and empty and reads and (by_switch or (scene.array and not scene.in_service)))


def _shown_again(place: int) -> str:
    """The command that has an array at `place`; "" where the model makes no machine so large."""
    ram = next((size for size in RAM_SIZES if place + LINE // 2 < size << 40), None)
    return f"efimm run --kernel 3.5 --ram {ram}T --buffer {place:#x} --explain" if ram else ""


def _kpti_with_old_map(scene: Scene) -> _Answer | None:
    """A fetch through a top-level entry with NX: isolation sets it in the user half, which old_map borrows."""
    one = scene.oops
    # Both are gone from 5.9 on (3bcf25a40b01).
    fetch = scene.in_efi and _forbidden_fetch(scene) and "NOPTI" not in one.flags and scene.version < (5, 9)
    if not (fetch and one.entries and one.entries[0][1] & NX and (one.address or 0) < LOWER_HALF):
        return None
    is_on = "PTI" in one.flags.split()
    told = "and it is on" if is_on else "inferred from that bit"
    because = (
        Finding("NX is set in the top-level entry, so nothing under it may be executed", scene.lines("entries")),
        Finding(
            f"page-table isolation (KPTI) sets it there, {told}; the old mapping borrows that half",
            scene.lines("flags" if is_on else "entries"),
        ),
    )
    return "KPTI with old_map", because, "notebook 10, Who is helped by what", "efimm compare --ram 1T --kpti"


def _nx_on_runtime_code(scene: Scene) -> _Answer | None:
    """A fetch of firmware code that a lower entry forbids."""
    one = scene.oops
    below = [entry for name, entry in one.entries[1:] if name != "p4d" or scene.mode is LONG5]
    if not (_forbidden_fetch(scene) and scene.in_efi and any(entry & NX for entry in below)):
        return None
    if any(each.given_back for each in scene.regions):
        return None
    name = next(name for name, entry in one.entries if entry & NX)
    is_code = not scene.regions or any("Code" in each.words for each in scene.regions)
    of = "firmware code" if is_code else "what is fetched"
    because = (
        Finding(f"NX is set in the {name} entry of {of}, and the fetch goes there", scene.lines("entries", "ip")),
        Finding("an EFI call was under way", scene.call_lines),
    )
    return "NX on runtime code", because, "notebook 02, Rights: every level has a say", ""


def _forbidden_fetch(scene: Scene) -> bool:
    code = scene.oops.error_code or 0
    return bool(code & _FETCH and code & PROTECTION)


def _kaslr_with_old_map(scene: Scene) -> _Answer | None:
    """The old mapping on a kernel that moves its direct map: the slots that are borrowed are those of other memory."""
    words = scene.command_line.split()
    old_map = any(word.startswith("efi=") and "old_map" in word for word in words)
    # Memory KASLR came with 4.8; 94133e46a0f5 (v4.12, recalled) made the old mapping follow it, GiB by GiB.
    moved = "nokaslr" not in words and (4, 8) <= scene.version < (4, 12)
    if not (scene.in_efi and scene.absent and old_map and moved and (scene.oops.address or 0) < LOWER_HALF):
        return None
    says = "efi=old_map is on the command line and nokaslr is not: the slots that are borrowed may be of other memory"
    command = "efimm run --kernel old-map --ram 1T --kaslr 0xffff8c7000000000 --explain"
    moves = "this kernel moves its direct map (memory KASLR, 4.8), and its old mapping may not follow (4.12, recalled)"
    because = (Finding(says, scene.lines("command line")), Finding(moves, scene.lines("kernel")))
    return "KASLR with old_map", because, "notebook 10, Who is helped by what", command


def _after_kexec(scene: Scene) -> _Answer | None:
    """A second kernel without the identity map that the firmware still uses."""
    booted = scene.map.booted_by if scene.map else ""
    options = [w for w in scene.command_line.split() if w.startswith(("elfcorehdr=", "acpi_rsdp=", "kexec_jump"))]
    second = booted == "kexec" or bool(options)
    absent = scene.absent or "firmware" in scene.oops.kind
    if not (
        second and scene.in_efi and scene.by_firmware and absent and 0xFFF < (scene.oops.address or 0) < LOWER_HALF
    ):
        return None
    if scene.map and not any(each.of_the_services for each in scene.regions):
        return None
    words = "a kernel that kexec started calls the firmware, and the address it uses is not mapped 1:1"
    because = (Finding(words, scene.lines("command line", "address", "error_code")),)
    return "no identity map after kexec", because, "notebook 09, What the second kernel has to know", ""


def _boot_services_late(scene: Scene) -> _Answer | None:
    """Firmware goes on using memory that it gave back with ExitBootServices."""
    address = scene.oops.address
    if not (scene.by_firmware and scene.map and address is not None and 0xFFF < address < LOWER_HALF):
        return None
    last = scene.oops.entries[-1][1] if scene.oops.entries else 0
    if scene.in_switch or (scene.array and last and not last & P):  # the array itself, in a page that the kernel hid
        return None
    by_efi = [each for each in scene.regions if each.by_efi]
    given_back = [each.words for each in by_efi or scene.regions if each.given_back]
    if not given_back:
        return None
    words = f"the firmware touched memory {given_back[0]}, which it had given to the kernel with ExitBootServices"
    because = (Finding(words, (scene.oops.line,)), Finding("this is not the bug of 2012", (scene.oops.line,)))
    return "boot-services memory touched late", because, "notebook 10, Who is helped by what", ""


_CAUSES: tuple[Callable[[Scene], _Answer | None], ...] = (
    _bug_of_2012,
    _kpti_with_old_map,
    _nx_on_runtime_code,
    _kaslr_with_old_map,
    _after_kexec,
    _boot_services_late,
)
