"""A real kernel as the judge: what it takes to stop one at the call, and what the model says beside it.

The tests "on a real kernel" boot one in QEMU: the one that EFIMM_VMLINUZ names, else one of /boot; they are skipped
where there is neither, or no QEMU or OVMF.  The recorded runs are our own, of November 2026.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from test_judge import command

from efimm import judges
from efimm.judges import JudgeError, linux
from efimm.judges.host import FirmwareImage, require_for_linux
from efimm.judges.linux.facts import slots_in_words
from efimm.judges.linux.gdb import Gdb, GuestEnded
from efimm.judges.linux.guest import LinuxGuest, Running
from efimm.judges.linux.image import KernelFile
from efimm.judges.linux.prediction import nearest_kernel
from efimm.judges.qemu import ram_ranges
from efimm.machines import linux_runs
from efimm.x86 import load_tables, walk

ROOT = Path(__file__).parents[2]
GIB = 1 << 30
NOBODY = FirmwareImage(Path("none.fd"))
RUNS = linux_runs()
CHANGES = (linux.ZeroSlot(1),)  # the only one that was recorded
SETTING = "EFIMM_VMLINUZ"


# the kernel's file


def bzimage(machine=0x8664, *, magic=b"HdrS", sectors=3, stub=True):
    """The smallest file that says of itself what a bzImage does."""
    image = bytearray((sectors + 1) * 512 + 4096)
    image[0x1F1] = sectors
    image[0x1F4:0x1F8] = (4096 // 16).to_bytes(4, "little")
    image[0x202:0x206] = magic
    image[0x20E:0x210] = (0x400 - 0x200).to_bytes(2, "little")
    image[0x400:0x420] = b"9.8.7-mine (me@here) #1 SMP".ljust(32, b"\0")
    if stub:
        image[:2], image[0x3C:0x40] = b"MZ", (0x80).to_bytes(4, "little")
        image[0x80:0x86] = b"PE\0\0" + machine.to_bytes(2, "little")
    return image


def arm64_image():
    return b"MZ".ljust(0x38, b"\0") + b"ARM\x64" + bytes(5000)


def test_a_kernel_says_its_release(tmp_path):
    (tmp_path / "vmlinuz").write_bytes(bzimage())
    found = linux.kernel_file(tmp_path / "vmlinuz")

    assert (found.release, found.version) == ("9.8.7-mine", (9, 8))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"A text file.\n", "expected a Linux kernel for a PC"),
        (b"", "expected a Linux kernel for a PC"),
        (b"\x7fELF" + bytes(5000), "not vmlinux"),
        (arm64_image(), "arm64"),
        (bytes(bzimage(0xAA64)), "arm64"),
        (bytes(bzimage(0x14C)), "32-bit x86"),
        (bytes(bzimage()[:-1]), "cut off"),
        (bytes(bzimage(stub=False)), "CONFIG_EFI_STUB"),
        (bytes(bzimage(magic=b"HdrX")), "HdrS"),
    ],
)
def test_what_is_no_kernel_is_refused_in_one_line(tmp_path, data, words):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(JudgeError, match=re.escape(words)) as refused:
        linux.kernel_file(tmp_path / "file")

    assert str(refused.value).isprintable()
    assert str(tmp_path / "file") in str(refused.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name")
def test_nothing_is_read_that_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # to open it would mean to wait for a writer
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(JudgeError, match="expected a Linux kernel"):
            linux.kernel_file(path)


# the debug port


@contextmanager
def stub(answers):
    """A debug port whose other side says `answers(packet)`, byte for byte."""
    ours, its = socket.socketpair()

    def serve():
        waiting = b""
        with its:
            while heard := its.recv(4096):
                waiting += heard
                while found := re.match(rb"[+\x03]*\$([^#]*)#(..)", waiting):
                    waiting = waiting[found.end() :]
                    assert int(found[2], 16) == sum(found[1]) & 0xFF
                    its.sendall(answers(found[1]))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Gdb(ours)
    finally:
        ours.close()
        thread.join()


def packet(text):
    return b"+$%s#%02x" % (text.encode(), sum(text.encode()) & 0xFF)


def test_packets_may_come_in_pieces_and_the_monitors_words_in_several():
    def answer(asked):
        hexed = [f"O{words.hex()}" for words in (b"RAX=1\n", b"IDT=     ffff0000 0fff\n")]
        return b"".join(packet(each) for each in [*hexed, "OK"]) if asked.startswith(b"qRcmd") else packet("E01")

    with stub(answer) as gdb:
        assert gdb.monitor("info registers") == "RAX=1\nIDT=     ffff0000 0fff\n"
        with pytest.raises(GuestEnded, match="refuses"):
            gdb.break_at(0x1000)


def test_registers_are_in_qemus_order():
    general = b"".join(number.to_bytes(8, "little") for number in range(17))
    rest = bytes(7 * 4) + b"".join(number.to_bytes(8, "little") for number in range(100, 109))
    with stub(lambda _: packet((general + rest).hex())) as gdb:
        found = gdb.registers()

    assert [found[name] for name in ("rax", "rcx", "rdx", "rsp", "r8", "r9", "rip")] == [0, 2, 3, 7, 8, 9, 16]
    assert [found[name] for name in ("cr0", "cr2", "cr3", "cr4", "efer")] == [103, 104, 105, 106, 108]


def test_a_guest_that_runs_is_waited_for_and_one_that_is_gone_is_told():
    with stub(lambda _: b"+") as gdb:
        gdb.go()
        assert not gdb.stopped(0.05)
    with stub(lambda _: packet("W00")) as gdb:
        gdb.go()
        with pytest.raises(GuestEnded, match="switched off"):
            gdb.stopped(5)


# the machine


def guest(ram, **options):
    return replace(LinuxGuest(KernelFile(Path("vmlinuz"), "9.8"), NOBODY, ram), **options)


@pytest.mark.parametrize(
    ("ram", "array", "left", "reserved"),
    [
        (600, "above", [(0, 2), (512, 516)], ["520192M$4096M", "88064M$528384M"]),
        (600, "below", [(0, 2), (508, 512)], ["516096M$4096M", "92160M$524288M"]),
        (600, "", [(0, 2), (4, 602)], []),
        (2, "below", [(0, 2)], []),
        (511, "above", [(0, 2), (512, 513)], ["520192M$4096M"]),
        (2048, "above", [(0, 2), (1024, 1028)], ["2091008M$1052672M"]),  # RAM begins again at 1 TiB
    ],
)
def test_linux_is_left_the_memory_on_one_side_of_the_line(ram, array, left, reserved):
    made = guest(ram * GIB, array=array)

    assert [(start // GIB, end // GIB) for start, end in made.left_to_linux] == left
    assert re.findall(r"memmap=(\S+)", made.command_line) == reserved


@pytest.mark.parametrize(
    ("ram", "options", "words"),
    [
        (GIB // 8, {}, "from 256M"),
        (1 << 46, {}, "below 64T"),
        (4 * GIB, {"array": "above"}, "none of it lies above 512 GiB"),
        (4 * GIB, {"processors": 0}, "1 to 64"),
        (4 * GIB, {"initrd": Path("/no/such/file")}, "no such file"),
    ],
)
def test_a_machine_that_cannot_be_is_refused(ram, options, words):
    with pytest.raises(JudgeError, match=words):
        guest(ram, **options)


def test_physical_memory_is_read_and_written_where_it_is():
    made = guest(600 * GIB)
    memory = os.memfd_create("test")
    os.ftruncate(memory, made.ram)
    with socket.socket() as port:
        running = Running(made, Gdb(port), memory, memory, memory)
        running.write_u64(0x8000000000, 0x1122334455667788)
        assert running.read_u64(0x8000000000) == 0x1122334455667788
        assert int.from_bytes(os.pread(memory, 8, 510 * GIB), "little") == 0x1122334455667788
        assert running.read(0x7FFFFFFFFC, 8) == bytes(4) + 0x55667788.to_bytes(4, "little")
        assert running.read(3 * GIB, 16) == bytes(16)  # devices: no RAM
        with pytest.raises(JudgeError, match="no RAM"):
            running.write_u64(3 * GIB, 1)
    os.close(memory)


def test_ram_lies_where_qemu_puts_it():
    assert ram_ranges(2 * GIB, "amd") == [(0, 2 * GIB)]
    assert ram_ranges(600 * GIB, "intel") == [(0, 2 * GIB), (4 * GIB, 602 * GIB)]
    assert ram_ranges(1000 * GIB, "amd")[1][0] == 1 << 40


# what was recorded


@pytest.fixture(params=sorted(RUNS))
def recorded(request):
    return linux.recall(RUNS[request.param])


def test_there_are_recorded_runs_of_several_kernels():
    assert {linux.recall(path).guest.kernel.version for path in RUNS.values()} >= {(6, 1), (7, 3)}


def test_the_kernel_with_a_slot_zeroed_meets_the_bug_of_2012(recorded):
    """Measured with another program on the same kernels: CR2 is the array + 0x20, the error code is 0."""
    if not recorded.changes:
        pytest.skip("this run changed nothing")
    assert recorded.call is not None
    assert recorded.answer is not None
    fault = recorded.answer.fault
    assert fault is not None
    assert (fault.vector, fault.error_code, fault.cr2) == (14, 0, recorded.call.array_pa + 0x20)


def test_the_model_says_what_the_kernel_did_when_it_was_recorded(recorded):
    found = linux.judge_kernel(recorded, None, CHANGES if recorded.changes else ())

    assert (found.why_not, found.differences) == ("", [])
    assert found.agree
    assert [] == [line for line in linux.kernel_judgement(found).splitlines() if len(line) > 72]
    assert "agree" in linux.kernel_judgement(found)
    assert json.loads(json.dumps(found.summary()))["verdict"] == recorded.verdict


def test_a_model_with_another_pointer_does_not_agree(recorded):
    other = linux.judge_kernel(recorded, None, [linux.OtherPointer("va")])

    assert "pointer" in other.differences
    assert "THEY DO NOT AGREE on: pointer" in linux.kernel_judgement(other)


def test_slots_are_told_as_runs():
    assert slots_in_words([0, 1, 273, 510, 511]) == "0–1, 273, 510–511"
    assert slots_in_words([]) == "none"


def test_a_run_is_kept_and_found_again(recorded, tmp_path):
    linux.save(recorded, tmp_path)
    again = linux.recall(tmp_path)

    assert again.call is not None
    assert recorded.call is not None
    assert again.call.moment.tables == recorded.call.moment.tables
    assert (again.call.array, again.answer, again.guest) == (recorded.call.array, recorded.answer, recorded.guest)
    memory, roots, mode = load_tables(tmp_path)
    assert (
        walk(memory, roots["at_the_call"], recorded.call.pointer, mode).pa
        == recorded.call.moment.walk(recorded.call.pointer).pa
    )


def test_a_folder_without_a_run_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="expected"):
        linux.recall(tmp_path)


# the command


@pytest.mark.parametrize(
    "arguments",
    [
        ["--linux", "README.md"],
        ["--linux", "/no/such/kernel"],
        ["--linux", "README.md", "--map", "x"],
        ["--linux", "README.md", "--all"],
        ["--linux", "README.md", "--buffer", "0x1000"],
        ["--smp", "2"],
        ["--save", "x"],
        ["--linux", "README.md", "--copy-slot", "x"],
        ["--linux", "README.md", "--zero-slot", "512"],
        ["--linux", "README.md", "--pointer", "here"],
    ],
)
def test_bad_input_gets_one_line_and_exit_status_2(arguments):
    done = command(*arguments)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_with_an_expected_verdict_what_is_no_kernel_is_no_bad_commit():
    assert command("--linux", "README.md", "--expect", "success").returncode == 125


def test_kernels_are_listed_or_the_way_to_one_is():
    done = command("--list")

    assert done.returncode == 0
    assert "vmlinuz" in done.stdout or "docs/real-linux.md" in done.stdout


def test_a_kernel_that_is_not_known_is_compared_with_the_newest_before_it():
    versions = ((3, 5), (6, 1), (6, 2), (2, 6))

    assert [nearest_kernel(version).name for version in versions] == ["3.5", "6.1", "6.1", "3.5"]


# in QEMU


@pytest.fixture
def nothing_to_boot(tmp_path):
    """A file that passes for a kernel until somebody starts it; a skip where there is nobody to start it."""
    try:
        require_for_linux()
    except judges.NotInstalledError as missing:
        pytest.skip(str(missing))
    (tmp_path / "vmlinuz").write_bytes(bzimage())
    return tmp_path / "vmlinuz"


@pytest.mark.firmware
def test_a_kernel_that_does_not_get_there_is_told_with_how_far_it_came(nothing_to_boot):
    done = command("--linux", str(nothing_to_boot), "--ram", "1G", "--timeout", "1.5")

    assert (done.returncode, done.stdout) == (2, "")
    reached = "QEMU has started|the firmware has published its system table"  # a quick computer comes further
    assert re.search(f"the time is up; how far it came: ({reached});", done.stderr)


@pytest.mark.firmware
def test_what_qemu_refuses_is_told(nothing_to_boot, monkeypatch):
    monkeypatch.setenv("EFIMM_OVMF", str(nothing_to_boot))  # no firmware: its size is none that QEMU takes
    done = command("--linux", str(nothing_to_boot), "--ram", "1G", "--timeout", "60", "--expect", "success")

    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("efimm: qemu")


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def listening(pid):
    """The Unix sockets at which a process waits for others (proc_pid_net(5): the flag 0x10000)."""
    held = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink()}
    entries = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return [entry for entry in entries if int(entry[3], 16) & 0x10000 and f"socket:[{entry[6]}]" in held]


@pytest.mark.firmware
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind_however_it_ends(nothing_to_boot, tmp_path, number):
    asked = [sys.executable, "-m", "efimm", "judge", "--linux", str(nothing_to_boot), "--ram", "1G"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(asked, cwd=ROOT, stderr=subprocess.DEVNULL, env=environment) as process:
        deadline = time.monotonic() + 60
        while not (started := children(process.pid)) or b"qemu" not in Path(f"/proc/{started[0]}/cmdline").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        sockets = listening(started[0])
        process.send_signal(number)
        process.wait(60)
    deadline = time.monotonic() + 30
    while alive(started[0]):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    assert sockets == []
    # QEMU takes the name of its snapshot's file away at once; killed between, it cannot.
    assert [path for path in tmp_path.iterdir() if not path.name.startswith("vl.")] == [nothing_to_boot]


# on a real kernel


@pytest.fixture(scope="module")
def vmlinuz():
    """A kernel to boot, or a skip that says what is missing."""
    found = [Path(os.environ[SETTING])] if os.environ.get(SETTING) else linux.installed_kernels()
    try:
        require_for_linux()
    except judges.NotInstalledError as missing:
        pytest.skip(str(missing))
    if not found:
        pytest.skip(f"no kernel in /boot, and none named by {SETTING}; docs/real-linux.md says how to get one")
    return found[-1]


@pytest.fixture(scope="module")
def answered(vmlinuz, tmp_path_factory):
    """What the kernel did with its array above 512 GiB, as the command tells it, and the folder in which it is kept."""
    folder = tmp_path_factory.mktemp("run")
    done = command("--linux", str(vmlinuz), "--json", "--save", str(folder))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), folder


@pytest.mark.firmware
@pytest.mark.slow
def test_the_model_says_what_a_real_kernel_does(answered):
    told, _ = answered

    assert told["why_no_model"] is None
    assert told["differences"] == []
    assert told["agree"]


@pytest.mark.firmware
@pytest.mark.slow
def test_a_real_kernel_calls_with_a_physical_pointer_in_a_table_of_its_own(answered):
    told, _ = answered
    real = told["real"]

    assert told["pointer"] == told["buffer_pa"] >= 512 * GIB
    assert told["cr3"] != told["own_cr3"]
    assert (real["paging"], real["array"], real["low_slots"]) == (True, "all of it", [0, 1])
    assert real["at_pa"] == real["at_va"] == real["regions"] > 50
    assert (real["verdict"], real["status"], real["pointers_moved"]) == ("success", 0, 12)


@pytest.mark.firmware
@pytest.mark.slow
def test_the_kept_tables_are_opened_and_the_kept_run_is_judged_as_before(answered):
    told, folder = answered
    walks = [
        subprocess.run(
            [sys.executable, "-m", "efimm", "walk", hex(told["pointer"]), "--tables", str(folder), "--root", root],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        ).stdout
        for root in ("at_the_call", "kernels_own")
    ]

    assert [f"-> {told['pointer']:#x}" in text for text in walks] == [True, False]
    assert linux.judge_kernel(linux.recall(folder)).agree


@pytest.mark.firmware
@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [
        (["--ram", "2G", "--array", "below"], "success"),
        (["--ram", "600G", "--array", "below"], "success"),
        (["--zero-slot", "1"], "page-fault"),
        (["--pointer", "va"], "success"),
        (["--append", "nokaslr"], "success"),
        (["--ram", "2G", "--append", "efi=noruntime"], "no-call"),
    ],
)
def test_further_questions(vmlinuz, arguments, verdict):
    done = command("--linux", str(vmlinuz), "--json", "--expect", verdict, *arguments)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["differences"] == []
    assert told["agree"] == (verdict != "no-call")
