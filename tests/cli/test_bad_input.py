"""The command under bad input: one line and never a traceback, an end in any case, and no file spoilt.

Drawn argument lists run in this process by click's runner; a few run as processes, with streams and limits that are not
as they should be.  EFIMM_BAD_INPUTS sets how many are drawn (2,000 else); a nightly run draws more.
"""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from efimm.cli import COMMANDS, cli
from efimm.machines import data_files

ROOT = Path(__file__).parents[2]
COUNT = int(os.environ.get("EFIMM_BAD_INPUTS", "2000"))
# Not drawn: these start servers, kernels or guests, and are run as processes below.
LEFT_OUT = {"lab", "dashboard", "room", "lite", "site", "export", "judge", "doctor"}
SLOW = {"gauntlet", "locks", "claims", "check", "compare"}  # drawn with what is refused before the work begins
NUMBERS = ["0", "-1", "1", "1e400", "nan", "inf", "-inf", "0x", "0x8000001000", "9" * 400, "1T", "63T", "64T", "1e9T"]
WORDS = ["", " ", "-", "--", "x", "\x00", "\x1b[31m", "\u202e", "\udcff", "é" * 300, "../../..", "/", "/dev/null", "."]
CHOICES = ["3.5", "va-patch", "hpa-sync", "6.1", "i386", "i386-pae", "x86_64-la57", "edk2", "own-table", "4K", "2M"]
FILES = ["empty", "zeros", "folder", "no/such", "loop", "unreadable", "huge line", "surrogate.log"]


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """A folder of things that are not what a command wants."""
    folder = tmp_path_factory.mktemp("strange")
    (folder / "empty").write_bytes(b"")
    (folder / "zeros").write_bytes(bytes(100_000))
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "unreadable").write_text("x")
    (folder / "unreadable").chmod(0)
    (folder / "huge line").write_bytes(b"BIOS-e820: [mem " + b"f" * 1_000_000)
    (folder / "surrogate.log").write_bytes(b"BIOS-e820: \xff\xfe\xed\xa0\x80\n" * 50)
    return folder


def drawn(draw, strange):
    """One command line, most of it nonsense."""
    name = draw.choice(sorted(set(COMMANDS) - LEFT_OUT))
    command = cli.get_command(click.Context(cli), name)
    pool = [*NUMBERS, *WORDS, *CHOICES, *(str(strange / file) for file in FILES)]
    line = [name]
    for _ in range(draw.randint(0, 3)):
        option = draw.choice(command.params)
        value = draw.choice(pool)
        if not isinstance(option, click.Option):
            line.append(value)
        elif option.is_flag:
            line.append(option.opts[-1])
        else:
            line += [f"{option.opts[-1]}={value}"] if draw.random() < 0.5 else [option.opts[-1], value]
    if name in SLOW and draw.random() < 0.98:
        line += draw.choice([["--no-such"], ["--timeout=nan"], ["one", "too", "many"]])
    if draw.random() < 0.1:
        line.insert(draw.randint(0, len(line)), draw.choice(pool))
    return line


@pytest.fixture(scope="module")
def worked():
    """The lines of slow commands that got to their work: drawn once more, they would do the same for seconds."""
    return set()


