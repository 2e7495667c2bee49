"""The control registers that paging depends on: their bits, the mode they choose, and the values that are refused.

Source: Intel SDM, volume 3A, sections 2.5 and 4.1 (recalled).
"""

from __future__ import annotations

from typing import NamedTuple

from .faults import GeneralProtection
from .modes import LEGACY, LEGACY_4K, LONG4, LONG5, PAE, PAGING_OFF, PagingMode

CR0_PE, CR0_WP, CR0_NW, CR0_CD, CR0_PG = (1 << bit for bit in (0, 16, 29, 30, 31))
CR4_PSE, CR4_PAE, CR4_PGE, CR4_LA57, CR4_SMEP, CR4_SMAP = 1 << 4, 1 << 5, 1 << 7, 1 << 12, 1 << 20, 1 << 21
CR4_LASS = 1 << 27
EFER_LME, EFER_LMA, EFER_NXE = 1 << 8, 1 << 10, 1 << 11


class Registers(NamedTuple):
    """CR0, CR4 and EFER together: they choose the paging mode."""

    cr0: int
    cr4: int
    efer: int

    @property
    def mode(self) -> PagingMode:
        """The paging mode that these registers choose."""
        if not self.cr0 & CR0_PG:
            return PAGING_OFF
        if not self.cr4 & CR4_PAE:
            return LEGACY if self.cr4 & CR4_PSE else LEGACY_4K
        if not self.efer & EFER_LME:
            return PAE
        return LONG5 if self.cr4 & CR4_LA57 else LONG4

    @property
    def nxe(self) -> bool:
        """True where bit 63 of an entry means no-execute; legacy paging has no such bit."""
        return bool(self.efer & EFER_NXE and self.cr4 & CR4_PAE)

    def refusal(self, new: Registers) -> str:
        """Why the processor answers the change to `new` with #GP; "" where it does not."""
        paging = self.cr0 & new.cr0 & CR0_PG
        if new.cr0 & CR0_PG and not new.cr0 & CR0_PE:
            return "CR0.PG needs CR0.PE"
        if paging and (self.efer ^ new.efer) & EFER_LME:
            return "EFER.LME changed while CR0.PG is set"
        if new.cr0 & CR0_PG and new.efer & EFER_LME and not new.cr4 & CR4_PAE:
            return "long mode needs CR4.PAE"
        if paging and new.efer & EFER_LME and (self.cr4 ^ new.cr4) & CR4_LA57:
            return "CR4.LA57 changed in long mode"
        return ""

    def with_lma(self) -> Registers:
        """The same, with EFER.LMA as the processor sets it: long mode is active while paging is on."""
        active = self.cr0 & CR0_PG and self.efer & EFER_LME
        return Registers(self.cr0, self.cr4, self.efer | EFER_LMA if active else self.efer & ~EFER_LMA)

    def forgets_all(self, new: Registers) -> bool:
        """True when the change to `new` makes the processor forget every translation, global ones too."""
        cr4 = (self.cr4 ^ new.cr4) & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57) | new.cr4 & ~self.cr4 & CR4_SMEP
        return bool(cr4 or (self.cr0 ^ new.cr0) & CR0_PG)

    def loads_pdptes(self, new: Registers) -> bool:
        """True when the change to `new` makes the processor load PAE's four first entries again (SDM 3A, 4.4.1)."""
        cr0, cr4 = CR0_CD | CR0_NW | CR0_PG, CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP
        return bool((self.cr0 ^ new.cr0) & cr0 or (self.cr4 ^ new.cr4) & cr4)


_BASE = CR0_PE | CR0_WP
_LONG = EFER_LME | EFER_LMA | EFER_NXE

# What an operating system has in the registers in each mode.
USUAL = {
    PAGING_OFF: Registers(_BASE, 0, 0),
    LEGACY_4K: Registers(_BASE | CR0_PG, CR4_PGE, 0),
    LEGACY: Registers(_BASE | CR0_PG, CR4_PSE | CR4_PGE, 0),
    PAE: Registers(_BASE | CR0_PG, CR4_PAE | CR4_PGE, EFER_NXE),
    LONG4: Registers(_BASE | CR0_PG, CR4_PAE | CR4_PGE, _LONG),
    LONG5: Registers(_BASE | CR0_PG, CR4_PAE | CR4_PGE | CR4_LA57, _LONG),
}


def check_cr3(value: int, mode: PagingMode, maxphyaddr: int) -> None:
    """Raise GeneralProtection where the processor does not take `value` for CR3."""
    limit = maxphyaddr if mode in (LONG4, LONG5) else 32
    if not 0 <= value < 1 << limit:
        raise GeneralProtection(f"CR3 = {value:#x} has bits beyond {limit - 1}")
