"""A booted kernel's memory as a core file, with the note by which debuggers find its page tables.

Source: kernel/kexec.c (crash_save_vmcoreinfo_init) and arch/x86/kernel/machine_kexec_64.c, machine_kexec_32.c
(arch_crash_save_vmcoreinfo), v3.5.
"""

from __future__ import annotations

import os

from ..files import replacing
from ..x86 import PAE
from ..x86.elfcore import EM_386, EM_X86_64, saved_extents, write_core
from ..x86.memory import GIB, PAGE_SHIFT, PAGE_SIZE
from .layout import START_KERNEL_MAP
from .state import Linux, Linux32

NOTE = "VMCOREINFO"
MOST_BYTES = GIB


def vmcoreinfo(linux: Linux) -> str:
    """The VMCOREINFO text: those lines of the kernel's that the model can fill in.

    No structure's size or offset is in it, since the model has no C structures.  NUMBER(phys_base) is not in v3.5,
    which names the variable's address instead; later kernels and their debuggers know the number, and whether there are
    five levels (v6.1).
    """
    phys_base = linux.layout.phys_base
    table = START_KERNEL_MAP + linux.swapper_pg_dir.pa - phys_base
    lines = [f"OSRELEASE={linux.kernel.name}", f"PAGESIZE={PAGE_SIZE}"]
    if isinstance(linux, Linux32):
        lines.append(f"SYMBOL(swapper_pg_dir)={linux.phys_to_virt(linux.swapper_pg_dir.pa):x}")
        lines += ["CONFIG_X86_PAE=y"] if linux.layout.mode is PAE else []
    else:
        lines += [f"SYMBOL({name})={table:x}" for name in ("swapper_pg_dir", "init_level4_pgt")]
        lines.append(f"NUMBER(phys_base)={phys_base}")
        lines += ["NUMBER(pgtable_l5_enabled)=1"] if linux.layout.pgtable_l5_enabled else []
    return "".join(f"{line}\n" for line in lines)


def dump(linux: Linux, path: str | os.PathLike[str]) -> int:
    """Write all memory that the model has ever written to the file `path`, as an ELF core; how many bytes it has.

    A file that was there is replaced when the new one is complete.

    ValueError, and no file, when that is more than 1 GiB, as with the tables of many small pages.  Not in it:
    processors' registers (NT_PRSTATUS), and memory that nobody has written.
    """
    size = sum(count for _, count in saved_extents(linux.memory)) << PAGE_SHIFT
    if size > MOST_BYTES:
        raise ValueError(f"a dump of {size / GIB:.1f} GiB, most of it page tables: ask for larger pages or less RAM")
    machine = EM_386 if isinstance(linux, Linux32) else EM_X86_64
    with replacing(path) as file:
        return write_core(file, linux.memory, (NOTE, vmcoreinfo(linux)), machine, linux.phys_to_virt)
