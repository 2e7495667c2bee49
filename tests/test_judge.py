"""Real firmware as the judge: what OVMF in QEMU answers, against what the model predicts.

The tests below "on real firmware" boot it, and are skipped where QEMU, OVMF or a C compiler is missing.  Where a number
is expected outright, it was measured with another program on the same firmware (our own runs, November 2026).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import efimm
from efimm import judges
from efimm.judges import build, firmware_map, guest, probes, request, testimony
from efimm.judges.handover import Handover, hand_over
from efimm.judges.judgement import Judgement, fits
from efimm.judges.tables import Tables, memory_of
from efimm.uefi import EfiStatus
from efimm.x86 import LONG4, PAE, PhysMemory, walk

ROOT = Path(__file__).parents[1]
GIB = 1 << 30
NX = 1 << 63
ALL = judges.named_cases()
BY_NAME = {case.name: case for case in ALL}
HIGH, SUCCESS_HIGH = BY_NAME["3.5, array above 512 GiB"], BY_NAME["hpa-sync, array above 512 GiB"]


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "efimm", "judge", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=200,
        env=os.environ | environment,
    )


# the question


@pytest.mark.parametrize("kernel", efimm.KERNELS)
@pytest.mark.parametrize("arch", ["x86_64", "i386"])
def test_a_watched_firmware_gives_the_outcome_of_an_unwatched_one(kernel, arch):
    machine = efimm.machine("1T" if arch == "x86_64" else "1G", arch=arch)

    assert hand_over(machine, kernel).outcome.summary() == efimm.run(machine, kernel).summary()


def test_what_is_handed_over_is_the_table_during_the_call_and_the_table_after_it():
    handover = hand_over(efimm.machine("256G"), "3.5")
    assert handover.after is not None
    during = walk(memory_of(handover.call.tables), handover.call.cr3, 0x1234000)
    after = walk(memory_of(handover.after.tables), handover.after.cr3, 0x1234000)

    assert (during.pa, after.pa) == (0x1234000, None)


def test_a_call_without_paging_hands_over_the_tables_that_wait_below_cr3():
    handover = hand_over(efimm.machine("1G", arch="i386-pae"), "3.5")

    assert not handover.call.paging
    assert handover.call.mode is PAE
    assert walk(memory_of(handover.call.tables), handover.call.cr3, 0x100_0000, PAE).pa == 0x100_0000


def test_too_many_tables_are_refused_in_one_line():
    with pytest.raises(ValueError, match="use larger pages"):
        hand_over(efimm.machine("1T", page_size="4K"), "3.5")


def test_every_gib_of_both_maps_has_a_probe_in_it():
    moment = hand_over(efimm.machine("768G"), "3.5").call
    vas = probes.addresses(moment.tables, moment.cr3, moment.mode)
    mapped = {va // GIB for va in vas if walk(memory_of(moment.tables), moment.cr3, va).pa is not None}

    assert set(range(4, 512)) <= mapped
    assert {0xFFFF_8800_0000_0000 // GIB + gib for gib in range(4, 770)} <= mapped


def test_both_sides_of_every_boundary_are_probed(chain):
    memory = PhysMemory()
    flags = 0x63
    for page in (3, 4, 6):  # 5 is empty, and 6 goes elsewhere
        chain(memory, page << 12, 0x2063, 0x3063, 0x4063, (page + 8 * (page == 6)) << 12 | flags)
    tables = {pa: memory.read(pa, 4096) for pa in range(0x1000, 0x5000, 0x1000)}
    vas = set(probes.addresses(tables, 0x1000, LONG4))

    assert {0x2FF8, 0x3000, 0x4FF8, 0x5000, 0x5FF8, 0x6000, 0x6FF8, 0x7000} <= vas
    assert {index << 39 for index in range(256)} <= vas
    assert {(1 << 47), (1 << 64) - (1 << 47) - 8} <= vas  # not canonical


def test_python_and_c_have_the_same_request():
    header = (build.SOURCES / "request.h").read_text()
    struct = re.search(r"struct request \{(.*?)\};", header, re.DOTALL)
    assert struct
    fields = re.findall(r"\w+(?=[,;])", re.sub(r"/\*.*?\*/", "", struct[1], flags=re.DOTALL))
    means = re.search(r"enum probe_means \{(.*?)\};", (build.SOURCES / "probe.h").read_text(), re.DOTALL)
    assert means

    assert len(fields) * 8 == request._HEADER.size
    assert f"{request.MAGIC:#x}".upper() in header.upper()
    assert re.findall(r"BY_\w+", means[1]) == ["BY_FAULT", "BY_TAG", "BY_CONTENT", "BY_PRESENCE"]
    assert f'"{guest.REQUEST_FILE}"' in header


def test_a_table_where_the_firmware_has_something_else_is_refused():
    handover = hand_over(efimm.machine("1T"), "3.5")
    descriptors = tuple(d for d in handover.machine.map.descriptors if d.physical_start < 1 << 32)
    known = firmware_map.FirmwareMap(descriptors, 0x1000, "test", 0)

    with pytest.raises(judges.JudgeError, match="where this firmware has no memory"):
        request.Question(handover, known, handover.call.tables, []).pack()


# the answer

WANT = probes.Prediction(va=0x5000, pa=0x9000, read=0, write=0, fetch=0x10E11)
GOT = testimony.Finding(read=0, write=0, fetch=0x10E11, seen=testimony.SEEN_TAG, offset=0x4000, cr2_offset=0)
FAULT = probes.Prediction(va=0x5000, pa=None, read=0x10E00, write=0x10E02, fetch=0x10E10)
FAULTED = testimony.Finding(read=0x10E00, write=0x10E02, fetch=0x10E10, seen=0, offset=0, cr2_offset=0)


def test_equal_findings_fit():
    assert fits(WANT, GOT)
    assert fits(FAULT, FAULTED)


def test_a_reserved_bit_fault_without_the_present_bit_is_qemus_and_no_other_code_is_mended():
    want = replace(FAULT, read=0x10E09, write=0x10E0B, fetch=0x10E19)
    qemu = replace(FAULTED, read=0x10E08, write=0x10E0A, fetch=0x10E18)

    assert fits(want, qemu)
    assert fits(want, replace(FAULTED, read=0x10E09, write=0x10E0B, fetch=0x10E19))
    assert not fits(want, FAULTED)
    assert not fits(FAULT, qemu)


@pytest.mark.parametrize(
    ("want", "got"),
    [
        (WANT, replace(GOT, offset=0x5000)),
        (WANT, replace(GOT, fetch=0)),
        (WANT, replace(GOT, write=0x10E03)),
        (WANT, replace(GOT, seen=testimony.SEEN_OTHER, write=testimony.NOT_TRIED, fetch=testimony.NOT_TRIED)),
        (WANT, FAULTED),
        (FAULT, GOT),
        (FAULT, replace(FAULTED, cr2_offset=8)),
        (FAULT, replace(FAULTED, read=0x10E08)),
    ],
)
def test_any_difference_is_a_mismatch(want, got):
    assert not fits(want, got)


LINES = """image base=0x1000 size=0x2000 word=0x4
firmware vendor=EDK_II revision=0x10000 system_table=0x7000
map size=0x30 descriptor_size=0x30 descriptor_version=0x1
region type=0x7 start=0x0 pages=0xa0 attribute=0xf
probes count=0x3 read=0x10e00 write=0x10e02 fetch=0x10e10 seen=0x0 offset=0x0 cr2=0x0
call status=0x0
second-call status=0x80000003
service name=GetTime vector=0xe error=0x2 cr2=0x8000000020 rip=0x99
done""".splitlines()


def test_lines_are_read():
    said = testimony.read_testimony(LINES)

    assert said.findings == (FAULTED,) * 3
    assert said.call is not None
    assert said.call.good
    assert said.second_call is not None
    assert said.second_call.status == EfiStatus.EFI_UNSUPPORTED
    assert said.services["GetTime"].trap == testimony.Trap(14, 2, 0x8000000020, 0x99)
    assert said.complete


def test_an_answer_that_breaks_off_is_no_success():
    said = testimony.read_testimony([*LINES[:4], "call"])

    assert said.call is not None
    assert (said.call.status, said.call.trap, said.complete) == (None, None, False)
    with pytest.raises(judges.JudgeError, match="region"):
        testimony.read_testimony(LINES[:3])


# the command


def test_what_is_missing_is_said_in_one_line_with_the_packages_that_bring_it(tmp_path):
    done = command(PATH=str(tmp_path))

    assert (done.returncode, done.stdout) == (2, "")
    assert 1 == len(done.stderr.splitlines())
    assert all(package in done.stderr for package in ("qemu-system-x86", "gcc", "binutils"))


@pytest.mark.parametrize("arguments", [["--map", "x"], ["--all", "--ram", "2T"], ["--vendor", "via"], ["--ram", "x"]])
def test_bad_input_gets_one_line_and_exit_status_2(arguments):
    done = command(*arguments)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


# on real firmware


@pytest.fixture(scope="module")
def firmware(tmp_path_factory) -> Iterator[None]:
    """Both firmwares and all tools, or a skip that says what is missing; built and learnt afresh, beside the user's."""
    try:
        for arch in ("x86_64", "i386"):
            judges.require(arch)
    except judges.NotInstalledError as missing:
        pytest.skip(str(missing))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def judged(firmware) -> dict[str, Judgement]:
    """Every case, put to the firmware once."""
    return {case.name: judgement for case, judgement in judges.ask_all(ALL)}


