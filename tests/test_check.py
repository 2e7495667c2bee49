"""`efimm check`, and what else is about one's own machine: real logs, contradictions, garbage, own kernels."""

import csv
import io
import json
import re
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import pytest
from captures import INDEX, listings, text_of

import efimm
from efimm.check import check, checked
from efimm.kernels.v3_8 import KERNEL as V3_8
from efimm.linux import map_regions
from efimm.linux.state import copy_of
from efimm.maps.formats import MapError, read, read_map
from efimm.run import boot, enter
from efimm.text import COLUMNS
from efimm.trace import Enter, Leave

GIB = 1 << 30
TYPE_WORDS = {"usable": 1, "reserved": 2, "ACPI data": 3, "ACPI NVS": 4, "unusable": 5, "persistent (type 7)": 7}


def command(*words, stdin=b""):
    return subprocess.run([sys.executable, "-m", "efimm", *words], input=stdin, capture_output=True, check=False)


def index_rows():
    """Of each log in the index: its name, GiB usable, top of RAM (0: not told), entries of EFI and of e820."""
    return [
        (row["log"], float(row["usable_gib"]), int(row["top"] or "0", 16), (int(row["efi"]), int(row["e820"])))
        for row in csv.DictReader(text_of(INDEX).splitlines())
    ]


def test_the_index_was_read():
    assert len(index_rows()) == 21


@pytest.mark.parametrize(("name", "usable", "top", "entries"), index_rows(), ids=[row[0][:40] for row in index_rows()])
def test_every_log_holds_what_the_index_says(logs, name, usable, top, entries):
    found = read(logs / name)
    ram = sum(e.end - e.start for e in found.map.e820 if e.type == 1) / GIB

    # "user:" lists and soft reservations are not in the index's sums, and it rounds or cuts to a tenth.
    assert ram == pytest.approx(usable, abs=0.11)
    assert top in (0, max(e.end for e in found.map.e820 if e.type == 1))
    assert entries == (len(found.map.descriptors), len(found.map.e820))


@pytest.mark.parametrize("name", [row[0] for row in index_rows()], ids=str)
def test_each_entry_has_the_type_that_its_line_says(logs, name):
    """Read a second time by one plain pattern, which knows the forms of these few logs only."""
    text = listings()[name]
    lines = re.findall(r"(?<!user: )BIOS-e820: \[mem 0x(\w+)-0x(\w+)\] (.+)", text)
    expected = [(int(start, 16), int(end, 16) + 1, kind(words)) for start, end, words in lines]
    if not expected:
        pytest.skip("this log has an older form of the lines, which test_formats.py reads")

    assert expected == [(entry.start, entry.end, entry.type) for entry in read_map(logs / name).e820]


def kind(words):
    words = words.strip()
    if words in TYPE_WORDS:
        return TYPE_WORDS[words]
    return int(re.fullmatch(r"type (\d+)", words)[1])


@pytest.mark.parametrize("name", sorted(listings()), ids=lambda name: name[:40])
def test_each_log_is_checked_in_72_columns_or_refused(logs, name):
    log = logs / name
    found = check(log)
    text = checked(found, str(log))
    if found.machine is None:
        assert "oops" in log.name  # no list in these, but a fault to be explained
        assert found.faults
        assert max(map(len, text.splitlines())) <= COLUMNS
        return

    assert max(map(len, text.replace(str(log), "LOG").splitlines())) <= max(COLUMNS, len(log.name) + 2)
    assert [each.kernel for each in found.kernels] == list(efimm.KERNELS)
    for each in found.kernels:
        assert each.outcome is not None
        assert f"{each.outcome.buffer_pa:#x}" in text or not each.outcome.linux.memmap_count
    assert found.no_efi_call == "" or not found.hit


def test_the_verdicts_are_those_of_runs():
    found = check("hp-superdome2-3tib")
    for each in found.kernels:
        assert each.outcome is not None
        assert each.outcome.summary() == efimm.run(found.machine, each.kernel).summary()
    by_name = {each.kernel: each for each in found.kernels}
    assert {"3.5", "3.8-rc"} == set(found.hit)
    # RAM ends at 3200 GiB, and 386 to 512 GiB are a hole (the log of this machine): parts 0 to 6 have RAM.
    assert list(range(7)) == list(by_name["3.5"].elsewhere or {})
    assert list(range(1, 7)) == by_name["3.5"].fails_in


