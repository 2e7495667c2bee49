"""What a page fault of Linux says: where the walk ended, what was accessed, and which known fault it is.

Each sentence follows from lines of the log and names them; where two readings are possible none is chosen.  What tells
the causes apart stands in `_CAUSES`, one function each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .maps.entries import E820_WORDS
from .maps.oops import Oops
from .uefi.memmap import EfiMemoryType, MemoryMap
from .x86.cpu import CR4_LA57
from .x86.modes import LONG4, LONG5, NX, P, PagingMode
from .x86.paging import Entry

LINE = 512 << 30
LOWER_HALF = 1 << 47
KERNEL_OF_I386 = 0xC000_0000  # where a 32-bit kernel begins
RAM_SIZES = (1, 2, 4, 8, 16, 32, 64)  # in TiB; 64 is the largest machine that the model makes
ATTRIBUTE_OFFSET = 0x20  # of EFI_MEMORY_DESCRIPTOR: the first field of the array that firmware looks at
# Where Linux maps the runtime services since 3.14: EFI_VA_END to EFI_VA_START (arch/x86/platform/efi/efi_64.c).
EFI_VA = range(0xFFFF_FFEF_0000_0000, 0xFFFF_FFFF_0000_0000)
_PROTECTION, _WRITE, _USER, _RESERVED, _FETCH = (1 << bit for bit in range(5))
_RMP = 1 << 31  # AMD's APM, volume 2, 8.4.2: the table of SEV-SNP says that the page is another's
_KERNEL32_CS = 0x08  # of a 64-bit kernel: it calls 32-bit firmware with it (arch/x86/include/asm/segment.h)
_SWITCH = ("set_virtual_address_map", "efi_enter_virtual_mode")
_EFI_WORDS = ("efi_call", "virt_efi", "efi_thunk", "efi_rts", "efi_crash_gracefully", "efi_mm", *_SWITCH)


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


@dataclass(frozen=True)
class Scene:
    """A fault, and what else the log tells: the map of its machine (if any), who started the kernel, its options."""

    oops: Oops
    map: MemoryMap | None = None
    command_line: str = ""

    @property
    def mode(self) -> PagingMode | None:
        """Four levels, or five where CR4 says so; None for a 32-bit kernel."""
        if not self.oops.wide:
            return None
        return LONG5 if self.oops.registers.get("CR4", 0) & CR4_LA57 else LONG4

    @property
    def in_efi(self) -> bool:
        """Whether an EFI call was under way, by the trace, the message or the function that was running."""
        names = (*self.oops.trace, self.oops.symbol)
        return "firmware" in self.oops.kind or any(word in name for name in names for word in _EFI_WORDS)

    @property
    def in_switch(self) -> bool:
        """Whether that was the call of SetVirtualAddressMap."""
        return any(word in name for name in self.oops.trace for word in _SWITCH)

    @property
    def unnamed(self) -> bool:
        """Whether the instruction was neither user code nor the kernel's: no symbol, and not at a kernel's address."""
        ip = self.oops.ip
        if ip is None or self.oops.symbol or self.oops.by_user:
            return False
        return 0xFFF < ip < (LOWER_HALF if self.oops.wide else KERNEL_OF_I386) or ip in EFI_VA

    @property
    def by_firmware(self) -> bool:
        """Whether the instruction was the firmware's: in its code segment or mapping, or during an EFI call."""
        if "firmware" in self.oops.kind:
            return True
        placed = self.oops.wide and self.oops.selector == _KERNEL32_CS
        return self.unnamed and (placed or self.in_efi or self.oops.ip in EFI_VA)

    @property
    def absent(self) -> bool:
        """Whether the page was not mapped, as the error code says."""
        code = self.oops.error_code
        return code is not None and not code & _PROTECTION

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
        return self.lines(*(f"trace {name}" for name in self.oops.trace if any(word in name for word in words)))


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
    level = next((each for each in mode.levels if each.name == name), mode.levels[0] if name == "p4d" else None)
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
            yield Finding(f"a {scene.oops.access}, by the kernel's own bookkeeping of memory", scene.lines("access"))
        return
    who = "user code" if code & _USER else "the kernel or firmware"
    why = "that the entries forbid" if code & _PROTECTION else "of a page that is not mapped"
    why = "through an entry with a reserved bit set" if code & _RESERVED else why
    why = "of a page that is another's in the table of SEV-SNP (RMP)" if code & _RMP else why
    yield Finding(f"error code {code:#06x}: a {access(scene.oops)} by {who} {why}", scene.lines("error_code"))


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
        state = "empty" if not entry else "not present, though other bits are set: something hid the page"
        yield Finding(f"the walk ended at {name}[{index}], which is {state}", lines)
    elif scene.absent and mode is LONG4 and name != "pte" and not Entry(entry).flags.count("PS"):
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
    if address is None or address >= LOWER_HALF:
        return
    if address < 0x1000:
        yield Finding("the address is that of a NULL pointer, or a few bytes behind it", scene.lines("address"))
    elif scene.map is not None:
        told = " and ".join(_regions(scene.map, address)) or "in no region of the map"
        yield Finding(f"taken as a physical address it lies {told}", scene.lines("address"))


