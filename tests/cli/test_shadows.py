"""Nothing is imported from where one happens to stand: a folder full of traps, and every command started in it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from efimm.cli import COMMANDS

ROOT = Path(__file__).parents[2]
TRAP = "import pathlib\n(pathlib.Path(__file__).parent / 'sprung').touch()\nraise SystemExit('a trap')\n"
NAMES = (
    *("jupyterlab", "voila", "jupyter_server", "nbclient", "nbconvert", "nbformat", "ipykernel", "ipykernel_launcher"),
    *("IPython", "traitlets", "tornado", "zmq", "click", "cloudpickle", "tqdm", "numpy", "matplotlib", "packaging"),
    *("anywidget", "ipywidgets", "json", "ast", "pickle", "pdoc", "efimm", "sitecustomize", "usercustomize"),
    *("voila_config", "jupyter_config", "jupyter_lab_config", "jupyter_server_config", "multiprocessing"),
)
TEMPLATE = "{{ cycler.__init__.__globals__.os.system('touch sprung') }}"  # nbconvert's way to run what it finds
ARGUMENTS = {
    "check": ["intel-brickland-512gib"],
    "claims": ["not-for-xen"],
    "dashboard": ["--no-browser", "--port", "0"],
    "dump": ["-o", "core.elf"],
    "export": ["{notebook}", "-o", "out"],
    "gauntlet": [],
    "judge": ["--ram", "1"],
    "lab": ["--no-browser", "--port", "0"],
    "lite": ["--wheels", "not-there"],
    "locks": ["flush"],
    "map": ["intel-brickland-512gib"],
    "reset": ["04"],
    "room": ["--site", "not-there"],
    "site": ["-o", "site"],
    "walk": ["0x1000"],
}
NOTEBOOK = """{"cells": [{"cell_type": "code", "id": "a", "execution_count": null, "metadata": {}, "outputs": [],
 "source": "import matplotlib, json"}], "metadata": {"kernelspec": {"name": "python3", "display_name": "", "language":
 ""}}, "nbformat": 4, "nbformat_minor": 5}"""


# `site` runs notebooks as `export` does, and all of them: at night.
@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=pytest.mark.nightly if name == "site" else ()) for name in COMMANDS]
)
def test_no_command_runs_what_lies_in_the_current_folder(command, tmp_path):
    program = shutil.which("efimm", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("the command is not installed beside this Python")
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(TRAP)
    for name in ("lab", "reveal", "voila"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "conf.json").write_text('{"base_template": "base", "mimetypes": {"text/html": true}}')
        (tmp_path / name / "index.html.j2").write_text(TEMPLATE)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "n.ipynb").write_text(NOTEBOOK)
    arguments = [each.format(notebook="elsewhere/n.ipynb") for each in ARGUMENTS.get(command, [])]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    with (
        (tmp_path / "said").open("wb") as said,
        subprocess.Popen(
            [program, command, *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        ) as process,
    ):
        end = time.monotonic() + (25 if command in ("lab", "dashboard", "site", "gauntlet") else 90)
        while process.poll() is None and time.monotonic() < end and not (tmp_path / "sprung").exists():
            if b"?token=" in (tmp_path / "said").read_bytes():
                end = min(end, time.monotonic() + 2)  # a server that has said its address has begun all it begins
            time.sleep(0.1)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    assert not (tmp_path / "sprung").exists()
