"""The model's prediction and the firmware's answer, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..uefi import EfiStatus
from ..x86.cpu import PF_PROT, PF_RSVD
from .guest import Guest
from .handover import Handover
from .request import Prediction, Question
from .testimony import FAULTED, NOT_TRIED, SEEN_OTHER, SEEN_TAG, Finding, Reply, Testimony

PAGE_FAULT = 14


@dataclass(frozen=True, slots=True)
class Side:
    """One side's account of the call.  What does not apply is None; `slot` is the top-level entry that CR2 uses.

    `moved` are the distances by which pointers in the runtime services table moved, each once, and how many moved.
    """

    verdict: str
    status: int | None
    cr2: int | None
    error_code: int | None
    slot: int | None
    second_call: int | None
    pointers_moved: int
    moved_by: tuple[int, ...]
    get_time: int | None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A probe at which processor and model differ: what was predicted, and what was found."""

    predicted: Prediction
    found: Finding


@dataclass(frozen=True)
class Judgement:
    """A question, both answers to it, and where they differ.

    `to_probe` and `probed` count probes: wanted, and tried.  `run_by` names QEMU and the firmware.  `recorded` is the
    day on which the firmware said it all; "" where it has just done so.
    """

    guest: Guest
    question: Question
    testimony: Testimony
    model: Side
    firmware: Side
    mismatches: tuple[Mismatch, ...]
    to_probe: int
    probed: int
    run_by: str
    seconds: float
    recorded: str = ""

    @property
    def differences(self) -> list[str]:
        """The names of the things on which model and firmware do not agree; empty when they agree on all."""
        fields = Side.__dataclass_fields__
        different = [name for name in fields if getattr(self.model, name) != getattr(self.firmware, name)]
        if self.mismatches or self.probed != self.to_probe:
            different.append("probes")
        return different

    @property
    def agree(self) -> bool:
        """True when model and firmware say the same of everything."""
        return not self.differences

    @property
    def rip(self) -> int | None:
        """Where in the firmware the faulting instruction is: a physical address, since that is how it is called.

        None without a fault.  The model's firmware lies elsewhere, so there is nothing to compare it with.
        """
        trap = self.testimony.call.trap if self.testimony.call else None
        return trap.rip if trap else None

    def summary(self) -> dict[str, Any]:
        """The judgement as plain data, the object that `efimm judge --json` prints; addresses are integers."""
        handover = self.question.handover
        return {
            "kernel": handover.outcome.linux.kernel.name,
            "ram": self.guest.ram,
            "vendor": self.guest.vendor,
            "arch": handover.machine.arch,
            "highest_ram": handover.machine.highest_ram,
            "buffer_pa": handover.array_pa,
            "pointer": handover.outcome.pointer,
            "cr3": handover.call.cr3,
            "model": side_summary(self.model),
            "firmware": side_summary(self.firmware),
            "services": {name: reply.status for name, reply in self.testimony.services.items()},
            "rip": self.rip,
            "probes": self.probed,
            "mismatches": len(self.mismatches),
            "differences": self.differences,
            "agree": self.agree,
            "run_by": self.run_by,
            "recorded": self.recorded or None,
            "seconds": round(self.seconds, 1),
        }


def side_summary(side: Side) -> dict[str, Any]:
    """One side as plain data."""
    return {name: getattr(side, name) for name in Side.__dataclass_fields__}


def judge(guest: Guest, question: Question, said: Testimony, run_by: str, seconds: float) -> Judgement:
    """Compare what the model predicted with what the firmware has just said."""
    pairs = zip(question.predictions, said.findings, strict=False)
    mismatches = tuple(Mismatch(want, got) for want, got in pairs if not fits(want, got))
    model, firmware = predicted(question.handover), answered(said, question.handover)
    wanted, tried = len(question.predictions), len(said.findings)
    return Judgement(guest, question, said, model, firmware, mismatches, wanted, tried, run_by, seconds)


def predicted(handover: Handover) -> Side:
    """The model's account."""
    outcome = handover.outcome
    fault, status = outcome.fault, outcome.status
    return Side(
        verdict=outcome.verdict,
        status=None if status is None else int(status),
        cr2=None if fault is None else fault.cr2,
        error_code=None if fault is None else fault.error_code,
        slot=None if fault is None else handover.call.mode.levels[0].index(fault.cr2),
        second_call=handover.second_call,
        pointers_moved=len(handover.moved),
        moved_by=tuple(sorted(set(handover.moved))),
        # the model's kernel calls GetTime after a success, and a verdict of "success" says that it worked
        get_time=int(EfiStatus.EFI_SUCCESS) if outcome.verdict == "success" else None,
    )


def answered(said: Testimony, handover: Handover) -> Side:
    """The firmware's account.  A call that came to no end counts as neither a status nor a fault."""
    mode, call = handover.call.mode, said.call or Reply(None, None, {})
    fault = call.trap if call.trap and call.trap.vector == PAGE_FAULT else None
    return Side(
        verdict=_verdict(said, handover.switches),
        status=call.status,
        cr2=None if fault is None else fault.cr2,
        error_code=None if fault is None else fault.error_code,
        slot=None if fault is None else mode.levels[0].index(fault.cr2),
        second_call=_status(said.second_call),
        pointers_moved=len(said.moved),
        moved_by=tuple(sorted(set(said.moved))),
        get_time=_status(said.services.get("GetTime")),
    )


def _status(reply: Reply | None) -> int | None:
    return None if reply is None else reply.status


def _verdict(said: Testimony, switches: bool) -> str:
    """The words of efimm.run.Outcome, from what the real firmware did; "no answer" where the guest died."""
    call, time = said.call, said.services.get("GetTime")
    if not switches and said.complete:
        return "success" if time is not None and time.good else "wrong-memory"
    if call is None or (call.status is None and call.trap is None):
        return "no answer"
    if call.trap is not None:
        return "page-fault" if call.trap.vector == PAGE_FAULT else "wrong-memory"
    if call.status:
        return "refused"
    return "success" if said.moved and time is not None and time.good else "wrong-memory"


def as_in_the_manual(access: int) -> int:
    """An access as QEMU numbers it, with the present bit in the error code of a reserved-bit fault.

    QEMU leaves it out since 7.2 (target/i386/tcg/sysemu/excp_helper.c, at do_fault_rsvd; seen in our own probes).  The
    manual wants both bits (Intel SDM, volume 3A, 4.7): without P=1 no reserved bit would have been looked at.
    """
    reserved = access & FAULTED and access >> 8 & 0xFF == PAGE_FAULT and access & PF_RSVD
    return access | PF_PROT if reserved else access


def fits(want: Prediction, got: Finding) -> bool:
    """True when the processor found what the model said: the same frame, the same rights, the same fault."""
    tried = [(want.read, got.read)]
    if got.write != NOT_TRIED:
        tried += [(want.write, got.write), (want.fetch, got.fetch)]
    if any(mine != as_in_the_manual(its) for mine, its in tried):
        return False
    if got.read & FAULTED:
        return want.pa is None and got.cr2_offset == 0
    if got.seen == SEEN_TAG:
        return want.pa == want.va + got.offset & (1 << 64) - 1
    return got.seen != SEEN_OTHER