@pytest.mark.firmware
@pytest.mark.slow
@pytest.mark.parametrize("name", BY_NAME)
def test_model_and_firmware_agree(judged, name):
    found = judged[name]

    assert [] == found.differences, judges.judgement(found)
    assert found.testimony.complete
    assert len(found.testimony.findings) >= 1000


@pytest.mark.firmware
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "verdict", "fault"),
    [
        ("3.5, array above 512 GiB", "page-fault", "pointer"),
        ("va-patch, array above 512 GiB", "success", None),
        ("hpa-sync, array above 512 GiB", "success", None),
        ("3.5, last page below 512 GiB", "success", None),
        ("3.5, straddling 512 GiB", "page-fault", 0x80_0000_0000),
        ("3.5, AMD hole", "page-fault", "pointer"),
        ("va-patch, no direct map", "page-fault", "pointer"),
        ("3.5, i386", "success", None),
        ("va-patch, i386", "wrong-memory", None),
    ],
)
def test_the_firmware_answers_as_it_did_before(judged, name, verdict, fault):
    # measured with another program; CR2 is the pointer + 0x20, the Attribute of the first descriptor
    found = judged[name]
    pointer = found.question.handover.outcome.pointer

    assert found.firmware.verdict == verdict
    assert found.firmware.cr2 == (pointer + 0x20 if fault == "pointer" else fault)
    assert found.firmware.second_call == EfiStatus.EFI_UNSUPPORTED


