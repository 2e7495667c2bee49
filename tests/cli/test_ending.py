"""Every command ends when it is told to, and leaves no process, no folder and no half-written file."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from efimm.judges.host import QEMU, find_firmware

ROOT = Path(__file__).parents[2]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

LOOPS = """
import os
from dataclasses import replace
from efimm.kernels.v3_5 import KERNEL as V3_5

def memmap_pointer(linux, new_memmap):
    open("begun", "w").close()
    while True:
        pass

KERNEL = replace(V3_5, name="loops", memmap_pointer=memmap_pointer)
"""
STUCK = "open('begun', 'w').close()\nsum(range(1 << 60))\n"  # Python itself can end nothing there
NOTEBOOK = """{"cells": [{"cell_type": "code", "id": "a", "execution_count": null, "metadata": {}, "outputs": [],
 "source": "open('begun', 'w').close()\\nwhile True: pass"}], "metadata": {"kernelspec": {"name": "python3",
 "display_name": "Python 3", "language": "python"}}, "nbformat": 4, "nbformat_minor": 5}"""

# What is run; each works for minutes, and makes the file "begun" where its work can be seen.
COMMANDS = {
    "run": ["run", "--kernel", "loops.py", "--timeout", "300"],
    "walk": ["walk", "0x1000", "--at-call", "--kernel", "loops.py", "--timeout", "300"],
    "dump": ["dump", "-o", "out/core.elf", "--at-call", "--kernel", "loops.py", "--timeout", "300"],
    "compare": ["compare", "--kernel", "loops.py", "--timeout", "300"],
    "check": ["check", "intel-brickland-512gib", "--kernel", "loops.py", "--timeout", "300"],
    "gauntlet": ["gauntlet", "--kernel", "loops.py", "--timeout", "300"],
    "gauntlet --firmware": ["gauntlet", "--firmware", "stuck.py"],
    "judge --kernel": ["judge", "--kernel", "stuck.py"],
    "locks": ["locks", "fork", "--history", "a79e53d8"],
    "map": ["map", "-"],
    "export": ["export", "loops.ipynb", "-o", "out"],
    "site": ["site", "-o", "site"],
    "judge": ["judge", "--ram", "1G", "--timeout", "300"],
    "judge --all": ["judge", "--all"],
    "doctor": ["doctor"],
    "room": ["room", "--port", "0"],
    "room --site": ["room", "--site", "out", "--port", "0"],
    "lab": ["lab", "--no-browser", "--port", "0"],
    "dashboard": ["dashboard", "--no-browser"],
}
# Those that make the file.
SEEN = ("run", "walk", "dump", "compare", "check", "gauntlet", "gauntlet --firmware", "judge --kernel", "export")


def marked(mark):
    """The processes that have inherited `mark`, however they have moved since."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
    return found


def until_all_have_ended(mark):
    """How long that takes by themselves, in seconds."""
    start = time.monotonic()
    while left := marked(mark):
        assert time.monotonic() - start < 20, left
        time.sleep(0.05)
    return time.monotonic() - start


@contextlib.contextmanager
def all_ended(mark):
    """However a test goes, nothing runs on after it."""
    try:
        yield
    finally:
        for number in marked(mark):
            with contextlib.suppress(OSError):
                os.kill(number, signal.SIGKILL)


