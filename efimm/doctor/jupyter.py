"""Does Jupyter work here: a kernel, a server that answers, and the widgets' half that runs in the browser?"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from .finding import Finding

_PATIENCE = 40  # seconds
_SAFE = os.environ | {"PYTHONSAFEPATH": "1"}  # no module that lies in the current folder is taken for Jupyter's
_CELL = "import efimm\nprint(efimm.run(efimm.machine('1T'), '3.5').verdict)"
# A server that ends when doctor is killed, where the system can do that.
_SERVER = """
import runpy, sys
from efimm.workers import end_with
end_with(int(sys.argv.pop(1)))
runpy.run_module("jupyterlab", run_name="__main__", alter_sys=True)
"""
_WIDGETS = ("anywidget", "@jupyter-widgets/jupyterlab-manager")


def kernel() -> Iterator[Finding]:
    """A cell of a notebook is run."""
    from ..course.export import executed  # noqa: PLC0415 - the other checks are made even where nbclient is missing

    try:
        Path.cwd()
    except FileNotFoundError:  # who starts a kernel asks for this folder, too, wherever the kernel is to run
        yield Finding(False, "the folder that you are in is not there any more: go to another one, and ask again")
        return
    start = monotonic()
    cell = {"cell_type": "code", "id": "one", "source": _CELL, "outputs": list[str](), "execution_count": None}
    notebook = {"cells": [cell | {"metadata": {}}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    try:
        with tempfile.TemporaryDirectory() as folder:  # a kernel imports what lies where it is started
            path = Path(folder) / "doctor.ipynb"
            path.write_text(json.dumps(notebook), encoding="utf-8")
            said = executed(path, _PATIENCE).cells[0].outputs[0].text.strip()
        yield Finding(said == "page-fault", f"a cell of a notebook ran, and said {said} ({monotonic() - start:.1f} s)")
    except Exception as error:  # whatever goes wrong in a kernel is what this is to tell
        yield Finding(False, f"no cell of a notebook could be run: {_one_line(error)}")


def server() -> Iterator[Finding]:
    """JupyterLab is started, and its page asked for, on this machine alone."""
    start, port = monotonic(), _free_port()
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--ServerApp.root_dir={folder}", f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1"]
        options += ["--no-browser", "--IdentityProvider.token=", "--ServerApp.port_retries=0", "--allow-root"]
        running = subprocess.Popen(
            [sys.executable, "-P", "-c", _SERVER, str(os.getpid()), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_SAFE | {"JUPYTER_RUNTIME_DIR": folder},
            cwd=folder,  # Voila's extension executes a voila.py that lies where it is started
        )
        try:
            answered = _answers(running, f"http://127.0.0.1:{port}/lab")
        finally:
            _stop(running)
    if answered:
        yield Finding(True, f"JupyterLab starts and answers on this machine ({monotonic() - start:.1f} s)")
    else:
        yield Finding(False, "JupyterLab does not answer: what does `efimm lab --debug` say?")


def _answers(running: subprocess.Popen[bytes], address: str) -> bool:
    # Without a proxy, whatever the environment says: this machine is asked.
    opener, end = build_opener(ProxyHandler({})), monotonic() + _PATIENCE
    while monotonic() < end and running.poll() is None:
        try:
            with opener.open(address, timeout=5) as page:
                return b"jupyter-config-data" in page.read()
        except (URLError, OSError):
            sleep(0.1)
    return False


def _stop(running: subprocess.Popen[bytes]) -> None:
    """End the server, which holds nothing; told to stop in the middle of its start, it may never do so by itself."""
    running.terminate()
    try:
        running.wait(5)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def widgets() -> Iterator[Finding]:
    """What draws the sliders is installed where JupyterLab looks for it."""
    from jupyter_core.paths import jupyter_path  # noqa: PLC0415 - as in `kernel`

    folders = [Path(folder) for folder in jupyter_path("labextensions")]
    versions = {name: _version(folders, name) for name in _WIDGETS}
    missing = [name for name, version in versions.items() if not version]
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    remedy = "pip install --force-reinstall anywidget jupyterlab_widgets"
    yield Finding(
        not missing, f"JupyterLab has no {', '.join(missing)}: {remedy}" if missing else f"in the browser: {found}"
    )


def _version(folders: list[Path], name: str) -> str:
    for folder in folders:
        described = folder / name / "package.json"
        if described.exists():
            return str(json.loads(described.read_text(encoding="utf-8")).get("version", "?"))
    return ""


def browser() -> Iterator[Finding]:
    """A browser that JupyterLab would open."""
    try:
        yield Finding(True, f"a browser: {webbrowser.get().name}", needed=False)
    except webbrowser.Error:
        yield Finding(False, "no browser that opens by itself: paste the address that `efimm lab` prints", needed=False)


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
