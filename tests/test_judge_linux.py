"""A real kernel as the judge: what it takes to stop one at the call, and what the model says beside it.

The tests "on a real kernel" boot one in QEMU: the one that EFIMM_VMLINUZ names, else one of /boot; they are skipped
where there is neither, or no QEMU or OVMF.  The recorded runs are our own, of November 2026.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from efimm import judges
from efimm.judges import JudgeError, linux
from efimm.judges.host import FirmwareImage, require_for_linux
from efimm.judges.linux import call as call_module
from efimm.judges.linux.facts import Facts, differing, facts, slot_numbers
from efimm.judges.linux.gdb import Gdb, GuestEnded
from efimm.judges.linux.guest import LinuxGuest, Running
from efimm.judges.linux.image import KernelFile
from efimm.judges.linux.prediction import nearest_kernel, predict
from efimm.judges.linux.told import Told
from efimm.judges.qemu import ram_ranges
from efimm.machines import linux_runs
from efimm.x86 import load_tables, walk

ROOT = Path(__file__).parents[1]
GIB = 1 << 30
NOBODY = FirmwareImage(Path("none.fd"))
RUNS = linux_runs()
SETTING = "EFIMM_VMLINUZ"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "efimm", "judge", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=390,
    )


# the kernel's file


def bzimage(machine: int = 0x8664, *, magic: bytes = b"HdrS", sectors: int = 3, stub: bool = True) -> bytearray:
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


def arm64_image() -> bytes:
    return b"MZ".ljust(0x38, b"\0") + b"ARM\x64" + bytes(5000)


def test_a_kernel_says_its_release(tmp_path: Path) -> None:
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
def test_what_is_no_kernel_is_refused_in_one_line(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(JudgeError, match=re.escape(words)) as refused:
        linux.kernel_file(tmp_path / "file")

    assert str(refused.value).isprintable()
    assert str(tmp_path / "file") in str(refused.value)


# the debug port


@contextmanager
def stub(answers: Callable[[bytes], bytes]) -> Iterator[Gdb]:
    """A debug port whose other side says `answers(packet)`, byte for byte."""
    ours, its = socket.socketpair()

    def serve() -> None:
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


def packet(text: str) -> bytes:
    return b"+$%s#%02x" % (text.encode(), sum(text.encode()) & 0xFF)


def test_packets_may_come_in_pieces_and_the_monitors_words_in_several() -> None:
    def answer(asked: bytes) -> bytes:
        hexed = [f"O{words.hex()}" for words in (b"RAX=1\n", b"IDT=     ffff0000 0fff\n")]
        return b"".join(packet(each) for each in [*hexed, "OK"]) if asked.startswith(b"qRcmd") else packet("E01")

    with stub(answer) as gdb:
        assert gdb.monitor("info registers") == "RAX=1\nIDT=     ffff0000 0fff\n"
        with pytest.raises(GuestEnded, match="refuses"):
            gdb.break_at(0x1000)


def test_registers_are_in_qemus_order() -> None:
    general = b"".join(number.to_bytes(8, "little") for number in range(17))
    rest = bytes(7 * 4) + b"".join(number.to_bytes(8, "little") for number in range(100, 109))
    with stub(lambda _: packet((general + rest).hex())) as gdb:
        found = gdb.registers()

    assert [found[name] for name in ("rax", "rcx", "rdx", "rsp", "r8", "r9", "rip")] == [0, 2, 3, 7, 8, 9, 16]
    assert [found[name] for name in ("cr0", "cr2", "cr3", "cr4", "efer")] == [103, 104, 105, 106, 108]


def test_a_guest_that_runs_is_waited_for_and_one_that_is_gone_is_told() -> None:
    with stub(lambda _: b"+") as gdb:
        gdb.go()
        assert not gdb.stopped(0.05)
    with stub(lambda _: packet("W00")) as gdb:
        gdb.go()
        with pytest.raises(GuestEnded, match="switched off"):
            gdb.stopped(5)


# the machine


def guest(ram: int, **options: object) -> LinuxGuest:
    return replace(LinuxGuest(KernelFile(Path("vmlinuz"), "9.8"), NOBODY, ram), **options)  # type: ignore[arg-type] # any field


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
def test_linux_is_left_the_memory_on_one_side_of_the_line(
    ram: int, array: str, left: list[tuple[int, int]], reserved: list[str]
) -> None:
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
def test_a_machine_that_cannot_be_is_refused(ram: int, options: dict[str, object], words: str) -> None:
    with pytest.raises(JudgeError, match=words):
        guest(ram, **options)


def test_physical_memory_is_read_and_written_where_it_is() -> None:
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


def test_ram_lies_where_qemu_puts_it() -> None:
    assert ram_ranges(2 * GIB, "amd") == [(0, 2 * GIB)]
    assert ram_ranges(600 * GIB, "intel") == [(0, 2 * GIB), (4 * GIB, 602 * GIB)]
    assert ram_ranges(1000 * GIB, "amd")[1][0] == 1 << 40


# what was recorded


@pytest.fixture(params=sorted(RUNS))
def recorded(request: pytest.FixtureRequest) -> Told:
    return linux.recall(RUNS[request.param])


def test_there_are_recorded_runs_of_several_kernels() -> None:
    assert {linux.recall(path).guest.kernel.version for path in RUNS.values()} >= {(6, 1), (7, 3)}


def test_the_kernel_with_a_slot_zeroed_meets_the_bug_of_2012(recorded: Told) -> None:
    """Measured with another program on the same kernels: CR2 is the array + 0x20, the error code is 0."""
    if not recorded.changes:
        pytest.skip("this run changed nothing")
    assert recorded.call is not None
    assert recorded.answer is not None
    fault = recorded.answer.fault
    assert fault is not None
    assert (fault.vector, fault.error_code, fault.cr2) == (14, 0, recorded.call.array_pa + 0x20)


def test_slots_are_told_as_runs() -> None:
    assert slot_numbers([0, 1, 273, 510, 511]) == "0-1, 273, 510-511"
    assert slot_numbers([]) == "none"


def test_a_run_is_kept_and_found_again(recorded: Told, tmp_path: Path) -> None:
    linux.save(recorded, tmp_path)
    again = linux.recall(tmp_path)

    assert again.call is not None
    assert recorded.call is not None
    assert again.call.moment.tables == recorded.call.moment.tables
    assert (again.call.array, again.answer, again.guest) == (recorded.call.array, recorded.answer, recorded.guest)
    memory, roots, mode = load_tables(tmp_path)
    assert walk(memory, roots["at_the_call"], recorded.call.pointer, mode).pa == recorded.call.moment.walk(
        recorded.call.pointer
    ).pa


def test_a_folder_without_a_run_is_one_line(tmp_path: Path) -> None:
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
def test_bad_input_gets_one_line_and_exit_status_2(arguments: list[str]) -> None:
    done = command(*arguments)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_with_an_expected_verdict_what_is_no_kernel_is_no_bad_commit() -> None:
    assert command("--linux", "README.md", "--expect", "success").returncode == 125


def test_kernels_are_listed_or_the_way_to_one_is() -> None:
    done = command("--list")

    assert done.returncode == 0
    assert "vmlinuz" in done.stdout or "docs/real-linux.md" in done.stdout


def test_a_kernel_that_is_not_known_is_compared_with_the_newest_before_it() -> None:
    assert [nearest_kernel(version).name for version in ((3, 5), (6, 1), (6, 2), (2, 6))] == ["3.5", "6.1", "6.1", "3.5"]
