"""200 MB of plain text that nearly is a log: answered or refused in one line, with little memory; Ctrl-C ends it."""

import re
import signal
import subprocess
import sys
import time
from ast import literal_eval

import pytest

from benchmarks.large_logs import KINDS, ROOT, Answer, start, write
from efimm.maps.formats import MapError, read_map

COMMANDS = ("check", "map")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory of a process")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return tmp_path_factory.mktemp("large") / "log"


def answer_of_a_small_process(command, path):
    """Linux counts what the process that it was forked from took as the command's own, and a test may take much."""
    code = f"from benchmarks.large_logs import *; print(astuple(answer({command!r}, Path({str(path)!r}))))"
    words = [sys.executable, "-c", f"from dataclasses import astuple; {code}"]
    return Answer(*literal_eval(subprocess.check_output(words, cwd=ROOT, text=True)))


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_200_mb_of_near_misses_are_answered_with_little_memory(kind, large):
    write(kind, large)
    for command in COMMANDS:
        found = answer_of_a_small_process(command, large)
        assert found.status in (0, 2), found
        assert found.status == 0 or found.said.startswith("efimm: "), found
        assert found.megabytes < 200, found


@pytest.mark.nightly
@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_ends_the_reading_of_a_large_log(command, large):
    write("letters", large)
    with start(command, large) as process:
        time.sleep(1.5)
        assert process.poll() is None, "it has ended by itself, and shows nothing"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) in (130, -signal.SIGINT)


@pytest.mark.parametrize(
    ("line", "times", "limit", "expected"),
    [
        ("BIOS-e820: [mem 0x0-0x", 8193, {}, "8193: more than 8192 damaged entries by here;"),
        ("efi: mem00: type=7, attr=0xf, range=[0x0-0x1000) (0MB)", 257, {}, "257: a list printed more than 256 times;"),
        ("x", 21, {"sources.MOST_LINES": 20}, "21: more than 20 lines by here;"),
        (f"{'x' * 65530} 000x", 17, {"boots.MOST_CLOSELY_READ": 1 << 20}, "17: more than 1 MiB of what may be entries"),
    ],
)
def test_a_text_without_end_is_refused_with_the_line(line, times, limit, expected, monkeypatch):
    for name, value in limit.items():
        monkeypatch.setattr(f"efimm.maps.{name}", value)
    with pytest.raises(MapError, match=re.escape(f":{expected}")):
        read_map(f"{line}\n" * times)


def test_a_dump_of_a_device_before_the_list_is_passed_over(monkeypatch):
    """A mail with 19 MB of an IOMMU's tables was refused: `0x0` is in every line, and no list of FreeBSD's is there."""
    monkeypatch.setattr("efimm.maps.boots.MOST_CLOSELY_READ", 1 << 10)
    entry = "BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable"
    assert read_map("iommu_regset:VCRSP 0xe20 0x0000000000000000\n" * 1000 + f"{entry}\n").e820[0].end == 0xA0000


def test_an_enormous_line_of_near_misses_says_nothing():
    line = f"{'efi: ' * 13_000}MEMATTR=0x"
    entry = "BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable"
    assert read_map(f"{line}\n{entry}\n").memattr_table == 0
    assert read_map(f"{line}1000\n{entry}\n").memattr_table == 0x1000
    assert read_map(f"{line[5 * 13_000 :]}1000\n{entry}\n").memattr_table == 0  # not of the line of EFI's tables
