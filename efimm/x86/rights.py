"""What an access may do, and the error code of the page fault where it may not (SDM 3A, 4.6 and 4.7, recalled)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

READ, WRITE, FETCH = "read", "write", "fetch"

# The bits of a page fault's error code; Linux's names.
PF_PROT, PF_WRITE, PF_USER, PF_RSVD, PF_INSTR = 1, 2, 4, 8, 16


class Rights(Protocol):
    """What all levels of a translation allow together: a walk and a cached translation both say it."""

    @property
    def writable(self) -> bool:
        """RW at every level."""

    @property
    def user(self) -> bool:
        """US at every level."""

    @property
    def executable(self) -> bool:
        """NX at no level."""


class Request(NamedTuple):
    """One access: its kind, who asks (`user`: CPL 3), and the processor's switches that bear on it.

    `smap` is CR4.SMAP while EFLAGS.AC does not suspend it.
    """

    kind: str = READ
    user: bool = False
    wp: bool = True
    nxe: bool = True
    smep: bool = False
    smap: bool = False

    def allowed_by(self, rights: Rights) -> bool:
        """True when the access may go on."""
        if self.user and not rights.user:
            return False
        if not self.user and rights.user and (self.smep if self.kind == FETCH else self.smap):
            return False
        if self.kind == WRITE:
            return rights.writable or not (self.user or self.wp)
        return self.kind == READ or rights.executable

    def error_code(self, problem: str) -> int:
        """The error code when a walk ended with `problem`, or without one and the access is not allowed."""
        code = PF_PROT if problem != "not present" else 0
        code |= PF_RSVD if problem == "reserved bit" else 0
        code |= PF_WRITE if self.kind == WRITE else 0
        code |= PF_USER if self.user else 0
        return code | (PF_INSTR if self.kind == FETCH and (self.nxe or self.smep) else 0)
