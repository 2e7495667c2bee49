"""The thread's claims: quoted as they stand in the messages, tried by running, and able to come out otherwise."""

import re
from dataclasses import replace

import pytest
from captures import NO_THREAD, THREAD

import efimm
from efimm import locks
from efimm.claims import CLAIMS, overview, report
from efimm.claims.pointer import not_mapped_to_itself
from efimm.linux.setup import write_real_mode_header
from efimm.linux.state import Mm

BY_NAME = {claim.name: claim for claim in CLAIMS}
V3_5, HPA_SYNC = efimm.KERNELS["3.5"], efimm.KERNELS["hpa-sync"]
each_claim = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
COMPARED = CLAIMS if THREAD.exists() else [pytest.param(None, id="none", marks=pytest.mark.skip(reason=NO_THREAD))]


@pytest.mark.parametrize("claim", COMPARED, ids=lambda claim: claim.name)
def test_the_words_stand_in_the_message_of_that_time(claim):
    messages = re.split(r"^(?=2012-06-2\d \d\d:\d\d:\d\d$)", THREAD.read_text(encoding="utf-8"), flags=re.MULTILINE)
    message = next(text for text in messages if text.startswith(claim.when))
    said = " ".join(message.replace("> ", "").split())
    for part in re.split(r"\s*\[[^]]*\]\s*", claim.words):
        assert part in said
    assert claim.who.split(",")[0] in said


@each_claim
def test_a_claim_is_tried_and_told_in_72_columns(claim):
    found = claim.find()
    assert found.verdict in ("true", "false", "in part", "opinion")
    assert bool(found.where) == (found.verdict == "in part")
    assert any(letter.isdigit() or letter in "-:" for letter in found.evidence)
    for text in (report(claim, found), overview([(claim, found)])):
        assert max(map(len, text.splitlines())) <= 72


def listed(linux):
    """The trampoline with everything, and on the list."""
    HPA_SYNC.setup_real_mode(linux)
    linux.pgd_list.add(Mm(linux.trampoline_pgd, linux.pgd_list.make_lock("a lock", linux.trace)))


def seen_after_the_switch(linux):
    """3.5, but what is looked at begins behind the switch, when the firmware's code runs where it was moved to."""
    status = V3_5.efi_enter_virtual_mode(linux)
    linux.trace.events.clear()
    return status


OTHERWISE = {
    "early-range": {"3.5": HPA_SYNC},
    "not-accessible": {"3.5": HPA_SYNC},
    "documentation": {"va-patch": HPA_SYNC},
    "virtual-mode": {"3.5": replace(V3_5, efi_enter_virtual_mode=seen_after_the_switch)},
    "a-bug": {"3.5": HPA_SYNC},
    "platform": {"hpa-sync": V3_5},
    "32-bit-addressable": {"hpa-sync": replace(HPA_SYNC, setup_real_mode=write_real_mode_header)},
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
    assert (after.verdict, after.where) != (before.verdict, before.where) or after.verdict == "opinion"
    assert after.evidence != before.evidence


@pytest.mark.parametrize("name", ["mm-lock-for-xen", "irqs-off", "not-for-xen"])
def test_other_locks_give_another_finding(name, monkeypatch):
    same = dict.fromkeys(locks.HISTORIES, locks.HISTORIES["a79e53d8"])
    before = BY_NAME[name].find()
    monkeypatch.setattr("efimm.claims.locks.HISTORIES", same)
    assert BY_NAME[name].find().verdict != before.verdict


def test_an_opinion_is_told_as_one():
    found = BY_NAME["offset"].find()
    assert found.verdict == "opinion"
    assert found.evidence == "hpa-offset: success; 3.5: refused EFI_UNSUPPORTED"


def test_paging_is_not_uefis_virtual_mode():
    found = BY_NAME["virtual-mode"].find()
    assert (found.verdict, found.where) == ("in part", "as paging, on x86_64")


def test_the_platform_is_3_5s():
    """v3.4.4 has trampoline_level4_pgt inside trampoline_64.S; arch/x86/realmode came with 3.5."""
    assert BY_NAME["platform"].find().where == "from 3.5 on, which has real_mode_header"


def test_the_documentation_is_judged_on_named_firmware():
    found = BY_NAME["documentation"].find()
    assert found.verdict == "false"
    assert found.evidence.startswith("edk2: success; ")
    assert found.evidence.endswith("This rests on firmware checks-pointer (inferred: none is known) and 32-bit edk2")


def test_a_claim_says_what_a_success_of_its_evidence_leans_on():
    """Given a kernel that leans on nothing of the kind, the line is another; without a success there is none."""
    documentation = BY_NAME["documentation"]
    text = report(documentation, documentation.find())
    assert "leans on  va-patch relies on pgd[" in text
    assert "own-table" in text.partition("leans on")[2]

    hpas = documentation.find({**efimm.KERNELS, "va-patch": HPA_SYNC}).leans
    assert "own-table" not in hpas
    assert "leans on" not in report(documentation, documentation.find({**efimm.KERNELS, "va-patch": V3_5}))


def with_a_device_above_all_ram(ram):
    """A machine whose UEFI memory map has one GiB of memory-mapped I/O at 16 TiB."""
    plain = efimm.machine(ram).map
    device = efimm.uefi.EfiMemoryDescriptor(11, 1 << 44, 0, 1 << 18, 1 << 63 | 1)
    return efimm.machine(map=replace(plain, descriptors=(*plain.descriptors, device)))


def test_the_bug_is_looked_for_in_the_memory_that_the_uefi_map_defines(monkeypatch):
    """A device above all RAM belongs to it as well: hpa's map, made of RAM, leaves it out."""
    made = efimm.machine("4G"), with_a_device_above_all_ram("4G")
    missing = [not_mapped_to_itself(efimm.boot(each, HPA_SYNC)) for each in made]
    assert missing[1] - missing[0] == 1 << 30

    told = [BY_NAME["a-bug"].find().evidence]
    monkeypatch.setattr("efimm.claims.pointer.machine", with_a_device_above_all_ram)
    told.append(BY_NAME["a-bug"].find().evidence)
    assert [514, 515] == [int(evidence.split(" GiB of the UEFI memory map not mapped 1:1")[0]) for evidence in told]
