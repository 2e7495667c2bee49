"""The command that opens the notebooks: lab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click


@click.command("lab", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lab_command(arguments: tuple[str, ...]) -> None:
    """Open JupyterLab on the notebooks; further ARGUMENTS go to `jupyter lab`."""
    here = Path(__file__).parent.parent
    folder = next((path for path in (here.parent / "notebooks", here / "notebooks") if path.is_dir()), None)
    if folder is None:
        raise ValueError("the notebooks are not installed: run this in a checkout of efimm")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}"]
    command.append("--LabApp.default_url=/lab/tree/00-start-here.ipynb")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # Jupyter refuses root, which is who one is in a container
    sys.exit(subprocess.run([*command, *arguments], check=False).returncode)