@pytest.mark.parametrize("arch", ["x86_64", "x86_64-la57", "i386", "i386-pae"])
def test_where_the_array_lies_is_asked_when_the_regions_are_mapped(arch):
    """So they may be mapped once, and the array then put into one part after the other: all else happens as ever."""
    buffer = 0x1000_0000 if arch.startswith("i386") else 700 << 30
    for kernel in (each for each in efimm.KERNELS.values() if each.has_build_for(arch)):
        booted = boot(efimm.machine(ram="3G" if arch.startswith("i386") else "1T", arch=arch), kernel)
        mapped = copy_of(booted)
        whole = enter(moved(booted, buffer))
        if whole.linux.memmap_count:
            map_regions(mapped)
            parted = enter(moved(mapped, buffer))
            assert parted.summary() == whole.summary()
            assert acts(parted.trace) == acts(whole.trace)


def test_what_a_readers_kernel_does_before_it_maps_counts_in_every_part():
    """The suite's map their regions once for all places of the array; one of a reader's own is run anew for each."""
    places = []

    def mine(linux):
        places.append(linux.machine.buffer)
        assert not linux.regions
        return V3_8.efi_enter_virtual_mode(linux)

    own = replace(V3_8, name="mine", order=99, efi_enter_virtual_mode=mine)
    found = check("hp-superdome2-3tib", own=own).kernels[-1]
    assert len(places) == len(found.elsewhere) == 7
    assert found.fails_in == []


def test_regions_that_were_mapped_ahead_serve_one_switch_only():
    """A reader's kernel that mends the map after a refusal, and calls again, hands over the new regions."""
    linux = boot(efimm.machine("4G"), "3.5")
    map_regions(linux)
    enter(linux)
    assert not linux.regions


def moved(linux, buffer):
    return replace(copy_of(linux), machine=replace(linux.machine, buffer=buffer))


def acts(trace):
    """What happened, without the names of the steps in which it did."""
    return [event for event in trace.events if not isinstance(event, Enter | Leave)]


LIST = "BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable\n"
BIG = LIST + "BIOS-e820: [mem 0x0000000000100000-0x000000003fffffff] usable\n"
EFI = """\
efi: EFI v2.31 by Somebody
efi: mem00: type=7, attr=0xf, range=[0x0000000000000000-0x00000000000a0000) (0MB)
efi: mem01: type=7, attr=0xf, range=[0x0000000000100000-0x000000003f000000) (1007MB)
efi: mem02: type=6, attr=0x800000000000000f, range=[0x000000003f000000-0x0000000040000000) (16MB)
"""


def test_a_contradiction_is_named_with_both_sides():
    found = check(io.BytesIO((BIG + EFI).encode()))

    (one,) = found.contradictions
    assert (one.start, one.end) == (0x3F00_0000, 0x4000_0000)
    assert "usable" in one.e820
    assert "RuntimeServicesData" in one.efi.replace(" ", "")
    assert "0x3f000000" in checked(found, "log")


def test_lists_that_agree_have_no_contradiction():
    agreeing = BIG.replace("3fffffff", "3effffff") + "BIOS-e820: [mem 0x3f000000-0x3fffffff] reserved\n"

    assert not check(io.BytesIO((agreeing + EFI).encode())).contradictions


def test_memory_that_a_guest_has_to_accept_is_no_contradiction_whatever_the_kernel_was_built_with():
    """setup_e820 (x86-stub.c, 6.5) gives it out as RAM, or leaves it out without CONFIG_UNACCEPTED_MEMORY."""
    waiting = EFI.replace("type=6, attr=0x8", "type=15, attr=0x0")

    assert not check(io.BytesIO((BIG + waiting).encode())).contradictions
    assert not check(io.BytesIO((BIG.replace("3fffffff", "3effffff") + waiting).encode())).contradictions


def test_a_machine_started_by_a_bios_makes_no_efi_call():
    log = f"Linux version 3.5.0\n{BIG}DMI: Somebody Board/X, BIOS 1\n"
    found = command("check", "-", stdin=log.encode()).stdout.decode()

    assert "Linux makes no EFI call" in " ".join(found.split())
    assert "The same memory on a machine started by UEFI" in found


HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e<script>alert(1)</script>\x9b31m"


def test_what_a_log_says_never_reaches_the_terminal_as_it_is():
    log = f"DMI: {HOSTILE}/Board, BIOS {HOSTILE}\nLinux version {HOSTILE}\n{BIG}"
    for words in (["check", "-"], ["map", "-"], ["run", "--map", "-"], ["run", "--explain", "--map", "-"]):
        shown = command(*words, stdin=log.encode())
        out = (shown.stdout + shown.stderr).decode()
        assert shown.returncode == 0, out
        assert [char for char in out if not char.isprintable() and char != "\n"] == []


