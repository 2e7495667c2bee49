"""What a real kernel did, beside what the model says that it does; and the tables of both moments, to be kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...linux import Kernel
from ...x86 import LONG5
from ...x86.tablefile import save_tables
from ..host import qemu_version
from .changes import Change
from .facts import Facts, differing, facts
from .prediction import nearest_kernel, predict
from .told import Told

CONSOLE_FILE = "console.txt"


@dataclass(frozen=True)
class KernelJudgement:
    """What was told, the facts of it, and the model's; `model` is None where the model could not be asked (`why_not`).

    Both are None for a kernel that made no call.
    """

    told: Told
    kernel: Kernel
    real: Facts | None
    model: Facts | None
    why_not: str = ""

    @cached_property
    def differences(self) -> list[str]:
        """The names of the facts in which the two differ."""
        return differing(self.real, self.model) if self.real and self.model else []

    @property
    def agree(self) -> bool:
        """True when both sides spoke and said the same."""
        return self.model is not None and not self.differences

    @property
    def run_by(self) -> str:
        """QEMU's version and the firmware's file."""
        return f"{qemu_version()}, {self.told.guest.firmware.code}"

    def summary(self) -> dict[str, Any]:
        """Everything as plain data, the object that `efimm judge --linux --json` prints; addresses are integers."""
        told, guest = self.told, self.told.guest
        found: dict[str, Any] = {
            "release": guest.kernel.release,
            "kernel": self.kernel.name,
            "ram": guest.ram,
            "array": guest.array or None,
            "vendor": guest.vendor,
            "command_line": guest.command_line,
            "verdict": told.verdict,
            "reached": told.reached,
            "changes": list(told.changes),
            "run_by": self.run_by,
            "seconds": round(told.seconds, 1),
        }
        if told.call and told.answer and self.real:
            fault, own = told.answer.fault, told.answer.own
            found |= {
                "buffer_pa": told.call.array_pa,
                "pointer": told.call.pointer,
                "cr3": told.call.moment.cr3,
                "own_cr3": own.cr3 if own else None,
                "fault": fault and asdict(fault),
                "real": _plain(self.real),
            }
        return found | {
            "model": _plain(self.model) if self.model else None,
            "why_no_model": self.why_not or None,
            "differences": self.differences,
            "agree": self.agree,
        }


def judge_kernel(told: Told, kernel: Kernel | None = None, changes: Sequence[Change] = ()) -> KernelJudgement:
    """Put the model's prediction for `kernel` (else for the nearest one) beside what was told."""
    record = kernel or nearest_kernel(told.guest.kernel.version)
    if told.call is None or told.answer is None:
        return KernelJudgement(told, record, None, None)
    real = facts(told.call, told.answer)
    try:
        return KernelJudgement(told, record, real, facts(*predict(told, record, changes)))
    except ValueError as error:  # a console that has lost lines, a machine that the model does not have
        return KernelJudgement(told, record, real, None, str(error))


def save(found: KernelJudgement, folder: Path) -> None:
    """Write the tables, the console and the summary into `folder`; the tables in the form of data/tables.

    Where a page was written between the two moments, the table at the call is the one that is kept.
    """
    told = found.told
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONSOLE_FILE).write_text(told.console, encoding="utf-8")
    if told.call is None or told.answer is None:
        return
    call, own = told.call.moment, told.answer.own
    roots = {"at_the_call": hex(call.cr3)} | ({"kernels_own": hex(own.cr3)} if own and own.cr3 != call.cr3 else {})
    about = {
        "title": f"Linux {told.guest.kernel.release} at its call of SetVirtualAddressMap",
        "source": f"stopped at the call by efimm judge --linux; {found.run_by}",
        "mode": "5level" if call.mode is LONG5 else "4level",
        "phys_bits": told.guest.phys_bits,
        "roots": roots,
        "call": found.summary(),
    }
    save_tables(folder, (own.tables if own else {}) | call.tables, about)


def _plain(found: Facts) -> dict[str, Any]:
    plain = asdict(found)
    plain["one_to_one"] = [[each.va, each.end, each.pa, each.rights] for each in found.one_to_one]
    return plain
