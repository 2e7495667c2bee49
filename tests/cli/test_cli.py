"""The `efimm` command as a user sees it: real processes, their output and exit status."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import efimm
from efimm.cli.own_code import keep_timeout_of_each
from efimm.kernels import KERNELS
from efimm.machines import data_files
from efimm.scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "efimm", *arguments], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60
    )


def answer(*arguments):
    done = command(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_run_prints_the_contract_as_one_json_object():
    found = json.loads(answer("run", "--kernel", "3.5", "--ram", "1T", "--json"))

    assert list(found) == [
        "kernel",
        "arch",
        "ram",
        "highest_ram",
        "buffer_pa",
        "pointer",
        "cr3",
        "verdict",
        "status",
        "fault",
        "who",
    ]
    assert (found["kernel"], found["arch"], found["ram"], found["verdict"]) == ("3.5", "x86_64", 1 << 40, "page-fault")
    assert found["fault"] == {
        "cr2": found["buffer_pa"] + 0x20,
        "error_code": 0,
        "level": "pgd",
        "index": found["buffer_pa"] >> 39,
    }


@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [
        (["--ram", "256G"], "success"),
        (["--ram", "1T"], "page-fault"),
        (["--ram", "1T", "--kernel", "va-patch"], "success"),
        (["--ram", "1T", "--kernel", "hpa-sync"], "success"),
        (["--buffer", "0x7ffffff000"], "success"),
        (["--buffer", "0x8000001000"], "page-fault"),
        (["--map", "hp-superdome2-3tib"], "page-fault"),
    ],
)
def test_run_answers_the_questions_of_the_story(arguments, verdict):
    assert verdict == json.loads(answer("run", *arguments, "--json"))["verdict"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "--kernel", "hpa-sync", "--map", "intel-brickland-512gib"],
        ["walk", "0xffff888000001000"],
        ["walk", "0x1000"],
        ["walk", "0x80001d8000", "--tables", "debian-6.1-600g", "--root", "efi_mm.pgd"],
        ["compare", "--ram", "2T"],
        ["compare", "--ram", "600G", "--explain"],
        ["run", "--ram", "600G", "--kernel", "va-patch", "--explain"],
        ["gauntlet", "--kernel", "hpa-sync"],
        ["gauntlet", "--all"],
        ["locks", "flush"],
        ["claims"],
        ["claims", "not-for-xen"],
        *(["map", name] for name in data_files()),
        ["--help"],
        ["run", "--help"],
        [],
    ],
)
def test_text_fits_into_72_columns(arguments):
    assert [] == [line for line in answer(*arguments).splitlines() if len(line) > 72]


def test_without_arguments_it_prints_its_help():
    assert answer() == answer("--help")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--ram", "-3G"],
        ["run", "--ram=-3G"],
        ["run", "--ram", "12Q"],
        ["run", "--kernel", "2.4"],
        ["run", "--descriptor-size", "39"],
        ["run", "--buffer", "0x8000001000", "--ram", "256G"],
        ["run", "--map", "no-such-file"],
        ["run", "--arch", "arm64"],
        ["walk", "0x800000000000"],
        ["walk", "0x1ffffffffffffffff"],
        ["walk", "nowhere"],
        ["walk"],
        ["locks", "nosuch"],
        ["claims", "nosuch"],
        ["locks", "flush", "--history", "nosuch"],
        ["gauntlet", "--kernel", "nosuch"],
        ["walk", "0x1000", "--tables", "debian-6.1-600g"],
        ["walk", "0x1000", "--tables", "debian-6.1-600g", "--root", "nobody"],
        ["walk", "0x1000", "--tables", "README.md"],
        ["walk", "0x1000", "--tables", "debian-6.1-2g", "--root", "9" * 26],
        ["walk", "0x1000", "--tables", "debian-6.1-2g", "--root", hex(1 << 52)],
        ["check", "intel-brickland-512gib", "--boot", "999"],
        ["room", "--site", "/dev/null"],
        ["lab", "--folder", "/dev/null"],
        ["walk", "0x100000000", "--arch", "i386"],
        ["dump"],
        ["dump", "-o", "no/such/directory/core.elf"],
        ["dump", "-o", "core.elf", "--ram", "64T", "--page-size", "4K"],
        ["map", "README.md"],
        ["frobnicate"],
        ["run", "--frobnicate"],
    ],
)
def test_bad_input_gets_one_line_and_exit_status_2(arguments):
    done = command(*arguments)

    assert (2, "") == (done.returncode, done.stdout)
    assert 1 == len(done.stderr.splitlines())
    assert done.stderr.startswith("efimm: ")


def test_a_truncated_log_is_refused_with_its_file_and_line(tmp_path):
    log = tmp_path / "boot.log"
    log.write_text("BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable\nBIOS-e820: [mem 0x00000000001\n")
    done = command("run", "--map", str(log))

    assert 2 == done.returncode
    assert f"{log}:2:" in done.stderr
    assert "expected" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["map", "intel-brickland-512gib", "--boot", "1"], "boot 1: expected a log; here are no boots"),
        (["check", "intel-brickland-512gib", "--boot", "999"], "boot 999: expected a log; here are no boots"),
        (["map", "/", "--boot", "2"], "/: boot 2: expected a log; here are no boots"),
        (["check", "--redact", sys.executable], f"{sys.executable}: this is an ELF file; expected a log"),
        (["check", "--redact", "/proc/self/mem"], "/proc/self/mem: expected a readable file: Input/output error"),
        (["room", "--site", "/dev/null"], "/dev/null: expected a folder"),
        (["walk", "0", "--tables", "debian-6.1-2g", "--root", hex(1 << 52)], "a physical address of at most 52 bits"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="devices and folders of Linux")
def test_a_refusal_says_what_was_in_the_way(arguments, words):
    assert words in command(*arguments).stderr


def test_a_machine_of_ours_can_be_redacted_too():
    assert "brickland" in answer("check", "--redact", "intel-brickland-512gib")


def test_map_prints_counts_and_the_top_of_ram():
    found = json.loads(answer("map", "hp-superdome2-3tib", "--json"))

    assert (50, 32, 0x320_0000_0000) == (len(found["descriptors"]), len(found["e820"]), found["highest_ram"])


def test_walk_shows_the_identity_map_that_exists_only_during_the_call():
    assert "no translation" in answer("walk", "0x1234000")
    assert "-> 0x1234000, 2M page" in answer("walk", "0x1234000", "--at-call")
    assert "not present: pgd[1]" in answer("walk", "0x8000001000", "--at-call")
    assert "-> 0x8000001000, 1G page" in answer("walk", "0x8000001000", "--at-call", "--kernel", "hpa-sync")


def test_walk_goes_through_the_saved_tables_of_a_real_kernel():
    # The EFI descriptor array of that boot lay at 0x80001d8000, and 6.1 maps its pages one to one.
    saved = ["walk", "0x80001d8000", "--tables", "debian-6.1-600g", "--root"]
    assert "-> 0x80001d8000, 4K page" in answer(*saved, "efi_mm.pgd")
    assert "not present: pgd[1]" in answer(*saved, "init_top_pgt")
    assert answer(*saved, "0x80001be000") == answer(*saved, "efi_mm.pgd")


def test_dump_writes_an_elf_core_at_either_moment(tmp_path):
    before, during = tmp_path / "before.elf", tmp_path / "during.elf"
    assert "drgn -c" in answer("dump", "-o", str(before))
    answer("dump", "-o", str(during), "--at-call")
    assert before.read_bytes()[:4] == during.read_bytes()[:4] == b"\x7fELF"
    assert before.read_bytes() != during.read_bytes()


def test_the_gauntlet_is_the_same_as_text_and_as_data():
    found = json.loads(answer("gauntlet", "--kernel", "va-patch", "--json"))
    text = answer("gauntlet", "--kernel", "va-patch")

    assert text.startswith(f"va-patch: {found['passed']} of {len(found['trials'])}\n")
    assert all(trial["scenario"] in text and trial["verdict"] in text for trial in found["trials"])


def test_locks_prints_the_schedule_of_a_deadlock_or_that_there_is_none():
    assert "DEADLOCK" in answer("locks", "flush")
    assert "Nothing bad can happen" in answer("locks", "flush", "--history", "3.5")
    assert "CRASH" in answer("locks", "exec", "--history", "617d34d9^", "--xen")


def test_compare_runs_every_kernel():
    found = json.loads(answer("compare", "--json"))

    assert list(efimm.KERNELS) == list(found)
    expected = {name: "page-fault" if kernel.known_bugs else "success" for name, kernel in efimm.KERNELS.items()}
    assert expected == {name: each["verdict"] for name, each in found.items()}
    assert found["3.5"]["verdict"] == "page-fault"


def test_compare_says_which_kernels_have_no_such_build():
    options = ("compare", "--ram", "4G", "--arch", "i386")
    found = json.loads(answer(*options, "--json"))

    assert list(efimm.KERNELS) == list(found)
    assert ["rhel6"] == [name for name, each in found.items() if each is None]
    assert "rhel6      the suite has no i386 build of it" in answer(*options).splitlines()


def test_the_text_of_a_fault_is_what_a_mail_would_quote():
    text = answer("run", "--buffer", "0x8000001000")

    assert "pgd[1]  0x0000000000000000" in text
    assert "BUG: unable to handle kernel paging request at 0000008000001020" in text
    assert "PGD 0\n" in text


def test_the_commands_of_the_notebooks_make_no_grammar_that_they_do_not_use():
    """Where Jupyter's packages ask for it, which took two seconds of every one of these commands."""
    program = "import efimm.cli.notebooks, nbformat, sys; print('jsonschema' in sys.modules, 'lark' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert said == "True False\n"


def test_the_limit_of_a_command_with_many_trials_leaves_each_of_them_its_own():
    """A kernel and a firmware of the reader's, each trial as long as it may be: the trials' limit comes first."""
    most = len(SCENARIOS) + len(KERNELS)
    for seconds in (1.0, 20.0):
        context = SimpleNamespace(meta={})
        keep_timeout_of_each(context, seconds)
        ((_loading, whole),) = context.meta.values()

        assert whole > most * seconds
