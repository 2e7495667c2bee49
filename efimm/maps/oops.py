"""Page faults that Linux has printed: oopses of every form since 2.6, and the firmware's faults of 5.x and later.

Sources: show_fault_oops, dump_pagetable and __die (arch/x86/mm/fault.c, arch/x86/kernel/dumpstack.c): v2.6.32 and v3.5
print `BUG: unable to handle kernel paging request at`, `IP:`, `PGD ... PTE` and `Oops: 0000`; since v5.1 (5.7.14 read)
`BUG: unable to handle page fault for address:`, `#PF:` and `PGD ... P4D ...`.  efi_crash_gracefully_on_page_fault
(arch/x86/platform/efi/quirks.c, v5.7) prints `Page fault caused by firmware at PA`, where the number is the address
that faulted, whatever its name.  2.6.9 to 2.6.18 print `Unable to handle kernel paging request at`, on i386 `at virtual
address`, with `printing eip:` behind it (recalled).  Several lines make one fault; each number is kept with the line
that it came from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .errors import printable
from .signs import architecture, marked

MOST_OOPSES = 64
MOST_FRAMES = 64
MOST_LINES = 400  # behind its first line, an oops has ended by then

MARKS = (
    *("nable to handle", "NULL pointer deref", "caused by firmware", "user-memory-access", "at addr ", "IP:"),
    *("IP is at", "IP  [", "IP 0", "PML4", "PGD", "P4D", "PUD", "PMD", "PTE", "*pd", "*pte", "Oops: ", "#PF: "),
    *("Bad pagetable: ", "Call Trace", "+0x", ">{", "tainted", "Tainted", "Hardware name: ", "end trace", "Code: "),
    *("AX:", "BX:", "CX:", "DX:", "SI:", "DI:", "SP:", "BP:", "CR2:", "CR3:", "CR4:", "eax: ", "esi: "),
    *("R08:", "R09:", "R10:", "R11:", "R12:", "R13:", "R14:", "R15:", "</TASK>", "Workqueue: "),
    # what begins another report, without an end of this one
    *("general prot", "soft lockup", "hard LOCKUP", "WARNING: ", "kernel BUG at", "invalid opcode", "double fault"),
    *("rcu: INFO", "cut here", "blocked for more"),
    # what other architectures print
    *("NIP", "Faulting instr", "abort info", "ESR = ", "pc ", "psr : ", "epc ", "era ", "TPC: ", "PSW : "),
    "Internal err",
)

BEGINNINGS = (
    *("nable to handle", "NULL pointer deref", "caused by firmware", "BUG: ", "Bug]: Page", "Corrupted page"),
    *("Oops: ", "#PF: ", "Bad pagetable: ", "early exception "),  # where the first lines have scrolled off the screen
)

_HEX = r"(?:0x)?([0-9a-f]{1,16}|\(null\))(?!\w)"
_PAGE_FAULT = re.compile(
    r"(?:unable to handle (?:kernel )?(?:paging request|page fault|NULL pointer dereference)|"
    r"kernel NULL pointer dereference|Corrupted page table)"
    r"(?:[ ,]{0,4}(?:at virtual address|at address|at|for address:?|address:))?(?: {1,40}" + _HEX + r")?",
    re.IGNORECASE,
)
# The first words of a fault, of which a mailer has put the rest on the next line.
_CUT = re.compile(
    r"(?:BUG: (?:unable|kernel|KASAN:)|[Uu]nable to handle|Bug\]: Page|Corrupted page)(?: (?:to|handle|kernel|paging|"
    r"request|page|fault|for|NULL|pointer|dereference|table|at|virtual|address|caused|by|firmware|in|"
    r"user-memory-access|null-ptr-deref|wild-memory-access)){0,10}$"
)
# Registers and words of the oopses of POWER, arm64, ARM, ia64, SPARC, RISC-V, MIPS, LoongArch, Alpha and s390.
_FOREIGN = re.compile(
    r"\bNIP(?::| \[)|Faulting instruction address|Mem abort info|\bESR = 0x|\b(?:pc|psr|epc|era) {1,3}[:=] |\bTPC: |"
    r"\bPSW : |Internal error: "
)
_FIRMWARE = re.compile(r"Page fault caused by firmware at PA: ?(?:0x([0-9a-f]{1,16}))?[\"'.,)]{0,4}$")
_KASAN = re.compile(r"BUG: KASAN: (user-memory-access|null-ptr-deref|wild-memory-access)[^\n]{0,20} in (\S{1,80})")
_KASAN_AT = re.compile(r"(Read|Write) of size [0-9]{1,6} at addr (?:0x)?([0-9a-f]{1,16})\b")
_ADDRESS_ALONE = re.compile(
    r"^(?:\W{0,60}\[[ 0-9.T\]\[]{0,60}\] {0,9})?[^\w(]{0,60}(?:(?:for )?address: {0,9}|at {1,40}(?:virtual address )?)?"
    r"(?:0x)?([0-9a-f]{8,16}|\(null\))\s*$"
)
_BEFORE_ADDRESS = re.compile(r"^\W{0,60}(?:at|for|address:|for address:)\s*$")
_IP = re.compile(
    r"(?<![A-Z])[RE]?IP(?: is at|:)? +(?:([0-9a-f]{4}):)?(?:\[<([0-9a-f]{8,16})>\] *)?(?:\[<[0-9a-f]{8,16}>\] *)?"
    r"(\S{0,100})"
)
_ENTRIES = re.compile(r"\b(PGD|P4D|PUD|PMD|PTE) ([0-9a-f]{1,16})\b(?!:)")
# Each level may be on a line of its own: 4.9 to 4.13 (public logs of 4.9 and 4.13; the ends recalled), i386 before
# 2.6.24 (recalled), and where a mailer wrapped them.
_NEXT_LEVEL = re.compile(r"(?:^[\W_]{0,80}|\] {1,8}|\bkernel: {1,8})(P4D|PUD|PMD|PTE|\*pde|\*pte) ")
_FRONT = re.compile(r"^[\s>|]*(?:\[[ 0-9.]{1,20}\] )?\s*")  # of a line that goes on
_LABEL_ALONE = re.compile(
    r"\b(PGD|P4D|PUD|PMD|PTE|(?:[RE][A-Z]{2}|R[01][0-9]|CR[0-4]|IP):|[Tt]ainted|"
    r"R?IP: {1,4}(?:[0-9a-f]{4}:)?\[<[0-9a-f]{8,16}>\](?: {1,4}\[<[0-9a-f]{8,16}>\])?)\s*$"
)
_I386_ENTRIES = re.compile(r"\*(pdpt|pde|pte) = ([0-9a-f]{1,16})")
_OOPS = re.compile(r"(?:Oops: (?:Oops: )?|Bad pagetable: )([0-9a-f]{4,8}) \[#?[0-9]{1,4}\](.{0,80})")
_PF_CODE = re.compile(r"#PF: error_code\(0x([0-9a-f]{1,8})\)")
_PF_WORDS = re.compile(r"#PF: (?:supervisor|user) (?:(read|write) access|instruction (fetch))")
_REGISTERS = re.compile(
    r"\b([RE][A-D]X|[RE][SD]I|[RE][SB]P|R[01][0-9]|CR[0-4]|e[a-d]x|e[sd]i|e[sb]p): ([0-9a-f]{8,16})\b"
)
_FRAME = re.compile(
    r"(?:\[<[0-9a-f]{8,16}>\] *)?(\? +)?(?<![\w.])([A-Za-z_][\w.]{1,100})\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}"
)
_FRAME_BY_HAND = re.compile(r"^[^\w?]{0,20}(\? +)?([a-z]\w{0,60}_\w{1,60})(?:\(\))?\s*$")
_EARLY = re.compile(
    r"early exception (?:0x)?0?e (?:rip|IP) (?:[0-9a-f]{1,4}:)?([0-9a-f]{1,16}) error (?:0x)?([0-9a-f]{1,8}) "
    r"cr2 (?:0x)?([0-9a-f]{1,16})"
)
_BRACES = re.compile(
    r"<([0-9a-f]{16})>\{(?::\w{1,60}:)?(\w[\w.]{0,99})\+([0-9]{1,8})\}"
)  # x86_64 until 2.6.17 (recalled)
_ANOTHER = re.compile(
    r"general protection fault|(?:soft lockup|hard LOCKUP) |WARNING: (?:CPU: |at )|kernel BUG at|invalid opcode: "
    r"|double fault: |rcu: INFO|\[ cut here \]|blocked for more than"
)
_KERNEL = re.compile(r"(?:[Tt]ainted:? )(?:[A-Z ]{0,40} )?#?([0-9]{1,2}\.[0-9]{1,3}[\w.+~-]{0,60})")
_MACHINE = re.compile(r"Hardware name: (\S.{0,199})")
_WORKQUEUE = re.compile(r"Workqueue: (\S.{0,100})")
# Until 3.9 the board stands behind the version: show_regs_common, arch/x86/kernel/process.c, v3.5.
_BOARD = re.compile(r"[Tt]ainted:? (?:[A-Z ]{0,40} )?[0-9]{1,2}\.[0-9]{1,3}[\w.+~-]{0,60} #\S{1,40} (\S.{0,199})")
_HANDLERS = ("efi_crash_gracefully_on_page_fault", "efi_recover_from_page_fault")  # they print the warning


@dataclass
class Oops:
    """One fault as it was printed; `lines` has the number of the line that each thing was read from.

    `kind` is "page fault", "firmware page fault" or "KASAN report"; `address` is what was accessed; `entries` are the
    levels and entries of the walk as printed, from the top; `trace` the functions, those included that are printed with
    `?` as they may be left over on the stack, whose places are in `left_over`; `symbol` what the instruction pointer
    was called, "" for an address that has no symbol;
    `access` is the word for it of KASAN, who prints no error code, or of a `#PF:` line.
    """

    kind: str
    line: int
    address: int | None = None
    ip: int | None = None
    symbol: str = ""
    error_code: int | None = None
    access: str = ""
    entries: list[tuple[str, int]] = field(default_factory=list)
    registers: dict[str, int] = field(default_factory=dict)
    trace: list[str] = field(default_factory=list)
    left_over: set[int] = field(default_factory=set)
    kernel: str = ""
    machine: str = ""
    workqueue: str = ""
    flags: str = ""
    lines: dict[str, int] = field(default_factory=dict)
    ended: bool = False
    waiting: str = ""  # a word of which the number was wrapped onto the next line
    head: str = ""  # the first words of a fault that ends there: the next line shows whether it is one
    selector: int = 0  # CS, as printed before the instruction pointer
    narrow: bool = False  # what only a 32-bit kernel prints was read
    in_trace: bool = False
    typed: bool = False  # a frame or the head of the trace was the last line: a name typed by hand may follow
    of_the_map: bool = True  # whether the map beside it is of the same boot, or machine

    @property
    def wide(self) -> bool:
        """Whether the kernel was a 64-bit one."""
        return not (self.narrow or any(name.startswith("E") for name in self.registers))

    @property
    def by_user(self) -> bool:
        """Whether user code was running, as the error code or the privilege in CS says."""
        return bool((self.error_code or 0) & 4) or self.selector & 3 == 3

    @property
    def told(self) -> bool:
        """Whether there is more than words about a fault, as prose has them, too."""
        of_a_kernel = self.kind != "page fault" or self.entries or self.registers or self.error_code is not None
        return bool(of_a_kernel or self.head) or self.address is not None or self.ip is not None

    @property
    def bare(self) -> bool:
        """Whether nothing but the first line was there, as in the title of a report."""
        told = self.entries or self.registers or self.trace or self.error_code is not None or self.ip is not None
        return self.kind == "page fault" and not told

    @property
    def printed(self) -> tuple[object, ...]:
        """What tells one printing of a fault from another fault."""
        return self.kind, self.address, self.ip, self.error_code, self.entries, self.registers

    def note(self, what: str, line: int) -> bool:
        """Whether `what` is told for the first time; its line is kept."""
        return self.lines.setdefault(what, line) == line


def distinct(oopses: list[Oops]) -> list[Oops]:
    """The faults of which more than words is told, each once: not again as a quotation, nor as a headline alone."""
    kept: list[Oops] = []
    for one in oopses:
        others = [each for each in oopses if each is not one and each.address == one.address and not each.bare]
        again = any(each.printed == one.printed for each in kept)
        if one.told and not again and not (one.bare and others):
            kept.append(one)
    return kept


def concerns(line: str, oopses: list[Oops]) -> bool:
    """Whether `line` can begin a fault, or belong to the one that is being read: the question asked of every line."""
    goes_on = bool(oopses) and not oopses[-1].ended
    # For what a mailer has put on the next line, and names typed by hand, where no word says what it is.
    if goes_on and (oopses[-1].waiting or oopses[-1].head or oopses[-1].typed):
        return True
    return marked(line, MARKS if goes_on else BEGINNINGS)


def read(line: str, oopses: list[Oops], number: int) -> None:
    """Put what `line` says of a fault into `oopses`: it begins one, or belongs to the last that has not ended."""
    if _begins_wrapped(line, oopses, number) or _begins(line, oopses, number, number):
        return
    one = oopses[-1] if oopses and not oopses[-1].ended else None
    if one is None:
        return
    if number > one.line + MOST_LINES or "---[ end trace" in line or _another(line, one):
        one.ended = True
        return
    if ">{" in line:
        line = _BRACES.sub(lambda found: f"[<{found[1]}>] {found[2]}+{int(found[3]):#x}/0x0", line)
    if one.waiting and not line.strip(" >|"):
        return
    if _foreign(line) and not (one.registers or one.entries):
        oopses.pop()
        _end_last(oopses)
        return
    if one.waiting and one.waiting != "address":
        line, one.waiting = f"{one.waiting} {_FRONT.sub('', line)}", ""
    if "PML4 " in line:  # 2.6.9: the top level, and PGD the one below
        line = line.replace("PGD ", "PUD ").replace("PML4 ", "PGD ")
    _read_address(line, one, number)
    _read_walk(line, one, number)
    _read_registers(line, one, number)
    _read_trace(line, one, number)
    if wrapped := _LABEL_ALONE.search(line):
        one.waiting = wrapped[1]


def _begins_wrapped(line: str, oopses: list[Oops], number: int) -> bool:
    """Whether `line` has the rest of the words that the last line began, or is a blank one between them."""
    if not (oopses and oopses[-1].head):
        return False
    if not line.strip(" >|"):
        return True
    cut = oopses.pop()
    return _begins(f"{cut.head} {line.lstrip(' >|')}", oopses, cut.line, number)


def _begins(line: str, oopses: list[Oops], first: int, number: int) -> bool:
    """Whether a fault begins at line `first`, of which `line` is all up to line `number`."""
    line = line.rstrip()
    if (early := _EARLY.search(line)) and len(oopses) < MOST_OOPSES:
        oopses.append(_early(early, first))
        return True
    kinds = (("page fault", _PAGE_FAULT), ("firmware page fault", _FIRMWARE), ("KASAN report", _KASAN))
    kind, found = next(((kind, found) for kind, pattern in kinds if (found := pattern.search(line))), ("", None))
    cut = _CUT.search(line)
    if found is None and not cut and _code_of_another(line, oopses):
        begun = Oops("page fault", first)
        oopses.append(begun)
        return False  # the line is read as one of the fault's own
    if cut and (found is None or "Unable" in found[0] or "virtual" in found[0] or line.endswith("virtual")):
        begun = Oops("firmware page fault" if "Bug]" in cut[0] else "page fault", first, head=cut[0])
    elif found is None:
        return False
    elif kind == "page fault" and not _of_x86(found):
        _end_last(oopses)  # what follows is another machine's
        return True
    else:
        begun = _begun(kind, found, first, number)
    if len(oopses) < MOST_OOPSES:
        oopses.append(begun)
    return True


def _code_of_another(line: str, oopses: list[Oops]) -> bool:
    """Whether `line` has the error code of a fault of which no line was read: those before it are lost."""
    if len(oopses) >= MOST_OOPSES or "Internal error: " in line:  # which is ARM's
        return False
    open_one = oopses[-1] if oopses and not oopses[-1].ended else None
    if _OOPS.search(line):
        return open_one is None or bool(open_one.flags)
    return open_one is None and bool(_PF_CODE.search(line) or _PF_WORDS.search(line))


def _another(line: str, one: Oops) -> bool:
    """Whether another report begins, such as a lockup's: what follows is no longer of this fault."""
    return one.kind != "firmware page fault" and bool(_ANOTHER.search(line))