@pytest.mark.parametrize("part", range(20))
def test_drawn_command_lines_are_answered_or_refused_in_one_line(part, strange, worked, monkeypatch, tmp_path):
    draw = random.Random(part)
    monkeypatch.chdir(tmp_path)
    for _ in range(COUNT // 20):
        line, given = drawn(draw, strange), draw.choice([None, "", "x\n", "\x00" * 100])
        if tuple(line) in worked:
            continue
        found = CliRunner().invoke(cli, line, input=given, standalone_mode=False)
        if found.exception is None and line[0] in SLOW:
            worked.add(tuple(line))
        error = found.exception
        if isinstance(error, click.ClickException | click.exceptions.Exit):
            continue
        if error is not None:  # what `main` turns into one line
            assert isinstance(error, ValueError | MemoryError | OSError | SystemExit), (line, error)
            assert len(str(error)) < 3000, line
    asked_for = {*CHOICES}  # `dump -o 3.5` writes a file of this name
    left = [path.name for path in tmp_path.iterdir() if path.suffix not in ("", ".elf")]
    assert [name for name in left if name not in asked_for] == []


def run(*arguments):
    command = [sys.executable, "-m", "efimm", *arguments]
    return subprocess.run(command, check=False, timeout=120, cwd=ROOT, capture_output=True)


def shell(line):
    line = line.replace("efimm", f"{sys.executable} -m efimm", 1)
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # as in a user's shell
    return subprocess.run(["bash", "-c", line], capture_output=True, check=False, timeout=120, cwd=ROOT, env=usual)


posix = pytest.mark.skipif(os.name != "posix", reason="a POSIX shell's streams")


def is_one_line(said):
    assert b"Traceback" not in said, said.decode(errors="replace")
    assert len([line for line in said.decode(errors="replace").splitlines() if line.startswith("efimm: ")]) >= 1, said


@posix
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("efimm map - <&-", 2),
        ("efimm check - <&-", 2),
        ("efimm run --map - <&-", 2),
        ("efimm run <&-", 0),
        ("efimm run >&-", 2),
        ("efimm run --json >&-", 2),
        ("efimm --help >&-", 2),
        ("efimm run 2>&-", 0),
        ("efimm run --ram x 2>&-", 2),
        ("efimm run <&- >&- 2>&-", 2),
        ("efimm run --json > /dev/full", 2),
        ("efimm run > /dev/full", 2),
        ("efimm walk 0x1000 > /dev/full", 2),
        ("efimm claims not-for-xen > /dev/full", 2),
        ("efimm --help > /dev/full", 2),
        ("efimm --version > /dev/full", 2),
        ("efimm map hp-superdome2-3tib > /dev/full", 2),
        ("efimm dump -o /dev/full", 2),
        ("efimm dump -o /", 2),
        ("efimm dump -o ''", 2),
        ("efimm map /", 2),
        ("efimm map /dev/full", 2),
        ("efimm map /proc/self/mem", 2),
        ("efimm check /dev/null", 2),
        ("efimm map - < /dev/zero", 2),
        ("efimm walk 0 --tables /", 2),
        ("efimm walk 0 --tables /dev/null", 2),
        ("efimm run --kernel /dev/null.py", 2),
        ("efimm run --kernel /", 2),
        ("efimm run --timeout nan", 2),
        ("efimm run --timeout inf", 2),
        ("efimm gauntlet --timeout 1e400", 2),
        ("efimm gauntlet --timeout -1", 2),
        ("efimm judge --timeout nan", 2),
        ("efimm judge --timeout 0", 2),
        ("efimm dashboard --port -1", 2),
        ("efimm dashboard --port 99999", 2),
        ("efimm dashboard --port x", 2),
        ("efimm export no-such.ipynb", 2),
        ("efimm export /dev/null -o /tmp/no-such-place-$$", 2),
        ("efimm export README.md -o /tmp/no-such-place-$$", 2),
        ("efimm site -o /", 2),
        ("efimm site -o README.md", 2),
        ("efimm lab --folder /no/such", 2),
        ("ulimit -v 60000; efimm run", None),
        ("ulimit -f 1; efimm dump -o /tmp/efimm-limit-$$", 2),
        ("ulimit -n 8; efimm run --json", None),
        ("PYTHONIOENCODING=ascii efimm locks flush", 0),
        ("LC_ALL=C efimm claims", 0),
        ("COLUMNS=1 efimm --help", 0),
        ("TERM=nonsense efimm run", 0),
    ],
)
def test_closed_and_full_streams_and_strange_files(line, status):
    done = shell(line)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert done.returncode == status or status is None, (done.returncode, done.stderr.decode())
    if done.returncode == 2 and "2>&-" not in line:
        is_one_line(done.stderr)
        assert done.stderr.count(b"\n") <= 2


@posix
@pytest.mark.parametrize(
    "command", ["run", "walk 0x1000", "compare --ram 4G", "claims", "map hp-superdome2-3tib", "--help"]
)
def test_a_reader_that_has_gone_is_status_141(command):
    done = shell(f"efimm {command} | true; echo ${{PIPESTATUS[0]}}")
    assert done.stdout.split()[-1] in (b"141", b"0")  # 0 where all was written before the reader went
    assert b"Traceback" not in done.stderr
    done = shell(f"(trap '' PIPE; sleep 0.2; efimm {command}) | exec 0<&-; echo ${{PIPESTATUS[0]}}")
    assert done.stdout.split()[-1] == b"141", done.stderr.decode()
    assert done.stderr == b""


