"""The reader's copy of the notebooks: made, renewed where it was not touched, kept where it was."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from test_house import tracked_notebooks

from efimm.course import work
from efimm.course.series import notebooks_folder, shipped

ROOT = Path(__file__).parents[2]
EFIMM = [sys.executable, "-m", "efimm"]


@pytest.fixture
def series(tmp_path, monkeypatch):
    """A series of three notebooks that a test may change, as an upgrade does."""
    folder = tmp_path / "series"
    (folder / "solutions").mkdir(parents=True)
    for name in ("00-first", "01-second", "glossary", "solutions/00-solutions"):
        (folder / f"{name}.ipynb").write_text(f'{{"cells": [], "name": "{name}"}}')
    monkeypatch.setattr(work, "notebooks_folder", lambda: folder)
    monkeypatch.setattr(work, "shipped", lambda: shipped(folder))
    return folder


@pytest.fixture
def mine(tmp_path):
    return tmp_path / "elsewhere" / "efimm-notebooks"


def test_the_first_use_makes_a_copy_of_everything(series, mine):
    done = work.open_copy(mine)

    assert str(done) == "4 notebooks added"
    for path in shipped(series):
        assert (mine / path.relative_to(series)).read_bytes() == path.read_bytes()
    assert str(work.open_copy(mine)) == ""


def test_an_upgrade_renews_what_was_not_touched_and_keeps_what_was(series, mine):
    work.open_copy(mine)
    (mine / "00-first.ipynb").write_text("what I wrote")
    for name in ("00-first", "01-second"):
        (series / f"{name}.ipynb").write_text("a new edition")
    (series / "02-third.ipynb").write_text("new")

    done = work.open_copy(mine)

    assert (done.added, done.renewed, done.kept) == (["02-third.ipynb"], ["01-second.ipynb"], ["00-first.ipynb"])
    assert (mine / "00-first.ipynb").read_text() == "what I wrote"
    assert (mine / "01-second.ipynb").read_text() == "a new edition"
    assert "efimm reset 00 " in str(done)


def test_what_was_changed_is_not_spoken_of_when_there_is_nothing_new(series, mine):
    work.open_copy(mine)
    (mine / "00-first.ipynb").write_text("what I wrote")

    assert str(work.open_copy(mine)) == ""
    assert (mine / "00-first.ipynb").read_text() == "what I wrote"


def test_a_file_that_was_there_before_is_the_readers(series, mine):
    mine.mkdir(parents=True)
    (mine / "00-first.ipynb").write_text("from somewhere else")

    assert work.open_copy(mine).kept == ["00-first.ipynb"]
    assert (mine / "00-first.ipynb").read_text() == "from somewhere else"


@pytest.mark.parametrize("damaged", ["", "{", "[1]", '{"00-first.ipynb": 7}'])
def test_a_damaged_manifest_loses_nothing(series, mine, damaged):
    work.open_copy(mine)
    (mine / work.MANIFEST).write_text(damaged)
    (mine / "00-first.ipynb").write_text("what I wrote")
    (series / "00-first.ipynb").write_text("a new edition")

    work.open_copy(mine)

    assert (mine / "00-first.ipynb").read_text() == "what I wrote"
    assert set(json.loads((mine / work.MANIFEST).read_text())) >= {"01-second.ipynb"}


def test_an_interrupted_upgrade_is_taken_up_again(series, mine, monkeypatch):
    work.open_copy(mine)
    for name in ("00-first", "01-second"):
        (series / f"{name}.ipynb").write_text("a new edition")
    whole, written = work._write, []

    def until_the_second(path, content):
        if written:
            raise KeyboardInterrupt
        written.append(path)
        whole(path, content)

    monkeypatch.setattr(work, "_write", until_the_second)
    with pytest.raises(KeyboardInterrupt):
        work.open_copy(mine)
    monkeypatch.setattr(work, "_write", whole)

    assert work.open_copy(mine).renewed == ["01-second.ipynb"]
    assert work.open_copy(mine).kept == []


def test_reset_gives_a_fresh_copy_and_keeps_every_old_one(series, mine):
    work.open_copy(mine)
    for said in ("first try", "second try"):
        (mine / "00-first.ipynb").write_text(said)
        work.reset(mine, "00")

    assert (mine / "00-first.ipynb").read_bytes() == (series / "00-first.ipynb").read_bytes()
    assert (mine / "00-first.old.ipynb").read_text() == "first try"
    assert (mine / "00-first.old2.ipynb").read_text() == "second try"
    (series / "00-first.ipynb").write_text("a new edition")
    assert work.open_copy(mine).renewed == ["00-first.ipynb"]


@pytest.mark.parametrize("wanted", ["00", "glossary", "00-solutions", "01-second", "01-second.ipynb"])
def test_a_notebook_goes_by_its_number_or_its_name(series, mine, wanted):
    fresh, kept = work.reset(mine, wanted)

    assert fresh.exists()
    assert kept is None


@pytest.mark.parametrize("wanted", ["", "7", "99", "../00-first", "solutions"])
def test_any_other_name_is_refused_with_those_there_are(series, mine, wanted):
    with pytest.raises(ValueError, match="expected one of 00, 01, glossary, 00-solutions"):
        work.reset(mine, wanted)


def test_the_own_notebooks_and_a_file_are_refused(series, tmp_path):
    with pytest.raises(ValueError, match="--folder"):
        work.open_copy(series)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="this is a file"):
        work.open_copy(tmp_path / "file")


def test_what_is_shipped_is_what_git_knows():
    assert set(shipped()) == set(tracked_notebooks())


def test_what_a_reader_leaves_beside_them_is_not_shipped(tmp_path):
    for name in ("00-first.ipynb", "00-first-Copy1.ipynb", "Untitled.ipynb", "Untitled1.ipynb", "00-first.old.ipynb"):
        (tmp_path / name).write_text("{}")

    assert [path.name for path in shipped(tmp_path)] == ["00-first.ipynb"]


def test_lab_opens_a_copy_and_reset_says_where_the_old_one_is(tmp_path):
    # JupyterLab prints its version and ends.
    said = subprocess.run([*EFIMM, "lab", "--version"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert said.stdout.startswith("efimm-notebooks: ")
    mine = tmp_path / "efimm-notebooks"
    (mine / "04-the-bug.ipynb").write_text("what I wrote")

    said = subprocess.run([*EFIMM, "reset", "04"], cwd=tmp_path, check=True, capture_output=True, text=True)

    assert (mine / "04-the-bug.old.ipynb").read_text() == "what I wrote"
    assert "04-the-bug.old.ipynb" in said.stdout


def test_a_contributor_opens_the_notebooks_themselves(tmp_path):
    command = [*EFIMM, "lab", "--folder", str(notebooks_folder()), "--version"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """efimm as pip installs it."""
    pytest.importorskip("pip", reason="pip, which makes a wheel, is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    built = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    if built.returncode and "hatchling" in built.stderr:
        pytest.skip("the package index cannot be reached, and the wheel's builder comes from it")
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.skipif(os.name != "posix", reason="asks for a POSIX venv")
def test_a_change_outlives_a_reinstallation_into_read_only_site_packages(wheel, tmp_path):
    environment, home = tmp_path / "venv", tmp_path / "home"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    (site,) = environment.glob("lib/*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))  # what efimm needs is there already
    install = [environment / "bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", wheel]
    home.mkdir()
    alone = {"PATH": os.environ["PATH"], "HOME": str(home)}

    def lab():
        command = [environment / "bin/python", "-m", "efimm", "lab", "--version"]
        return subprocess.run(command, cwd=home, env=alone, check=True, capture_output=True, text=True).stdout

    subprocess.run(install, env=alone, check=True)
    assert (
        str(site)
        in subprocess.run(
            [environment / "bin/python", "-c", "import efimm; print(efimm.__file__)"],
            cwd=home,
            env=alone,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    subprocess.run(["chmod", "-R", "a-w", site], check=True)
    lab()
    (home / "efimm-notebooks" / "04-the-bug.ipynb").write_text("what I wrote")
    subprocess.run(["chmod", "-R", "u+w", site], check=True)
    subprocess.run(install, env=alone, check=True)
    lab()

    assert (home / "efimm-notebooks" / "04-the-bug.ipynb").read_text() == "what I wrote"
    shutil.rmtree(environment)