def test_the_name_of_a_file_never_reaches_the_terminal_as_it_is(tmp_path):
    log = tmp_path / f"{HOSTILE.replace('/', '_')}.txt"
    log.write_text(BIG + "BIOS-e820: [mem 0xzz] usable\n")
    for words in (["check", str(log)], ["map", str(log)], ["run", "--map", str(log)]):
        shown = command(*words)
        assert (shown.returncode, shown.stdout) == (2, b"")
        line = shown.stderr.decode()
        assert [char for char in line if not char.isprintable()] == ["\n"]


class Garbage(io.RawIOBase):
    """As many bytes as are asked for, never all at once; `size` bytes in all."""

    def __init__(self, piece, size):
        super().__init__()
        self.piece, self.left, self.place = piece, size, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        part = self.piece[self.place : self.place + min(len(buffer), self.left)]
        self.place = (self.place + len(part)) % len(self.piece)
        self.left -= len(part)
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize(
    "piece",
    [
        b"\x00",
        *(
            pytest.param(piece, marks=pytest.mark.nightly)
            for piece in (b"\xff\xfe", b"[    1.0] usb 1-1: new device\n" * 99, bytes(range(256)))
        ),
    ],
)
def test_a_hundred_megabytes_of_garbage_need_no_memory(piece):
    tracemalloc.start(1)
    try:
        with pytest.raises(MapError, match="expected"):
            read(Garbage(piece * (4096 // len(piece) + 1), 10 << 20))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


MINE = """\
from dataclasses import replace
from efimm.kernels.v3_5 import KERNEL as V3_5
from efimm.kernels.v3_8 import KERNEL as V3_8
KERNEL = replace(V3_5, name="mine", order=99, title="my fix", efi_call_phys=V3_8.efi_call_phys)
"""


def test_a_kernel_in_a_file_is_run_and_said_to_be_executed(tmp_path):
    file = tmp_path / "my_fix.py"
    file.write_text(MINE)
    ran = command("run", "--kernel", str(file), "--json")

    assert json.loads(ran.stdout)["kernel"] == "mine"
    assert json.loads(ran.stdout)["verdict"] == efimm.run(efimm.machine("1T"), "3.8").verdict
    assert b"executing the Python code in" in ran.stderr


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\n", "expected a Kernel in the name KERNEL"),
        ("x = (\n", ":1: "),
        ("\n\n1 / 0\n", ":3: ZeroDivisionError"),
        (MINE.replace("V3_8.efi_call_phys)", "lambda linux: 1 / 0)"), "ZeroDivisionError"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_line(tmp_path, source, expected):
    file = tmp_path / "my_fix.py"
    file.write_text(source)
    ran = command("run", "--kernel", str(file))

    assert ran.returncode == 2
    assert expected in ran.stderr.decode().splitlines()[-1]
    assert len(ran.stderr.decode().splitlines()) == 2  # that the file is executed, and the mistake


@pytest.mark.parametrize("kernel", efimm.KERNELS)
@pytest.mark.parametrize("arch", ["x86_64", "i386"])
def test_an_explanation_names_every_entry_of_the_walk(kernel, arch):
    if not efimm.KERNELS[kernel].has_build_for(arch):
        pytest.skip(f"the suite has no {arch} build of {kernel}")
    ram = "1T" if arch == "x86_64" else "4G"
    words = command("run", "--kernel", kernel, "--ram", ram, "--arch", arch, "--explain").stdout.decode()
    found = efimm.run(efimm.machine(ram, arch=arch), kernel)

    assert max(map(len, words.splitlines())) <= COLUMNS
    for step in found.fault.walk.steps if found.fault else ():
        assert f"{step.level.name}[{step.index}] at {step.pa:#x}" in words
        assert f"{step.entry:#x}" in words


def test_explained_it_says_what_each_success_leans_on_and_by_itself_it_does_not():
    """The array lies above 512 GiB there, so the patch's pointer needs the direct map's second slot."""
    name = "intel-brickland-512gib"
    plain, explained = (command("check", name, *words).stdout.decode() for words in ([], ["--explain"]))
    lines = explained.removeprefix(plain).strip().splitlines()

    assert explained.startswith(plain)
    assert lines[0] == "va-patch relies on pgd[273]; fails with --firmware checks-pointer,"
    assert lines[1].endswith(", own-table")
    assert max(map(len, lines)) <= COLUMNS
    told, plain_told = (json.loads(command("check", name, "--json", *words).stdout) for words in (["--explain"], []))
    assert told.pop("leans_on")["va-patch"]["slot"] == 273
    assert told == plain_told
