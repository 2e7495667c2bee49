"""A JupyterLab of its own on a folder of notebooks, and a notebook that shows one cell."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from efimm.cli.notebooks import SERVE

ROOT = Path(__file__).parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
_PATIENCE = 90
_KERNEL_IS_THERE = "jupyterapp.shell.currentWidget?.context?.sessionContext?.session?.kernel?.status === 'idle'"


def chromium_path() -> str | None:
    """Where the system's Chromium is; None where there is none, and Playwright's own is to be used."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """The address of a JupyterLab on the notebooks in `folder`, with settings of its own; it ends with the block.

    FileNotFoundError when JupyterLab is not installed, TimeoutError when it does not start.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise FileNotFoundError("JupyterLab is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE, "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += [f"--ServerApp.root_dir={folder}"]
    options = ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", "--ServerApp.port_retries=0"]
    home = {"JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
    environment = os.environ | home | {"PYTHONPATH": str(ROOT), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces")}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([*command, *options], env=environment, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api", server, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(60)  # a busy computer takes its time to end the kernels
        except subprocess.TimeoutExpired:  # told to stop while a page connects to its kernel, it waits for ever
            server.kill()
            server.wait()


def write_notebook(path: Path, source: str) -> None:
    """A notebook of one code cell."""
    cell: dict[str, object] = {"cell_type": "code", "source": source, "id": "one"}
    cell |= {"execution_count": None, "metadata": {}, "outputs": []}
    kernel = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}
    path.write_text(json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            time.sleep(0.25)
        else:
            return
    raise TimeoutError(f"no JupyterLab after {_PATIENCE} s: {log.read_text()[-2000:]}")


def run_all(page: Any) -> None:
    """Run the notebook of `page`, a JupyterLab that was just opened, as soon as its kernel is there.

    Does not wait for the end of the run.
    """
    page.wait_for_function("window.jupyterapp && document.querySelector('.jp-Notebook')", timeout=_PATIENCE * 1000)
    page.wait_for_function(_KERNEL_IS_THERE, timeout=_PATIENCE * 1000)
    page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