def _early(found: re.Match[str], number: int) -> Oops:
    """A fault before there are handlers, all on one line (early_idt_handler, arch/x86/kernel/head_64.S, v3.5)."""
    one = Oops("page fault", number, address=int(found[3], 16), ip=int(found[1], 16), error_code=int(found[2], 16))
    for what in ("address", "ip", "error_code"):
        one.note(what, number)
    return one


def _of_x86(found: re.Match[str]) -> bool:
    """Whether x86 prints these words: with `virtual address` only i386 does, and `Unable` has its address behind it."""
    words, address, rest = found[0], found[1], found.string[found.end() :]
    if "virtual address" in words:  # elsewhere it has 16 digits, or MIPS's registers behind it
        return address is not None and len(address) == 8 and not rest.startswith(",")
    return not words.startswith(("Unable", "Kernel NULL")) or (address is not None and words[0] == "U")


def _foreign(line: str) -> bool:
    """Whether only the oops of another architecture has this line, by its registers or by its kernel's name."""
    named, _ = architecture(line[line.index("ainted") :]) if "ainted" in line else ("", False)
    return named not in ("", "x86") or bool(_FOREIGN.search(line))


def _end_last(oopses: list[Oops]) -> None:
    if oopses:
        oopses[-1].ended = True


def _begun(kind: str, found: re.Match[str], first: int, number: int) -> Oops:
    one = Oops(kind, first, narrow="virtual address" in found[0])
    if kind == "KASAN report":
        one.symbol = found[2].partition("+")[0]
        one.note("symbol", number)
    elif found[1]:
        one.address = _number(found[1])
        one.note("address", number)
    else:
        one.waiting = "address"
    return one


