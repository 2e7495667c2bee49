"""The commands that open notebooks: lab, dashboard."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import click

from ..course.series import notebooks_folder


@click.command("lab", context_settings={"ignore_unknown_options": True})
@click.option(
    "--folder", type=click.Path(exists=True, file_okay=False), help="The notebooks to open [default: efimm's]."
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lab_command(folder: str | None, arguments: tuple[str, ...]) -> None:
    """Open JupyterLab on the notebooks; further ARGUMENTS go to `jupyter lab`."""
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--ServerApp.root_dir={Path(folder) if folder else notebooks_folder()}",
    ]
    command.append("--LabApp.default_url=/lab/tree/00-start-here.ipynb")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # Jupyter refuses root, which is who one is in a container
    _become([*command, *arguments])


# What a page may load: nothing from elsewhere, whatever Voila's template asks for.
_OWN_ONLY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob: ws: wss:"


@click.command("dashboard", context_settings={"ignore_unknown_options": True})
@click.option("--port", default=8866, show_default=True, help="Where the page is served, on this machine only.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def dashboard_command(port: int, arguments: tuple[str, ...]) -> None:
    """Serve the pictures as one page for a projector; further ARGUMENTS go to `voila`."""
    if importlib.util.find_spec("voila") is None:
        raise ValueError("Voila is not installed: pip install 'efimm[dashboard]'")
    notebook = Path(__file__).parent.parent / "dashboard" / "dashboard.ipynb"
    settings = f"--Voila.tornado_settings={{'headers': {{'Content-Security-Policy': {_OWN_ONLY!r}}}}}"
    command = [sys.executable, "-m", "voila", str(notebook), f"--port={port}", "--show_tracebacks=True", settings]
    _become([*command, *arguments])


def _become(command: list[str]) -> NoReturn:
    """Run `command` instead of this program: a signal that is meant for it reaches it."""
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(command[0], command)
    sys.exit(subprocess.run(command, check=False).returncode)
