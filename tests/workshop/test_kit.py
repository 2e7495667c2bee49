"""The kit for a room without the network: built once, installed where no network is, and it works."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "workshop"))
from kit import PYTHONS, SYSTEMS, collect_wheels, lacking

ROOT = Path(__file__).parents[2]
NOWHERE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1,localhost"}

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="pip, which collects wheels, is not installed"),
]


def cut_off(command, home):
    """`command` in an environment of its own, without any network where the system allows that."""
    alone = ["unshare", "--map-root-user", "--net"]
    may = shutil.which("unshare") and subprocess.run([*alone, "true"], check=False, capture_output=True).returncode == 0
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "PIP_CONFIG_FILE": os.devnull, **NOWHERE}
    return subprocess.run(
        [*(alone if may else []), *command], env=environment, check=False, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """The unpacked kit."""
    folder = tmp_path_factory.mktemp("kit")
    # For this Python only: `make nightly` looks at the wheels of all systems.
    python = "{}.{}".format(*sys.version_info[:2])
    command = [sys.executable, str(ROOT / "workshop" / "kit.py"), "--output", str(folder), "--python", python]
    command += ["--system", f"linux-{platform.machine()}"]
    built = subprocess.run(command, check=False, capture_output=True, text=True, timeout=400)
    if built.returncode and ("Could not find a version" in built.stderr or "connection" in built.stderr.lower()):
        pytest.skip("the package index cannot be reached, and the kit is made from it")
    assert built.returncode == 0, built.stderr
    (archive,) = folder.glob("*.zip")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    return folder / archive.stem


@pytest.fixture(scope="module")
def installed(kit):
    """The kit after install.py, which had no network."""
    done = cut_off([sys.executable, str(kit / "install.py")], kit)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Done. Now:  python3 start.py"
    return kit


def test_the_kit_holds_what_a_room_needs(kit):
    there = {path.name for path in kit.iterdir()}
    assert {"README.txt", "install.py", "start.py", "start.bat", "start.command", "doctor.py", "wheels"} <= there
    assert list((kit / "wheels").glob("efimm-*.whl"))


def test_before_the_installation_the_doctor_says_what_comes_first(kit, tmp_path):
    folder = tmp_path / "fresh"
    folder.mkdir()
    shutil.copy(kit / "doctor.py", folder)

    assert "First:  python3 start.py" in cut_off([sys.executable, str(folder / "doctor.py")], tmp_path).stderr


def test_a_python_without_packages_is_told(kit, tmp_path):
    script = (kit / "install.py").read_text(encoding="utf-8").replace("LAST = (3, 11)", "LAST = (3, 10)")
    (tmp_path / "install.py").write_text(script.replace("(3, 14)", "(3, 10)", 1), encoding="utf-8")

    assert "for 3.11 to 3.14" in cut_off([sys.executable, str(tmp_path / "install.py")], tmp_path).stderr


def test_start_installs_when_it_is_first_asked_and_opens_a_copy(kit):
    said = cut_off([sys.executable, str(kit / "start.py"), "--version"], kit)

    assert said.returncode == 0, said.stderr
    assert (kit / "efimm-notebooks" / "00-start-here.ipynb").exists()


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_every_system_has_all_its_wheels(kit, tmp_path, system, python):
    shutil.copy(next((kit / "wheels").glob("efimm-*.whl")), tmp_path)
    assert lacking(tmp_path, system, python)

    collect_wheels(tmp_path, system, python)

    assert lacking(tmp_path, system, python) == set()
    names = {path.name.split("-")[0] for path in tmp_path.iterdir()}
    assert ("pywinpty" in names) == system.startswith("windows")
    assert ("appnope" in names) == system.startswith("macos")


def test_it_installs_without_an_index_and_the_command_answers(installed):
    said = cut_off([str(installed / "venv" / "bin" / "efimm"), "run", "--kernel", "3.5", "--ram", "1T"], installed)

    assert said.returncode == 0, said.stderr
    assert "CR2" in said.stdout


def test_its_doctor_finds_everything(installed):
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(installed), **NOWHERE}
    command = [sys.executable, str(installed / "doctor.py")]
    said = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=200)

    assert said.returncode == 0, said.stdout + said.stderr
    assert f"in {installed}"[:20] in said.stdout.replace("\n         ", " ")