def _regions(found: MemoryMap, address: int) -> list[str]:
    words = [
        f"in what e820 calls {E820_WORDS.get(e.type, f'type {e.type}')} ({e.start:#x} to {e.end:#x})"
        for e in found.kernel_e820
        if e.start <= address < e.end
    ]
    for d in found.descriptors:
        if d.physical_start <= address < d.end and "no EFI map was told" not in " ".join(found.notes):
            known = d.type in set(EfiMemoryType)
            kind = EfiMemoryType(d.type).name.removeprefix("Efi") if known else f"type {d.type:#x}"
            words.append(f"in EFI's {kind} ({d.physical_start:#x} to {d.end:#x})")
    return words


_Answer = tuple[str, tuple[Finding, ...], str, str]


def _cause(scene: Scene) -> _Answer:
    """The cause, the sentences that say why, the notebook's section and the command that shows it."""
    for asked in _CAUSES:
        answer = asked(scene)
        if answer:
            return answer
    because = []
    if scene.array and scene.by_firmware:
        register = f"{scene.array[0]} + {ATTRIBUTE_OFFSET:#x}"
        words = f"{register} is the address, as where firmware reads an array's first Attribute"
        slot = (
            "; but the slot was lent: it is not the bug of 2012"
            if scene.oops.entries and scene.oops.entries[0][1]
            else ""
        )
        because.append(Finding(words + slot, scene.lines(scene.array[0], "address", "entries")))
    if scene.in_efi:
        lines = scene.trace_lines(_EFI_WORDS) or (scene.oops.line,)
        because.append(
            Finding("an EFI call was under way, and it is none of the faults that are explained here", lines)
        )
    else:
        words = "nothing in it names EFI: it is none of the faults that are explained here"
        because.append(Finding(words, (scene.oops.line,)))
    return "none of these", tuple(because), "", ""