@posix
def test_a_full_disk_leaves_the_good_file(tmp_path):
    good = tmp_path / "core.elf"
    good.write_bytes(b"good")
    done = shell(f"ulimit -f 4; efimm dump -o {good}")
    assert (done.returncode, good.read_bytes()) == (2, b"good")
    assert str(good).encode() in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["core.elf"]


@posix
def test_what_is_without_an_end_or_a_place_is_said_in_one_line():
    done = shell("ulimit -v 500000; efimm judge --linux /dev/zero")  # the limit is for the time when it is broken
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"/dev/zero: expected a Linux kernel" in done.stderr
    done = shell("efimm dump --ram 1G -o /dev/stdout | cat; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (2, b"efimm: /dev/stdout: Illegal seek\n")


NOTEBOOK = '{"cells": [{"cell_type": "code", "id": "a", "execution_count": null, "metadata": {}, "outputs": [], '
NOTEBOOK += '"source": "SOURCE"}], "metadata": {"kernelspec": {"name": "NAME", "display_name": "", "language": ""}}, '
NOTEBOOK += '"nbformat": 4, "nbformat_minor": 5}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "cannot be run"),
        ("[]", "cannot be run"),
        ('{"nbformat": 4}', "cannot be run"),
        (NOTEBOOK.replace("NAME", "no-such-kernel"), "cannot be run"),
        (NOTEBOOK.replace("NAME", "python3").replace("SOURCE", "1 / 0"), "a cell fails: ZeroDivisionError"),
        (NOTEBOOK.replace("NAME", "python3").replace("SOURCE", "import os; os._exit(1)"), "cannot be run"),
    ],
)
def test_a_notebook_that_cannot_be_run_is_a_line_and_leaves_the_good_page(tmp_path, text, expected):
    pytest.importorskip("nbclient")
    bad, page = tmp_path / "bad.ipynb", tmp_path / "bad.html"
    bad.write_text(text)
    page.write_text("good")
    done = run("export", str(bad), "-o", str(tmp_path))
    assert (done.returncode, page.read_text()) == (2, "good"), done.stderr.decode()
    is_one_line(done.stderr)
    assert expected in done.stderr.decode()
    assert b"\x1b" not in done.stderr


def test_an_export_that_is_refused_writes_nothing(tmp_path):
    pytest.importorskip("nbclient")
    notebooks = [tmp_path / folder / "n.ipynb" for folder in "ab"]
    for path in notebooks:
        path.parent.mkdir()
        path.write_text("")
    for given, expected in ((notebooks, "n.html: expected notebooks of different names"), (notebooks[:1], "cannot be")):
        done = run("export", *map(str, given), "-o", str(tmp_path / "out" / "deep"))
        assert done.returncode == 2
        is_one_line(done.stderr)
        assert expected in done.stderr.decode()
        assert not (tmp_path / "out").exists()


MINE = "from dataclasses import replace\nfrom efimm.kernels.v3_5 import KERNEL as V3_5\n"


UNTOLD = "class E(Exception):\n    def __getattribute__(self, _): 1 / 0\n"
ANYTHING = pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import os; os._exit(0)", "broken: its process ended with status 0"),
        ("import ctypes; ctypes.string_at(0)", "broken: its process was ended by SIGSEGV"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", None),
        ("class E(BaseException):\n    def __str__(self): 1 / 0\nraise E", "E: its __str__ fails"),
        ("x = [0] * (1 << 40)", "MemoryError"),
        ("KERNEL = 7", "expected a Kernel"),
        ("KERNEL = replace(V3_5, name='\\x1b[31m')", "expected words on one line"),
        (
            "class S(str):\n    def __format__(self, _): loop()\nKERNEL = replace(V3_5, name=S('x'))",
            "words",
        ),
        ("import sys; sys.modules.clear(); 1 / 0", "broken: its process ended with status 1"),
        (f"{UNTOLD}raise E", "ZeroDivisionError"),
        ("import sys; sys.stdout.close(); raise ValueError('x')", "ValueError: x"),
        ("raise BrokenPipeError", "BrokenPipeError"),
        ("from efimm.cli.ending import Watch; raise Watch('x', 1, 1)", "Watch"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGALRM)", "too long: not read within 60 seconds"),
        ("def f(n): return f(n)\nf(1)", "RecursionError"),
        ("this is no Python", "mine.py:3: invalid syntax"),
        ("\x00", "null bytes"),
    ],
)