def _number(word: str) -> int:
    """The number that `word` is; Linux has printed `(null)` for 0."""
    return 0 if word == "(null)" else int(word, 16)


def _read_address(line: str, one: Oops, number: int) -> None:
    if one.waiting == "address" and not _BEFORE_ADDRESS.search(line):
        one.waiting = ""
        if found := _ADDRESS_ALONE.search(line):
            one.address = _number(found[1])
            one.note("address", number)
    if one.kind == "KASAN report" and one.address is None and (found := _KASAN_AT.search(line)):
        one.address, one.access = int(found[2], 16), found[1].lower()
        one.note("address", number)
        one.note("access", number)


def _read_walk(line: str, one: Oops, number: int) -> None:
    """The entries, the error code, and where the instruction was."""
    if _goes_on(line, one) if one.entries else "PGD " in line or "*pd" in line:
        one.entries += [(name.lower(), int(entry, 16)) for name, entry in _ENTRIES.findall(line)]
        one.entries += [(name, int(entry, 16)) for name, entry in _I386_ENTRIES.findall(line)]
        if one.entries:
            one.note("entries", number)
            one.narrow |= any(name in ("pdpt", "pde") for name, _ in one.entries)
    if one.error_code is None and (found := _PF_CODE.search(line) or _OOPS.search(line)):
        one.error_code = int(found[1], 16)
        one.note("error_code", number)
    if not one.access and (found := _PF_WORDS.search(line)):
        one.access = found[1] or found[2]
        one.note("access", number)
    if (found := _OOPS.search(line)) and not one.flags:
        one.flags = found[2].strip()
        one.note("flags", number)
    if "IP" in line and not one.symbol and (found := _IP.search(line)):
        _take_ip(found, one, number)


