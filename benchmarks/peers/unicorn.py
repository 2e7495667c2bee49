"""Unicorn: the MMU of an emulated processor, asked through `uc_vmem_translate`.

The Python class does not have this call, the library that it loads does.  Unicorn wants memory behind every page that
it translates to, so the RAM beyond the image is an anonymous mapping that nobody touches.
"""

from __future__ import annotations

import ctypes
import mmap
from importlib import import_module

from ..image import Image
from .peer import Peer, Translate

_MAP_NORESERVE = 0x4000  # Linux; the mmap module names it from Python 3.13 on
_EFER, _LME_LMA_NXE = 0xC000_0080, 0xD00
_PE_ET_WP_PG, _PAE = 0x8001_0011, 0x20
_RW, _READ = 3, 1


def load(image: Image) -> Translate:
    """A processor in long mode whose physical memory is the image itself."""
    unicorn, const = import_module("unicorn"), import_module("unicorn.x86_const")
    ram = int(image.leaves.pa.max()) + (1 << 30)
    beyond = mmap.mmap(-1, ram - len(image.memory), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    uc.ctl_set_tlb_mode(unicorn.UC_TLB_CPU)
    uc.mem_map_ptr(0, len(image.memory), _RW, _address(image.memory))
    uc.mem_map_ptr(len(image.memory), len(beyond), _RW, _address(beyond))
    uc.reg_write(const.UC_X86_REG_CR4, _PAE)
    uc.reg_write(const.UC_X86_REG_CR3, image.root)
    uc.reg_write(const.UC_X86_REG_MSR, (_EFER, _LME_LMA_NXE))
    uc.reg_write(const.UC_X86_REG_CR0, _PE_ET_WP_PG)
    call = import_module("unicorn.unicorn_py3.unicorn").uclib.uc_vmem_translate
    call.argtypes = (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)
    call.restype = ctypes.c_int
    found = ctypes.c_uint64()

    def translate(vas: list[int], _kept: object = (uc, beyond)) -> list[int | None]:
        handle, place = uc._uch, ctypes.byref(found)
        return [found.value if call(handle, va, _READ, place) == 0 else None for va in vas]

    return translate


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


PEER = Peer("unicorn", "uc_vmem_translate by ctypes", 40, load)