@pytest.mark.firmware
@pytest.mark.slow
def test_the_array_lies_where_the_names_say(judged):
    def last_byte(name: str) -> int:
        handover = judged[name].question.handover
        return handover.array_pa + len(handover.array) - 1

    assert last_byte("3.5, last page below 512 GiB") >> 12 == (512 * GIB >> 12) - 1
    assert judged["3.5, AMD hole"].question.handover.array_pa >= 1 << 40
    assert judged["3.5, array above 512 GiB"].question.handover.array_pa >= 512 * GIB
    assert judged["3.5, array below 512 GiB"].question.handover.array_pa < 512 * GIB


@pytest.mark.firmware
@pytest.mark.slow
def test_on_ia32_a_kernel_address_is_a_success_in_which_nothing_was_converted(judged):
    wrong, right = judged["va-patch, i386"], judged["3.5, i386"]

    assert (wrong.firmware.status, wrong.firmware.pointers_moved) == (EfiStatus.EFI_SUCCESS, 0)
    assert (right.firmware.status, right.firmware.pointers_moved) == (EfiStatus.EFI_SUCCESS, 12)


@pytest.mark.firmware
@pytest.mark.slow
def test_after_a_success_every_service_works_through_the_kernels_tables(judged):
    good = [found for found in judged.values() if found.firmware.verdict == "success"]

    assert good
    for found in good:
        services = found.testimony.services
        assert [reply.status for reply in services.values()] == [0, 0, 0]
        assert services["GetVariable"].fields["value"] == "en"
        assert services["SetVariable"].fields["same"] == "0x1"


@pytest.mark.firmware
@pytest.mark.slow
def test_odd_entries_were_met(judged):
    found = judged["3.5, odd entries elsewhere"]
    pairs = zip(found.question.predictions, found.testimony.findings, strict=True)
    kinds = {(got.read, got.write, got.fetch) for want, got in pairs if 128 << 39 <= want.va < 160 << 39}

    assert {(0, 0, 0), (0, 0x10E03, 0), (0, 0, 0x10E11), (0x10E00, 0x10E02, 0x10E10)} <= kinds
    assert any(read in (0x10E08, 0x10E09) for read, _, _ in kinds)


