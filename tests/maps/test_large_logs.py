"""200 MB of plain text that nearly is a log: answered or refused in one line, with little memory; Ctrl-C ends it."""

import re
import signal
import sys
import time

import pytest

from benchmarks.large_logs import KINDS, answer, start, write
from efimm.maps.formats import MapError, read_map

COMMANDS = ("check", "map")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory of a process")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return tmp_path_factory.mktemp("large") / "log"


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_200_mb_of_near_misses_are_answered_with_little_memory(kind, large):
    write(kind, large)
    for command in COMMANDS:
        found = answer(command, large)
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
    ("line", "times", "expected"),
    [
        ("BIOS-e820: [mem 0x0-0x", 8193, "8193: more than 8192 damaged entries by here"),
        ("efi: mem00: type=7, attr=0xf, range=[0x0-0x1000) (0MB)", 257, "257: a list printed more than 256 times"),
        ("x", 21, "21: more than 20 lines by here"),
    ],
)
def test_a_text_without_end_is_refused_with_the_line(line, times, expected, monkeypatch):
    if line == "x":
        monkeypatch.setattr("efimm.maps.sources.MOST_LINES", 20)
    with pytest.raises(MapError, match=re.escape(f":{expected}; expected the log of one boot")):
        read_map(f"{line}\n" * times)
