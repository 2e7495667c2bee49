"""The thread's claims: quoted as they stand in the messages, tried by running, and able to come out otherwise."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import efimm
from efimm import locks
from efimm.claims import CLAIMS, overview, report
from efimm.linux import Linux
from efimm.linux.state import Mm

THREAD = Path(__file__).parents[2] / "shared" / "facts" / "lkml-thread-2012-06.txt"
BY_NAME = {claim.name: claim for claim in CLAIMS}
V3_5, HPA_SYNC = efimm.KERNELS["3.5"], efimm.KERNELS["hpa-sync"]
each_claim = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)


@each_claim
def test_the_words_stand_in_the_message_of_that_time(claim):
    if not THREAD.exists():
        pytest.skip(f"{THREAD} is not here: the quotation is not compared")
    messages = re.split(r"^(?=2012-06-2\d \d\d:\d\d:\d\d$)", THREAD.read_text(encoding="utf-8"), flags=re.MULTILINE)
    message = next(text for text in messages if text.startswith(claim.when))
    said = " ".join(message.replace("> ", "").split())
    for part in re.split(r"\s*\[[^]]*\]\s*", claim.words):
        assert part in said
    assert claim.who.split(",")[0] in said


@each_claim
def test_a_claim_is_tried_and_told_in_72_columns(claim):
    found = claim.find()
    assert found.verdict in ("true", "false", "in part")
    assert bool(found.where) == (found.verdict == "in part")
    assert any(letter.isdigit() or letter in "-:" for letter in found.evidence)
    for text in (report(claim, found), overview([(claim, found)])):
        assert max(map(len, text.splitlines())) <= 72


def listed(linux: Linux) -> None:
    """The trampoline with everything, and on the list."""
    HPA_SYNC.setup_real_mode(linux)
    linux.pgd_list.add(Mm(linux.trampoline_pgd, linux.pgd_list.make_lock("a lock", linux.trace)))


OTHERWISE = {
    "early-range": {"3.5": HPA_SYNC},
    "not-accessible": {"3.5": HPA_SYNC},
    "documentation": {"va-patch": HPA_SYNC},
    "a-bug": {"3.5": HPA_SYNC},
    "platform": {"hpa-sync": V3_5},
    "usable": {"hpa-sync": V3_5},
    "offset": {"hpa-offset": V3_5},
    "walk-pgd-list": {"3.5": replace(V3_5, sync_global_pgds=lambda *_: None)},
    "user-half": {"3.5": HPA_SYNC},
    "unconditionally": {"3.5": replace(V3_5, for_each_mm=lambda linux: linux.pgd_list)},
    "pae-shares": {"3.5": replace(V3_5, i386=HPA_SYNC.i386)},
    "ad-hoc": {"3.5": HPA_SYNC},
    "not-on-the-list": {"3.5": HPA_SYNC},
    "list-insufficient": {"3.5": replace(HPA_SYNC, setup_real_mode=listed)},
    "every-context": {"3.5": replace(V3_5, sync_global_pgds=lambda *_: None)},
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_another_kernel_gives_another_finding(name):
    before, after = BY_NAME[name].find(), BY_NAME[name].find({**efimm.KERNELS, **OTHERWISE[name]})
    assert (after.verdict, after.where) != (before.verdict, before.where)


@pytest.mark.parametrize("name", ["mm-lock-for-xen", "irqs-off", "not-for-xen"])
def test_other_locks_give_another_finding(name, monkeypatch):
    same = dict.fromkeys(locks.HISTORIES, locks.HISTORIES["a79e53d8"])
    before = BY_NAME[name].find()
    monkeypatch.setattr("efimm.claims.locks.HISTORIES", same)
    assert BY_NAME[name].find().verdict != before.verdict