def entry_changed(handover: Handover, va: int, depth: int, change) -> Tables:
    """The kernel's tables with one entry, that of `va` at a level, replaced by `change(entry)`."""
    call = handover.call
    step = walk(memory_of(call.tables), call.cr3, va, call.mode).steps[depth]
    page = bytearray(call.tables[step.table])
    page[8 * step.index : 8 * step.index + 8] = change(step.entry).to_bytes(8, "little")
    return {**call.tables, step.table: bytes(page)}


@pytest.mark.firmware
@pytest.mark.slow
def test_one_wrong_gib_is_caught_although_the_call_succeeds(firmware):
    va = 0xFFFF_8890_4000_0000
    found = judges.ask(
        SUCCESS_HIGH.case(), broken=lambda handover: entry_changed(handover, va, 1, lambda entry: entry - GIB)
    )

    assert found.firmware.verdict == "success"
    assert found.differences == ["probes"]
    assert {wrong.predicted.va // GIB for wrong in found.mismatches} == {va // GIB, 0x90_4000_0000 // GIB}


@pytest.mark.firmware
@pytest.mark.slow
def test_one_wrong_right_is_caught(firmware):
    va = 0xFFFF_8890_4000_0000
    found = judges.ask(HIGH.case(), broken=lambda handover: entry_changed(handover, va, 1, lambda entry: entry ^ NX))

    assert found.differences == ["probes"]
    assert {wrong.predicted.va // GIB for wrong in found.mismatches} == {va // GIB}
    assert {(wrong.predicted.fetch, wrong.found.fetch) for wrong in found.mismatches} == {(0x10E11, 0)}
    assert len(max(judges.judgement(found).splitlines(), key=len)) <= 72


@pytest.mark.firmware
@pytest.mark.slow
def test_a_missing_slot_changes_the_firmwares_answer(firmware):
    slot = hand_over(efimm.machine("768G"), "hpa-sync").outcome.pointer >> 39 << 39
    found = judges.ask(SUCCESS_HIGH.case(), broken=lambda handover: entry_changed(handover, slot, 0, lambda _: 0))

    assert (found.model.verdict, found.firmware.verdict) == ("success", "page-fault")
    assert {"verdict", "cr2", "status", "probes"} <= set(found.differences)
    assert not found.agree


@pytest.mark.firmware
@pytest.mark.slow
def test_a_map_that_is_no_longer_true_is_learnt_again(judged, monkeypatch):
    case = HIGH.case()
    known = firmware_map.learn(case.guest, timeout=60)
    stale = replace(known, descriptors=known.descriptors[1:])
    monkeypatch.setattr(firmware_map, "_load", lambda _: stale)

    found = judges.ask(case)
    assert found.question.firmware == known
    assert found.agree


@pytest.mark.firmware
def test_a_guest_that_takes_too_long_is_stopped(firmware):
    with pytest.raises(judges.JudgeError, match=r"no answer within 0\.3 seconds"):
        guest.boot(HIGH.case().guest, timeout=0.3)


@pytest.mark.firmware
def test_options_that_qemu_refuses_are_reported(firmware, tmp_path):
    nothing = replace(HIGH.case().guest, firmware=replace(judges.require(), code=tmp_path / "none.fd"))
    with pytest.raises(judges.JudgeError, match=r"QEMU ended before the firmware said anything: .*none\.fd"):
        guest.boot(nothing)


@pytest.mark.firmware
@pytest.mark.slow
def test_the_command_shows_both_sides_in_72_columns(judged):
    text = command("--ram", "768G")
    data = json.loads(command("--ram", "768G", "--json").stdout)

    assert (text.returncode, text.stderr) == (0, "")
    assert [] == [line for line in text.stdout.splitlines() if len(line) > 72]
    assert "The model and the firmware agree." in text.stdout
    assert (data["agree"], data["firmware"]) == (True, data["model"])
    lines = list(judges.overview((BY_NAME[name], found) for name, found in judged.items()))
    assert max(map(len, lines)) <= 72


@pytest.mark.parametrize("arch", ["x86_64", "i386"])
def test_the_witness_compiles_without_a_warning(firmware, arch, tmp_path):
    for source in build.sources(arch):
        if source.suffix != ".h":
            build.compile_one(source, arch, tmp_path, "-Wall", "-Wextra", "-Wconversion", "-Werror")
