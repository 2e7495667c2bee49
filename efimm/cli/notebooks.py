"""Commands about the notebooks: lab and dashboard open them, export and site make pages, doctor looks over all."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import click

from ..course.series import notebooks_folder
from ..files import write_text
from .options import JSON, PORT


@click.command("export")
@click.argument("notebooks", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", default="site", show_default=True, metavar="DIR", help="Where to write the pages.")
def export_command(notebooks: tuple[Path, ...], output: str) -> None:
    """Run NOTEBOOKS and write them as web pages whose sliders work without Python."""
    from ..course.export import Kernels, page  # noqa: PLC0415 - nbconvert takes longer to import than other commands take

    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    with Kernels() as kernels:
        for path, notebook in zip(notebooks, kernels.executed(notebooks), strict=True):
            written = write_text(folder / f"{path.stem}.html", page(notebook, path.stem))
            click.echo(f"{written}: {written.stat().st_size:,} bytes")


@click.command("site")
@click.option("-o", "--output", default="site", show_default=True, metavar="DIR", help="Where to write the pages.")
def site_command(output: str) -> None:
    """Write the whole series as pages: notebooks, solutions, table of kernels, reference.

    Opens from the file system, and asks nothing of the network.  Takes about two minutes.
    """
    from ..course.site import make_site  # noqa: PLC0415 - as above

    for written in make_site(Path(output)):
        click.echo(f"{written}: {written.stat().st_size:,} bytes")


@click.command("lab", context_settings={"ignore_unknown_options": True})
@click.option(
    "--folder", type=click.Path(exists=True, file_okay=False), help="The notebooks to open [default: efimm's]."
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lab_command(folder: str | None, arguments: tuple[str, ...]) -> None:
    """Open JupyterLab on the notebooks; further ARGUMENTS go to `jupyter lab`."""
    options = [
        f"--ServerApp.root_dir={Path(folder) if folder else notebooks_folder()}",
        "--LabApp.default_url=/lab/tree/00-start-here.ipynb",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")  # Jupyter refuses root, which is who one is in a container
    _become("jupyterlab", [*options, *arguments])


@click.command("dashboard", context_settings={"ignore_unknown_options": True})
@click.option(
    "--port", type=PORT, default=8866, show_default=True, help="Where the page is served, on this machine only."
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def dashboard_command(port: int, arguments: tuple[str, ...]) -> None:
    """Serve the pictures as one page for a projector; further ARGUMENTS go to `voila`.

    The address that is printed holds a token: who has it may look.
    """
    if importlib.util.find_spec("voila") is None:
        raise ValueError("Voila is not installed: pip install 'efimm[dashboard]'")
    _become("efimm.dashboard.server", [f"--port={port}", *arguments])


# Runs a module as `python -m` does, but never one that lies in the current folder.  A terminal that is closed ends a
# server as SIGTERM does, which both servers obey by tidying up.
_SERVE = """
import os, runpy, signal, sys
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def _become(module: str, arguments: list[str]) -> NoReturn:
    """Run `module` instead of this program: a signal that is meant for it reaches it."""
    os.environ["PYTHONSAFEPATH"] = "1"  # for the kernels, too
    command = [sys.executable, "-P", "-c", _SERVE, module, *arguments]
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(command[0], command)
    sys.exit(subprocess.run(command, check=False).returncode)


@click.command("doctor")
@JSON
def doctor_command(as_json: bool) -> None:
    """Check that everything is here for the notebooks, without the network.

    Takes some ten seconds.  Exit status 1 when something is missing that the notebooks need.
    """
    from ..doctor import all_there, examine, verdict  # noqa: PLC0415 - asks Jupyter's packages, which load slowly

    findings = []
    for found in examine():
        findings.append(found)
        if not as_json:
            click.echo(str(found))
    ready = all_there(findings)
    click.echo(
        json.dumps({"ready": ready, "findings": [found.summary() for found in findings]})
        if as_json
        else verdict(findings)
    )
    sys.exit(0 if ready else 1)
