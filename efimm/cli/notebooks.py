"""Commands about the notebooks: lab and dashboard open them, export and site make pages, doctor looks over all."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import click

from ..course.work import FOLDER, open_copy, reset
from ..files import making, write_text
from .ending import INTERRUPTED, told_to_end
from .options import JSON, PORT

# jsonschema, which nbformat and Jupyter's servers import, would make a grammar of a kind of address (IRI) that no
# notebook has: two seconds, each time.  Without this package it does not.
_SLOW = "rfc3987_syntax"
sys.modules.setdefault(_SLOW, None)  # type: ignore[arg-type]  # so the import system says that there is none


class Folder(click.Path):
    """A folder that is there: click alone takes a device or a pipe for one."""

    def __init__(self) -> None:
        super().__init__(exists=True, file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Path:
        """The path; BadParameter where no folder is."""
        path = Path(os.fsdecode(super().convert(value, param, context)))
        return path if path.is_dir() else self.fail(f"{path}: expected a folder", param, context)


@click.command("export")
@click.argument("notebooks", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", default="site", show_default=True, metavar="DIR", help="Where to write the pages.")
def export_command(notebooks: tuple[Path, ...], output: str) -> None:
    """Run NOTEBOOKS and write them as web pages whose sliders work without Python."""
    from ..course.export import Kernels, page  # noqa: PLC0415 - nbconvert takes longer to import than other commands take

    names = [path.stem for path in notebooks]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{twice}.html: expected notebooks of different names, and two would become this page")
    with making(Path(output)) as folder, Kernels() as kernels:
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


_SETTINGS = Path(__file__).parent.parent / "course" / "settings"  # JupyterLab's news and update pop-ups are off
_DIR = click.option(
    "--dir", "mine", default=FOLDER, show_default=True, metavar="DIR", help="Where your copies of the notebooks are."
)


@click.command("lab", context_settings={"ignore_unknown_options": True})
@_DIR
@click.option("--folder", type=Folder(), help="Open these notebooks themselves, without a copy.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lab_command(mine: str, folder: Path | None, arguments: tuple[str, ...]) -> None:
    """Open JupyterLab on your copies of the notebooks, made on first use.

    What you changed is kept when efimm is renewed; `efimm reset 04` gives a fresh copy.  Further ARGUMENTS go to
    `jupyter lab`.
    """
    if folder is None and (said := str(open_copy(Path(mine)))):
        click.echo(f"{mine}: {said}")
    options = [f"--ServerApp.root_dir={Path(folder or mine).resolve()}"]
    options += ["--ServerApp.jpserver_extensions={'voila.server_extension': False}"]  # which executes a voila.py here
    options += ["--LabApp.default_url=/lab/tree/00-start-here.ipynb", f"--LabApp.app_settings_dir={_SETTINGS}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")  # Jupyter refuses root, which is who one is in a container
    _become("jupyterlab", [*options, *arguments])


@click.command("room")
@click.option("--site", type=Folder(), help="Pages made by efimm site.")
@click.option("--lan", is_flag=True, help="Serve the local network, and not this computer alone.")
@click.option("--port", default=8017, show_default=True, type=click.IntRange(0, 65535), help="0 is any free one.")
def room_command(site: Path | None, lan: bool, port: int) -> None:
    """Serve the course to a room, and count its predictions.

    Without --site the pages are made once (three minutes) and kept in the user's cache.
    """
    from ..room import server, votes  # noqa: PLC0415 - tornado takes longer to import than other commands take

    async def serve() -> BaseException:
        with server.opened(pages, votes.Votes(votes.questions()), lan=lan, port=port) as room:
            click.echo(server.terminal_qr(room.address))
            click.echo(f"the room       {room.address}{'' if lan else '  (this computer only; others: --lan)'}")
            click.echo(f"you            {room.instructors_page}")
            click.echo(f"the projector  {room.projectors_page}")
            click.echo("Ctrl-C closes the room.")
            return await told_to_end()

    pages = site or _site_of_ones_own()
    click.echo("Compressing the pages...")
    raise asyncio.run(serve())


def _site_of_ones_own() -> Path:
    """The site in the user's cache, made when this efimm is first asked for it."""
    from ..course.lite import cache_folder, digest  # noqa: PLC0415 - as above
    from ..course.site import make_site  # noqa: PLC0415 - as above

    site = cache_folder() / f"site-{digest()}"
    if not site.is_dir():
        with TemporaryDirectory(dir=site.parent) as temporary:
            for number, written in enumerate(make_site(Path(temporary) / "site"), 1):
                click.echo(f"\rmaking the pages: {number} {written.name:40}", nl=False)
            click.echo()
            (Path(temporary) / "site").rename(site)
    return site


@click.command("lite")
@click.option("-o", "--output", default="site/lite", show_default=True, metavar="DIR", help="Where to write it.")
@click.option("--wheels", type=Folder(), help="Pyodide's own wheels of numpy and matplotlib, to take them in.")
def lite_command(output: str, wheels: Path | None) -> None:
    """Write the notebooks for the reader's own browser: JupyterLite, to be put on any web server.

    Fetches what it is made of once, and keeps it in the user's cache.
    """
    from ..course.lite import make_lite  # noqa: PLC0415 - other commands do not need it

    click.echo(make_lite(Path(output), wheels=wheels))


@click.command("reset")
@click.argument("notebook")
@_DIR
def reset_command(notebook: str, mine: str) -> None:
    """Give a fresh copy of NOTEBOOK (04, glossary, 04-solutions); yours is kept beside it."""
    fresh, kept = reset(Path(mine), notebook)
    click.echo(f"{fresh}: as efimm brings it" + (f"; yours is now {kept}" if kept else ""))


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
# server as SIGTERM does, which both servers obey by tidying up; one that Ctrl-C ends while it starts says nothing.
SERVE = f"""
import os, runpy, signal, sys
sys.modules["{_SLOW}"] = None
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
try:
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
except KeyboardInterrupt:
    sys.exit({INTERRUPTED})
"""


def _become(module: str, arguments: list[str]) -> NoReturn:
    """Run `module` instead of this program: a signal that is meant for it reaches it."""
    os.environ["PYTHONSAFEPATH"] = "1"  # for the kernels, too
    command = [sys.executable, "-P", "-c", SERVE, module, *arguments]
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