@posix
@ANYTHING
@pytest.mark.parametrize("command", ["run", "gauntlet", pytest.param("judge", marks=pytest.mark.nightly)])
def test_a_file_that_does_anything_costs_one_line(tmp_path, command, code, expected):
    (tmp_path / "mine.py").write_text(MINE + code)
    costs_one_line(run(command, "--kernel", str(tmp_path / "mine.py")), expected)


@posix
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("while True: pass", "too long"),
        (f"{UNTOLD}def f(*_): raise E\nKERNEL = replace(V3_5, memmap_pointer=f)", "broken"),
        ("KERNEL = replace(V3_5, memmap_pointer=lambda *_: 'x')", "broken"),
    ],
)
def test_a_run_that_does_anything_costs_one_line(tmp_path, code, expected):
    (tmp_path / "mine.py").write_text(MINE + code)
    costs_one_line(run("run", "--kernel", str(tmp_path / "mine.py"), "--timeout", "3"), expected)


def test_a_firmware_of_ones_own_is_executed_below_too(tmp_path):
    (tmp_path / "mine.py").write_text("import os; os._exit(0)")
    costs_one_line(run("gauntlet", "--firmware", str(tmp_path / "mine.py")), "broken: its process ended with status 0")


BELOW = """
import os, sys, time
from efimm.cli import ending, own_code
own_code.go_below(os.getppid())
{}
with own_code._ended_after(0.5):
    pass
    {}
time.sleep(2.5)
"""


@posix
@pytest.mark.parametrize(
    ("before", "inside", "status"),
    [
        ("", "sum(range(1 << 60))", -signal.SIGALRM),
        ("", "pass", 0),
        # An end that a bare except has taken is told again all the same.
        ("ending.obey_signals()", "try: os.kill(os.getpid(), 15)\n    except: pass", 1),
    ],
)
def test_the_system_ends_what_takes_too_long_to_be_read(before, inside, status):
    done = subprocess.run([sys.executable, "-c", BELOW.format(before, inside)], capture_output=True, check=False)
    assert done.returncode == status, done.stderr


FORKS = """
import os
def memmap_pointer(linux, new_memmap):
    if os.fork() == 0 and {}:
        os.execlp("sleep", "sleep", "60")
    return linux.virt_to_phys(new_memmap)
KERNEL = replace(V3_5, name="forks", memmap_pointer=memmap_pointer)
"""


@posix
@pytest.mark.parametrize("stays", [True, False])
@pytest.mark.parametrize("command", ["run", "gauntlet"])
def test_a_kernel_that_forks_is_answered_once_and_its_forks_end(tmp_path, command, stays):
    (tmp_path / "mine.py").write_text(MINE + FORKS.format(stays))
    done = run(command, "--kernel", str(tmp_path / "mine.py"), "--json")  # waits till nobody holds its streams
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 1
    assert json.loads(done.stdout)


@posix
@pytest.mark.parametrize("code", ["threading.Thread(target=sleep, args=[600]).start()", "atexit.register(sleep, 600)"])
@pytest.mark.parametrize("command", ["run", "gauntlet"])
def test_nothing_is_waited_for_after_the_answer(tmp_path, command, code):
    lines = f"import atexit, threading\nfrom time import sleep\n{code}\nKERNEL = replace(V3_5, name='mine')"
    (tmp_path / "mine.py").write_text(MINE + lines)
    done = run(command, "--kernel", str(tmp_path / "mine.py"))
    assert done.returncode == 0, done.stderr
    assert done.stdout


def costs_one_line(done, expected):
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""
    if expected is None:
        assert done.returncode == 130
    else:
        assert done.returncode == 2
        assert expected in done.stderr.decode().splitlines()[-1]


def test_every_command_is_drawn_or_run():
    assert set(COMMANDS) >= LEFT_OUT
    assert "hp-superdome2-3tib" in data_files()
