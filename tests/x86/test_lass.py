"""Linear-address-space separation: the half of an address decides before any table is looked at (SDM 3A, recalled)."""

import pytest

import efimm
from efimm.trace import Trace
from efimm.x86 import Cpu, GeneralProtection, PhysMemory
from efimm.x86.cpu import CR4_LASS, CR4_SMAP

LOW, HIGH = 0x1000, 0xFFFF_8000_0000_1000


def processor(cr4, cpl=0):
    """Both halves are mapped, for user and supervisor, to one page."""
    memory = PhysMemory()
    for table, index in ((0x10000, 0), (0x10000, 256), (0x11000, 0), (0x12000, 0), (0x13000, 1)):
        memory.write(table + 8 * index, (0x2000 if table == 0x13000 else table + 0x1000 | 7).to_bytes(8, "little"))
    memory.write(0x13008, (0x2007).to_bytes(8, "little"))
    cpu = Cpu(memory, Trace())
    cpu.write_cr3(0x10000)
    cpu.write_cr4(cpu.cr4 | cr4)
    cpu.cpl = cpl
    return cpu


@pytest.mark.parametrize(
    ("cr4", "cpl", "ac", "what", "va", "refused"),
    [
        (CR4_LASS | CR4_SMAP, 0, False, "read", LOW, True),
        (CR4_LASS | CR4_SMAP, 0, True, "read", LOW, False),
        (CR4_LASS, 0, False, "read", LOW, False),
        (CR4_LASS, 0, False, "fetch", LOW, True),
        (CR4_LASS, 0, False, "read", HIGH, False),
        (CR4_LASS, 3, False, "read", HIGH, True),
        (CR4_LASS, 3, False, "read", LOW, False),
        (0, 3, False, "read", HIGH, False),
    ],
)
def test_the_half_of_the_address_decides(cr4, cpl, ac, what, va, refused):
    cpu = processor(cr4, cpl)
    cpu.ac = ac

    def access():
        return cpu.fetch(va) if what == "fetch" else cpu.read(va, 8)

    if refused:
        with pytest.raises(GeneralProtection, match="LASS"):
            access()
    else:
        access()


def test_7_3_puts_lass_back_after_the_call():
    linux = efimm.run(efimm.machine("4G"), "7.3").linux
    linux.cpu.write_cr4(linux.cpu.cr4 | CR4_LASS | CR4_SMAP)
    with linux.kernel.efi_call_virt(linux):
        assert not linux.cpu.cr4 & CR4_LASS
    assert linux.cpu.cr4 & CR4_LASS
