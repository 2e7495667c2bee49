"""What a real kernel did, beside what the model says that it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ...linux import Kernel
from .changes import Change
from .facts import Facts, differing, facts
from .prediction import nearest_kernel, predict
from .told import Told


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
            "run_by": told.run_by,
            "recorded": told.recorded or None,
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


def _plain(found: Facts) -> dict[str, Any]:
    plain = asdict(found)
    plain["one_to_one"] = [[each.va, each.end, each.pa, each.rights] for each in found.one_to_one]
    return plain
