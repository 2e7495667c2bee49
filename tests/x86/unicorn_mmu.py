"""An independent MMU: a processor of Unicorn's, which descends from QEMU's x86 emulation, in any paging mode.

What unicorn 2.1.4 cannot do, and what is done about it:

* It tells no error code; the vector and CR2 are all that is compared of a fault.
* It has 40 physical address bits, whatever memory is mapped.
* After an exception the next one would be a double fault: the context is restored before each access.
* It caches translations, and does not see a changed table: CR3 is written before each access.
* A write to the CS register does not change the privilege level: user code is entered by IRET.
* It sets the accessed bit of a 1 GiB page's entry before it looks at rights and reserved bits; the manual does not say
  that an access which is refused sets it.  This bit is not compared then.
* PDPTEs are not latched, and a bad one is a page fault, not the #GP of a load of CR3: none is made here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest

from efimm.x86 import LEGACY, LEGACY_4K, LONG4, LONG5, PAE

unicorn = pytest.importorskip("unicorn", reason="unicorn is not installed: no independent MMU to compare with")
x86 = pytest.importorskip("unicorn.x86_const", reason="unicorn was built without x86")

PHYSICAL_BITS = 40
ROOT, POOL, CODE_TABLES, CODE = 0x1_0000, 0x1_1000, 0x3_0000, 0x3_8000
LOW_MEMORY = 0x4_0000
DATA_SIZE = 2 << 20
MAGIC = 0x1122_3344_5566_7788
READ, WRITE, FETCH = "read", "write", "fetch"

CR0_WP = 1 << 16
CR4_PSE, CR4_PAE, CR4_PGE, CR4_LA57, CR4_SMEP, CR4_SMAP = 1 << 4, 1 << 5, 1 << 7, 1 << 12, 1 << 20, 1 << 21
EFER_NXE, AC = 1 << 11, 1 << 18
CR4 = {LEGACY_4K: 0, LEGACY: CR4_PSE, PAE: CR4_PAE, LONG4: CR4_PAE, LONG5: CR4_PAE | CR4_LA57}

# Where the code of an access lies in its page, and the segments that IRET needs.
_STACK, _GDT = 0x800, 0xC00
_KERNEL_DATA, _USER_DATA, _USER_CODE = 0x10, 0x1B, 0x23

# Every 8 bytes of data are an instruction that puts their own number into eax, so both a read and a fetch tell the
# physical address: mov eax, n; jmp $; nop.  The jump keeps the decoder from running ahead into the next page.
PATTERN = b"".join(b"\xb8" + n.to_bytes(4, "little") + b"\xeb\xfe\x90" for n in range(DATA_SIZE // 8))


def is_long(mode):
    return mode in (LONG4, LONG5)


def data_of(mode):
    """Where the data lies: at 768 GiB, no single bit away from low memory, and where 4-byte entries can reach it."""
    return 0x6000_0000 if mode.entry_bytes == 4 else 0xC0_0000_0000


def code_va(mode):
    """The first address of the last top-level entry, which the tests leave alone; the page after it is for users."""
    top = 64 if is_long(mode) else 32
    return (1 << top) - mode.levels[0].span


@dataclass(frozen=True)
class Switches:
    """The bits of the control registers that bear on rights, and EFLAGS.AC."""

    wp: bool = True
    nxe: bool = True
    smep: bool = False
    smap: bool = False
    ac: bool = False


@dataclass(frozen=True)
class Found:
    """How an access went: the vector of the exception (0 for none), CR2 with a page fault, the physical address."""

    vector: int
    cr2: int | None = None
    pa: int | None = None


class Mmu:
    """A processor of Unicorn's in one paging mode.  Its tables are bytes in its memory."""

    def __init__(self, mode, switches):
        self.mode, self.switches, self.word = mode, switches, 8 if is_long(mode) else 4
        registers = ("RAX", "RCX", "RSP") if is_long(mode) else ("EAX", "ECX", "ESP")
        self._ax, self._cx, self._sp = (getattr(x86, f"UC_X86_REG_{name}") for name in registers)
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64 if is_long(mode) else unicorn.UC_MODE_32)
        self.uc.ctl_set_cpu_model(x86.UC_CPU_X86_ICELAKE_SERVER)
        self.uc.ctl_set_tlb_mode(unicorn.UC_TLB_CPU)
        self.uc.mem_map(0, LOW_MEMORY)
        self.uc.mem_map(data_of(mode), DATA_SIZE)
        self.uc.mem_write(data_of(mode), PATTERN)
        self._map_code()
        self._set_registers()
        self.faults = []
        self.nowhere = []
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        self.uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._no_memory)
        self._clean = self.uc.context_save()

    def write_entry(self, pa, entry):
        self.uc.mem_write(pa, entry.to_bytes(self.mode.entry_bytes, "little"))

    def access(self, kind, va, user):
        """What becomes of one access; `rax` has what was read, or what the code that was fetched put there."""
        self.uc.context_restore(self._clean)
        self.uc.reg_write(x86.UC_X86_REG_CR3, ROOT)
        self.uc.reg_write(self._cx, va)
        self.uc.reg_write(self._ax, MAGIC % (1 << 8 * self.word))
        self.faults.clear()
        self.nowhere.clear()
        at, count = code_va(self.mode) + self._offsets[kind], 2 if kind == FETCH else 1
        if user:
            self._push_for_iret(at + 4096)
            at, count = code_va(self.mode) + self._offsets["iret"], count + 1
        try:
            self.uc.emu_start(at, 0, count=count)
        except unicorn.UcError:
            if not self.nowhere:
                raise
            return Found(0, pa=self.nowhere[0])
        if self.faults:
            vector, cr2 = self.faults[0]
            return Found(vector, cr2=cr2 if vector == 14 else None)
        return Found(0)

    @property
    def rax(self):
        return int(self.uc.reg_read(self._ax)) & (1 << 8 * self.word) - 1

    @property
    def cpl(self):
        return int(self.uc.reg_read(x86.UC_X86_REG_CS)) & 3

    def _map_code(self):
        """One page of code, mapped twice: for the kernel, and behind that for users."""
        wide = "48" if is_long(self.mode) else ""
        code = {READ: f"{wide}8b01", WRITE: f"{wide}8901", FETCH: "ffe1", "iret": f"{wide}cf"}
        self._offsets, at = {}, 0
        for name, opcodes in code.items():
            self._offsets[name] = at
            self.uc.mem_write(CODE + at, bytes.fromhex(opcodes))
            at += 16
        size = self.mode.entry_bytes
        tables = [ROOT, *(CODE_TABLES + 4096 * number for number in range(len(self.mode.levels) - 1))]
        for level, table, below in zip(self.mode.levels, tables, [*tables[1:], CODE], strict=True):
            index = (1 << level.bits) - 1 if table == ROOT else 0
            self.write_entry(table + size * index, below | (7 if level.has_rights else 1))
        self.write_entry(tables[-1], CODE | 3)
        self.write_entry(tables[-1] + size, CODE | 7)
        flags = 0x20_0000_0000_0000 if is_long(self.mode) else 0x40_0000_0000_0000
        segments = (0, 0x0080_9B00_0000_FFFF | flags | 0xF << 48, 0x00CF_9300_0000_FFFF, 0x00CF_F300_0000_FFFF)
        user_code = 0x0080_FB00_0000_FFFF | flags | 0xF << 48
        self.uc.mem_write(CODE + _GDT, struct.pack("<5Q", *segments, user_code))

    def _set_registers(self):
        s, write = self.switches, self.uc.reg_write
        nxe = s.nxe and self.mode.entry_bytes == 8
        write(x86.UC_X86_REG_CR4, CR4[self.mode] | CR4_PGE | s.smep * CR4_SMEP | s.smap * CR4_SMAP)
        write(x86.UC_X86_REG_CR3, ROOT)
        write(x86.UC_X86_REG_MSR, (0xC000_0080, (0x501 if is_long(self.mode) else 0) | nxe * EFER_NXE))
        write(x86.UC_X86_REG_CR0, 0x8000_0033 | s.wp * CR0_WP)
        write(x86.UC_X86_REG_GDTR, (0, code_va(self.mode) + _GDT, 0x27, 0))
        if not is_long(self.mode):  # the stack of the first moment has 16 bits
            write(x86.UC_X86_REG_SS, _KERNEL_DATA)
        write(x86.UC_X86_REG_EFLAGS, 2 | s.ac * AC)

    def _push_for_iret(self, target):
        """A stack from which IRET goes on at `target` in user mode."""
        stack = code_va(self.mode) + _STACK
        frame = (target, _USER_CODE, 2 | self.switches.ac * AC, stack, _USER_DATA)
        self.uc.mem_write(CODE + _STACK, struct.pack("<5Q" if is_long(self.mode) else "<5I", *frame))
        self.uc.reg_write(self._sp, stack)

    def _interrupt(self, _uc, vector, _data):
        self.faults.append((vector, self.uc.reg_read(x86.UC_X86_REG_CR2)))
        self.uc.emu_stop()

    def _no_memory(self, _uc, _kind, pa, _size, _value, _data):
        self.nowhere.append(pa)
        return False