def _goes_on(line: str, one: Oops) -> bool:
    """Whether the line is the rest of a walk, with a level that was not told yet."""
    found = _NEXT_LEVEL.search(line)
    return found is not None and found[1].lower().lstrip("*") not in dict(one.entries)


def _take_ip(found: re.Match[str], one: Oops, number: int) -> None:
    """The instruction pointer: a number, a symbol, or both; i386 prints the symbol on a line of its own."""
    selector, place, word = found.groups()
    name = word.partition("+")[0] if "+0x" in word else ""
    bare = re.fullmatch(r"0x[0-9a-f]{1,16}|[0-9a-f]{16}|\(null\)", word)
    if name in _HANDLERS or not (place or bare or name):
        return
    ip = int(place, 16) if place else _number(word) if bare else None
    if one.ip is None:
        one.ip = ip
        one.narrow |= len(place or "") == 8  # a 64-bit kernel prints all sixteen digits
        one.note("ip", number)
    if ip in (None, one.ip):  # else it is that of a caller, such as the user's in a trace
        one.selector = one.selector or int(selector or "0", 16)
        one.symbol = name
        one.note("symbol" if name else "ip", number)


def _read_registers(line: str, one: Oops, number: int) -> None:
    # Before the instruction pointer of a firmware's fault stand the registers of the function that warns of it.
    others = one.kind == "firmware page fault" and one.ip is None
    for name, value in _REGISTERS.findall(line):
        if (name.startswith("CR") or not others) and one.note(name.upper(), number):
            one.registers[name.upper()] = int(value, 16)
    if one.address is None and not one.waiting and "CR2" in one.registers:  # its first line is lost
        one.address = one.registers["CR2"]
        one.lines["address"] = one.lines["CR2"]
    if not one.kernel and (found := _KERNEL.search(line)):
        one.kernel = found[1]
        one.note("kernel", number)
    if not one.machine and (found := _MACHINE.search(line) or ("ainted" in line and _BOARD.search(line)) or None):
        one.machine = printable(found[1].rstrip())
        one.note("machine", number)

    if not one.workqueue and (found := _WORKQUEUE.search(line)):
        one.workqueue = printable(found[1].rstrip())
        one.note("workqueue", number)


def _read_trace(line: str, one: Oops, number: int) -> None:
    if "Call Trace" in line:
        one.in_trace = True
        one.note("trace", number)
    elif one.in_trace and (_ends_trace(line) and one.kind != "firmware page fault"):
        one.in_trace = False
    if not one.in_trace or "RIP: " in line:
        one.typed = False
        return
    frames = [*_FRAME.finditer(line), *(_FRAME_BY_HAND.finditer(line) if one.typed else ())]
    one.typed = bool(frames) or "Call Trace" in line
    for found in frames[: MOST_FRAMES - len(one.trace)]:
        if found[1]:
            one.left_over.add(len(one.trace))
        one.trace.append(found[2])
        one.note(f"trace {found[2]}", number)


def _ends_trace(line: str) -> bool:
    """Whether `line` stands behind a trace; within one, only a warning has the code of the fault that it warns of."""
    return "Code: " in line or "</TASK>" in line or "RIP  [" in line