@pytest.fixture(autouse=True)
def nothing_is_ignored():
    """A shell's background job ignores SIGINT, and what nohup runs SIGHUP; and so would all that they start."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS[1:3]}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def place(tmp_path):
    for name in ("out", "tmp", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "loops.py").write_text(LOOPS)
    (tmp_path / "stuck.py").write_text(STUCK)
    (tmp_path / "loops.ipynb").write_text(NOTEBOOK)
    for name in ("core.elf", "loops.html"):
        (tmp_path / "out" / name).write_text("good")
    return tmp_path


def begun(command, process, place, mark):
    """Wait until the command is in the middle of its work; doctor, until its server starts."""
    end = time.monotonic() + 150
    if command not in (*SEEN, "doctor"):
        time.sleep(2.5)
    while (command in SEEN and not (place / "begun").exists()) or (command == "doctor" and not serves(mark)):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)


def serves(mark):
    return any("jupyterlab" in words for words in marked(mark).values())


# By day each command is interrupted and told to end.  SIGHUP is obeyed by the handler of SIGTERM, and what SIGKILL
# leaves to others is the same in walk, dump, compare and check, which do their work in a process below, as run does:
# these are sent at night.
ALIKE = ("walk", "dump", "compare", "check")
SENT = [
    pytest.param(
        *(command, sent),
        id=f"{command}-{sent.name}",
        marks=pytest.mark.nightly
        if (sent is signal.SIGHUP and command != "run") or (sent is signal.SIGKILL and command in ALIKE)
        else (),
    )
    for command in COMMANDS
    for sent in SIGNALS
]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "sent"), SENT)
def test_a_signal_leaves_nothing(command, sent, place):
    if command.startswith("judge") and (shutil.which(QEMU) is None or find_firmware() is None):
        pytest.skip("no QEMU with a firmware here")
    if command == "dashboard":
        pytest.importorskip("voila", reason="voila is not installed")
    mark = f"EFIMM_TEST_MARK={os.getpid()}-{place.name}"
    home = {"HOME": place / "home", "TMPDIR": place / "tmp", "XDG_CACHE_HOME": place / "home" / "cache"}
    environment = os.environ | {name: str(path) for name, path in home.items()} | dict([mark.split("=")])
    process = subprocess.Popen(
        [sys.executable, "-m", "efimm", *COMMANDS[command]],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=place,
        env=environment,
        start_new_session=True,
    )
    with process, all_ended(mark):
        begun(command, process, place, mark)
        assert process.poll() is None, "it has ended by itself, and shows nothing"
        process.send_signal(sent)
        took = until_all_have_ended(mark)
    expected = {signal.SIGINT: (130, 0, -signal.SIGINT), signal.SIGKILL: (-signal.SIGKILL,)}
    ends = expected.get(sent, (-signal.SIGTERM, -sent, 0))  # JupyterLab takes SIGHUP for SIGTERM
    record(command, sent, process.returncode, took, sorted(path.name for path in (place / "tmp").iterdir()))
    assert process.returncode in ends
    kept = [path for path in (place / "tmp").iterdir() if sent != signal.SIGKILL]
    assert kept == [], "folders and files left behind"
    assert (place / "out" / "core.elf").read_text() == (place / "out" / "loops.html").read_text() == "good"
    assert sorted(path.name for path in (place / "out").iterdir()) == ["core.elf", "loops.html"]
    assert [path for path in place.rglob("*.html") if path.parent.name == "site" and not path.read_text()] == []


@pytest.mark.nightly
@pytest.mark.parametrize("sent", SIGNALS[:2])
@pytest.mark.parametrize("tenths", [8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 35, 40, 45, 50])
def test_doctor_ends_whenever_it_is_told(tenths, sent, place):
    """While a kernel starts and runs, while a server starts, and between: nbclient in the main thread kept some."""
    mark = f"EFIMM_TEST_MARK={os.getpid()}-{place.name}"
    process = subprocess.Popen(
        [sys.executable, "-m", "efimm", "doctor"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=place,
        env=os.environ | {"TMPDIR": str(place / "tmp")} | dict([mark.split("=")]),
        start_new_session=True,
    )
    with process, all_ended(mark):
        time.sleep(tenths / 10)
        if process.poll() is not None:
            pytest.skip("it had ended by then")
        process.send_signal(sent)
        said = process.communicate(timeout=20)[0].decode()
        assert "Traceback" not in said, said
        if "Everything is here" in said:  # Python's last steps have no handlers any more: a signal ends it as such
            pytest.skip("it had answered by then")
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: -signal.SIGTERM}[sent], said
        assert "MISSING" not in said
        until_all_have_ended(mark)  # what a server in its start has started looks for its parent when it runs
    assert [*(place / "tmp").iterdir()] == []


def told_once_begun(program, sent, **settings):
    """The exit status of a program to which a signal is sent when it says "begun", and what it says after that."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings) as process:
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(sent)
        try:
            printed, said = process.communicate(timeout=30)
        finally:
            process.kill()
    return process.returncode, printed, said


