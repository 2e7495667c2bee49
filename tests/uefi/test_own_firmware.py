"""A firmware from a file: `--firmware ./mine.py`, as the page about it shows one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import efimm

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "firmware.md").read_text(encoding="utf-8")
CODE = PAGE.split("```python\n")[1].split("```")[0]
READS = "cpu.read(0xFEC0_0000, 4)"
LINE = 1 + next(k for k, line in enumerate(CODE.splitlines()) if READS in line)


def command(where, *words):
    return subprocess.run(
        [sys.executable, "-m", "efimm", *words],
        cwd=where,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_the_page_shows_one_in_ten_lines():
    assert len([line for line in CODE.splitlines() if line]) <= 10


def test_the_firmware_of_the_page_runs_by_command_and_in_python(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    ended = command(tmp_path, "run", "--kernel", "3.5", "--ram", "4G", "--firmware", "./mine.py", "--json")
    space = {}
    exec(CODE, space)
    outcome = efimm.run(efimm.machine("4G", firmware=space["FIRMWARE"]), "3.5")

    assert ended.stderr == "efimm: executing the Python code in ./mine.py\n"
    assert json.loads(ended.stdout) == outcome.summary()
    assert ("page-fault", 0xFEC0_0000, "firmware") == (outcome.verdict, outcome.fault.cr2, outcome.who)


@pytest.mark.parametrize("words", [("compare",), ("walk", "0xfec00000"), ("check", "thinkpad-x240-8gib")])
def test_every_command_that_takes_a_name_takes_a_file(tmp_path, words):
    (tmp_path / "mine.py").write_text(CODE)
    ended = command(tmp_path, *words, "--firmware", "mine.py")

    assert (0, True) == (ended.returncode, bool(ended.stdout))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FIRMWARE = 5\n", "mine.py: expected a FirmwareKind in the name FIRMWARE"),
        ("x = (\n", "mine.py:1: '(' was never closed"),
        ("\nraise RuntimeError('no')\n", "mine.py:2: RuntimeError: no"),
        (CODE.replace(READS, "cpu.nothing()"), f"mine.py:{LINE}: AttributeError: "),
        (CODE.replace(READS, "raise ValueError('odd')"), f"mine.py:{LINE}: ValueError: odd"),
    ],
)
def test_a_mistake_in_the_file_is_told_in_one_line(tmp_path, text, said):
    (tmp_path / "mine.py").write_text(text)
    ended = command(tmp_path, "run", "--firmware", "mine.py")
    [_, line] = ended.stderr.splitlines()

    assert (2, "") == (ended.returncode, ended.stdout)
    assert line.startswith(f"efimm: {said}")


def test_beside_a_kernel_from_a_file_the_mistake_is_told_where_it_is(tmp_path):
    (tmp_path / "mine.py").write_text(CODE.replace(READS, "cpu.nothing()"))
    (tmp_path / "kernel.py").write_text("from efimm.kernels.v3_8 import KERNEL\n")
    for words in (
        ("--kernel", "kernel.py", "--firmware", "mine.py"),
        ("--firmware", "mine.py", "--kernel", "kernel.py"),
    ):
        ended = command(tmp_path, "run", *words)
        assert ended.stderr.splitlines()[-1].startswith(f"efimm: mine.py:{LINE}: AttributeError: ")