def _bug_of_2012(scene: Scene) -> _Answer | None:
    """Firmware reads the array in a slot that the kernel did not lend: the top-level entry is empty."""
    one, array = scene.oops, scene.array
    slot, _, _ = _walk_end(scene)
    empty = bool(one.entries) and one.entries[0] == ("pgd", 0)
    reads = access(one) == "read" and scene.absent
    if not (slot and slot < 256 and empty and reads and scene.unnamed and (scene.in_switch or array)):
        return None
    because = []
    if scene.in_switch:
        because.append(Finding("the call trace is that of SetVirtualAddressMap", scene.trace_lines(_SWITCH)))
    if array:
        words = f"{array[0]} + {ATTRIBUTE_OFFSET:#x} is the address: the first Attribute of an array at {array[1]:#x}"
        because.append(Finding(words, scene.lines(array[0], "address")))
    sure = (
        "this is the bug of 2012" if scene.in_switch else "the numbers are those of the bug of 2012; no trace says so"
    )
    words = f"{sure}: firmware reads the array in slot {slot}, and the kernel had lent it the slots below only"
    because.append(Finding(words, scene.lines("entries", "error_code", "ip")))
    place = array[1] if array else (one.address or 0) - ATTRIBUTE_OFFSET
    ram = next((size for size in RAM_SIZES if place + LINE // 2 < size << 40), None)
    command = f"efimm run --kernel 3.5 --ram {ram}T --buffer {place:#x} --explain" if ram else ""
    return "bug of 2012", tuple(because), "notebook 04, Which slot does the pointer need?", command


def _kpti_with_old_map(scene: Scene) -> _Answer | None:
    """A fetch through a top-level entry with NX: isolation sets it in the user half, which old_map borrows."""
    one = scene.oops
    fetch = scene.in_efi and _forbidden_fetch(scene)
    if not (fetch and one.entries and one.entries[0][1] & NX and (one.address or 0) < LOWER_HALF):
        return None
    because = (
        Finding("NX is set in the top-level entry, so nothing under it may be executed", scene.lines("entries")),
        Finding("page-table isolation (KPTI) sets it there, and the old mapping borrows that half", scene.lines("ip")),
    )
    return "KPTI with old_map", because, "notebook 10, Who is helped by what", "efimm compare --ram 1T --kpti"


def _nx_on_runtime_code(scene: Scene) -> _Answer | None:
    """A fetch of firmware code that a lower entry forbids."""
    one = scene.oops
    if not (_forbidden_fetch(scene) and scene.in_efi and any(entry & NX for _, entry in one.entries[1:])):
        return None
    name = next(name for name, entry in one.entries if entry & NX)
    because = (
        Finding(
            f"NX is set in the {name} entry of firmware code, and the fetch goes there", scene.lines("entries", "ip")
        ),
        Finding("an EFI call was under way", scene.trace_lines(_EFI_WORDS)),
    )
    return "NX on runtime code", because, "notebook 02, Rights: every level has a say", ""


def _forbidden_fetch(scene: Scene) -> bool:
    code = scene.oops.error_code or 0
    return bool(code & _FETCH and code & _PROTECTION)


def _kaslr_with_old_map(scene: Scene) -> _Answer | None:
    """The old mapping on a kernel that moves its direct map: the slots that are borrowed are those of other memory."""
    words = scene.command_line.split()
    old_map = any(word.startswith("efi=") and "old_map" in word for word in words)
    version = scene.oops.kernel.split(".")
    moved = "nokaslr" not in words and len(version) > 1 and version[0].isdigit() and int(version[0]) >= 5
    if not (scene.in_efi and scene.absent and old_map and moved and (scene.oops.address or 0) < LOWER_HALF):
        return None
    says = "efi=old_map is on the command line and nokaslr is not: the slots that are borrowed may be of other memory"
    command = "efimm compare --ram 1T --kaslr 0xffff8c7000000000"
    return "KASLR with old_map", (Finding(says, scene.lines("kernel")),), "notebook 10, Who is helped by what", command


def _after_kexec(scene: Scene) -> _Answer | None:
    """A second kernel without the identity map that the firmware still uses."""
    booted = scene.map.booted_by if scene.map else ""
    options = [w for w in scene.command_line.split() if w.startswith(("elfcorehdr=", "acpi_rsdp=", "kexec_jump"))]
    second = booted == "kexec" or bool(options)
    if not (second and scene.in_efi and scene.absent and 0xFFF < (scene.oops.address or 0) < LOWER_HALF):
        return None
    words = "a kernel that kexec started calls the firmware, and the address it uses is not mapped 1:1"
    because = (Finding(words, scene.lines("address", "error_code")),)
    return "no identity map after kexec", because, "notebook 09, What the second kernel has to know", ""


def _boot_services_late(scene: Scene) -> _Answer | None:
    """Firmware goes on using memory that it gave back with ExitBootServices."""
    address = scene.oops.address
    if not (scene.by_firmware and scene.map and address is not None and 0xFFF < address < LOWER_HALF):
        return None
    if scene.in_switch:
        return None
    given_back = [words for words in _regions(scene.map, address) if "usable" in words or "BootServices" in words]
    given_back += [words for words in _regions(scene.map, address) if "ConventionalMemory" in words]
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