STARTS = """
import sys, time
from efimm.dashboard import server

make_settings = server.Voila.init_settings

def slowly(self):
    print("begun", flush=True)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        time.sleep(0.01)
    return make_settings(self)

server.Voila.init_settings = slowly
sys.argv[1:] = ["--no-browser", "--port=0"]
server.main()
"""


@pytest.mark.parametrize("sent", SIGNALS[:2])
def test_the_dashboard_ends_while_it_starts(sent, place):
    """Voila's handler is there before its loop: SIGTERM was an AttributeError, and left a folder."""
    pytest.importorskip("voila", reason="voila is not installed")
    status, _, said = told_once_begun(STARTS, sent, cwd=place, env=os.environ | {"TMPDIR": str(place / "tmp")})
    assert b"Traceback" not in said
    assert status == 0, said
    assert [*(place / "tmp").iterdir()] == []


FINALISES = """
import time
from efimm.cli import ending

ending.obey_signals()

class Slow:
    def __del__(self):
        print("begun", flush=True)
        time.sleep(60)

Slow()
while True:
    time.sleep(1)
"""


SWALLOWS = """
import time
from efimm.cli import ending

ending.obey_signals()
for _ in range(3):
    try:
        print("begun", flush=True)
        time.sleep(60)
    except:
        pass
while True:
    time.sleep(1)
"""
TIDIES_UP = """
import contextlib, time
from efimm.cli import ending

@contextlib.contextmanager
def tidied():
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            int("x")
        time.sleep(1)
        print("tidied up", flush=True)

ending.obey_signals()
with tidied():
    print("begun", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("program", [FINALISES, SWALLOWS])
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 1), (signal.SIGINT, -signal.SIGINT)])
def test_an_end_that_is_dropped_is_told_again(program, sent, status):
    """In a finaliser, by a bare except.  Ended is not caught here, so it ends the program with 1."""
    found, _, said = told_once_begun(program, sent)
    assert b"Exception ignored" not in said
    assert found == status


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 1), (signal.SIGINT, -signal.SIGINT)])
def test_who_tidies_up_is_told_once(sent, status):
    """It takes ten times as long as an end waits before it is told again, and handles another exception meanwhile."""
    found, printed, _ = told_once_begun(TIDIES_UP, sent)
    assert printed == b"tidied up\n"
    assert found == status


WAITS = """
import signal, threading, time
from efimm.cli import ending

def told():
    time.sleep(0.3)
    signal.pthread_kill(threading.get_ident(), signal.{})

ending.obey_signals()
threading.Thread(target=told).start()
never = threading.Lock()
never.acquire()
never.acquire()
"""


@pytest.mark.parametrize(("sent", "status"), [("SIGTERM", 1), ("SIGINT", -signal.SIGINT)])
def test_who_waits_for_a_lock_is_woken(sent, status):
    """A signal that another thread gets, or that comes just before the wait, does not end it: `judge --all` went on."""
    done = subprocess.run(
        [sys.executable, "-c", WAITS.format(sent)], check=False, timeout=60, stderr=subprocess.DEVNULL
    )
    assert done.returncode == status


NAMES = """
from efimm import cli

class Told:
    def __set_name__(self, *_):
        raise {}

cli._answer = lambda _: type("Named", (), {{"it": Told()}})
cli.main()
"""


@pytest.mark.parametrize(("told", "status"), [("KeyboardInterrupt", 130), ("cli.Ended(15)", -signal.SIGTERM)])
def test_an_end_that_comes_while_a_class_is_made_is_an_end(told, status):
    """A command's imports make classes; Python 3.11 makes a RuntimeError of whatever is raised then."""
    done = subprocess.run([sys.executable, "-c", NAMES.format(told)], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (status, b"")


def record(command, sent, status, took, left):
    """One line of the matrix, into the file that EFIMM_MATRIX names."""
    if file := os.environ.get("EFIMM_MATRIX"):
        with Path(file).open("a") as table:
            table.write(f"{command:12} {sent.name:8} status {status:4}  {took:5.2f} s  {left}\n")
