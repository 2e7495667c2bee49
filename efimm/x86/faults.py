"""The two exceptions of a memory access: the page fault, and general protection."""

from __future__ import annotations

from .pagewalk import Step, Walk


class PageFault(Exception):
    """The processor's #PF: `cr2`, `error_code`, and the `walk` that ended without translation or without the right."""

    def __init__(self, found: Walk, kind: str, error_code: int) -> None:
        super().__init__(found, kind, error_code)
        self.walk, self.kind, self.error_code = found, kind, error_code

    @property
    def cr2(self) -> int:
        """The linear address that could not be accessed."""
        return self.walk.va

    @property
    def last(self) -> Step:
        """The step at which the walk ended."""
        return self.walk.steps[-1]

    @property
    def level(self) -> str:
        """The level of the entry at which the walk ended: "pgd", "p4d", "pud", "pmd" or "pte"."""
        return self.last.level.name

    @property
    def index(self) -> int:
        """The index of that entry in its table."""
        return self.last.index

    def __repr__(self) -> str:
        return f"<PageFault: {self}>"

    def __str__(self) -> str:
        reason = self.walk.problem or f"does not allow the {self.kind}"
        return f"page fault at {self.cr2:#x}: {self.level}[{self.index}] {reason} (error code {self.error_code:#x})"


class GeneralProtection(Exception):
    """The processor's #GP(0): an address that is not canonical, or a control register value that it refuses.

    `va` is the address, None for a register.  Such an access never becomes a page fault.
    """

    def __init__(self, reason: str, va: int | None = None) -> None:
        super().__init__(reason, va)
        self.reason, self.va = reason, va

    def __str__(self) -> str:
        return f"general protection fault: {self.reason}"
