"""The set-up check: it finds what is missing, says what to do, and needs neither the network nor what is optional."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from itertools import chain

import pytest

from efimm.doctor import all_there, doctor, examine, finding, installed, jupyter, model
from efimm.doctor.finding import Finding, verdict

REQUIRES = metadata.requires


def test_everything_is_here_and_said_in_72_columns():
    told = subprocess.run(
        [sys.executable, "-m", "efimm", "doctor"], capture_output=True, text=True, timeout=120, check=False
    )

    assert told.returncode == 0, told.stdout
    assert told.stdout.splitlines()[-1] == "Everything is here that the notebooks need."
    assert "a cell of a notebook ran" in told.stdout
    assert "JupyterLab starts and answers" in told.stdout
    assert all(len(line) <= finding.COLUMNS for line in told.stdout.splitlines())


def test_the_report_as_json(monkeypatch, capsys):
    from efimm.cli.notebooks import doctor_command

    monkeypatch.setattr("efimm.doctor.SLOW", ())
    with pytest.raises(SystemExit) as ended:
        doctor_command(["--json"], standalone_mode=False)
    told = json.loads(capsys.readouterr().out)

    assert ended.value.code == 0
    assert told["ready"] is True
    assert {"ok", "needed", "text"} == set(told["findings"][0])


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ("no-such-package-of-ours>=1", "no-such-package-of-ours: pip install 'no-such-package-of-ours>=1'"),
        ("click<1", f"click {metadata.version('click')}: expected <1; pip install 'click<1'"),
    ],
)
def test_a_package_that_is_missing_or_of_another_version_is_told(monkeypatch, asked, complaint):
    monkeypatch.setattr(metadata, "requires", lambda name: [asked, *REQUIRES(name)])
    found = list(installed.packages())

    assert [each.text for each in found if not each.ok] == [complaint]
    assert not all_there(found)


def test_what_an_extra_asks_for_is_not_asked_for(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda _: ["nothing-of-ours; extra == 'dev'", "click"])

    assert [each.ok for each in installed.packages()] == [True]


def test_an_old_python_is_told(monkeypatch):
    monkeypatch.setattr("platform.python_version", lambda: "3.9.2")

    (found,) = installed.python()
    assert not found.ok
    assert "3.9.2" in found.text
    assert "make lab PYTHON=" in found.text


def test_a_model_that_has_forgotten_its_story_is_told(monkeypatch):
    real = model.run

    def forgetful(made, kernel):
        return replace(real(made, kernel), verdict="success")

    monkeypatch.setattr(model, "run", forgetful)
    found = list(model.story())

    assert [each.ok for each in found] == [True, False, True, True]
    assert "and not page-fault" in found[1].text


def test_without_notebooks_that_is_said(monkeypatch):
    def nowhere():
        raise ValueError("not installed")

    monkeypatch.setattr(model, "notebooks_folder", nowhere)

    assert "no notebooks" in list(model.files())[-1].text


def test_a_kernel_that_cannot_start_and_a_server_that_does_not_are_told(monkeypatch):
    monkeypatch.setattr(jupyter, "_CELL", "1 // 0")
    monkeypatch.setattr(jupyter, "_PATIENCE", 0)
    monkeypatch.setattr(jupyter, "_WIDGETS", ("no-such-extension",))
    found = list(chain(jupyter.kernel(), jupyter.server(), jupyter.widgets()))

    assert [each.ok for each in found] == [False, False, False]
    assert "efimm lab --debug" in found[1].text
    assert "no-such-extension" in found[2].text


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nobody can delete the folder that one is in")
def test_a_folder_that_is_gone_is_told_as_what_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()

    (found,) = jupyter.kernel()
    assert not found.ok
    assert "go to another one" in found.text


def test_what_is_optional_is_absent_and_nothing_fails(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(installed.importlib.util, "find_spec", lambda _: None)
    found = [*installed.voila(), *installed.firmware()]

    assert [each.word for each in found] == ["absent", "absent"]
    assert "apt install" in found[1].text
    assert all_there(found)


def test_the_last_line_counts_what_is_missing():
    assert verdict([Finding(True, "a"), Finding(False, "b"), Finding(False, "c", needed=False)]).startswith(
        "1 of 3 checks"
    )


def test_the_quick_report_is_what_the_first_notebook_prints():
    report = doctor()

    assert report.splitlines()[-1] == "Everything is here that the notebooks need."
    assert len(list(examine(quick=True))) == len([line for line in report.splitlines()[:-1] if line[0] != " "])
