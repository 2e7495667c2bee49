"""The `efimm` command.  Text for people in at most 72 columns, one JSON object with --json.

Exit status: 0 when the question was answered, whatever the verdict; 2 for bad input, with one line on stderr.  `doctor`
ends with 1 where something is missing; with --expect, 1 is for another verdict and 125 for none.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from .. import __version__
from ..maps.errors import printable
from ..text import COLUMNS
from .ending import Ended, end_by, nowhere, obey_signals, open_streams
from .files import check_command, map_command
from .judge import judge_command
from .notebooks import dashboard_command, doctor_command, export_command, lab_command, site_command
from .options import Exits
from .own_kernel import Watch, go_below, is_own, mistake, run_below, status_above
from .runs import compare_command, run_command
from .tables import dump_command, walk_command
from .trials import claims_command, gauntlet_command, locks_command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": COLUMNS})
@click.version_option(__version__, prog_name="efimm")
def cli() -> None:
    """Watch a Linux/UEFI page-table bug of June 2012, and try fixes on it."""


for command in (
    run_command,
    walk_command,
    compare_command,
    gauntlet_command,
    locks_command,
    claims_command,
    check_command,
    map_command,
    judge_command,
    dump_command,
    doctor_command,
    lab_command,
    dashboard_command,
    export_command,
    site_command,
):
    cli.add_command(command)


def main() -> NoReturn:
    """The command itself: bad input becomes one line on stderr and exit status 2."""
    exits, status = Exits(), 0
    obey_signals()
    if "standard output" in open_streams():
        _refuse("standard output is closed: there is nowhere to write the answer", exits.refusal)
    try:
        status = _answer(exits)
    except click.ClickException as error:
        _refuse(error.format_message(), exits.refusal)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Ended as end:
        end_by(end.number)
    except BrokenPipeError:
        nowhere(sys.stdout.fileno())
        sys.exit(141)
    except (ValueError, MemoryError, OSError) as error:
        _refuse(mistake(error) if is_own(error) else _words(error), exits.refusal)
    except (Exception, SystemExit) as error:
        if found := mistake(error):  # a reader's own kernel may raise anything
            _refuse(found, exits.refusal)
        raise
    sys.exit(status)


def main_below(parent: int) -> NoReturn:
    """The command in the process below, where the code of a reader's file is executed."""
    go_below(parent)
    try:
        main()
    except SystemExit as end:
        sys.exit(status_above(end.code if isinstance(end.code, int) else 1))


def _answer(exits: Exits) -> int:
    """The exit status of a command that has answered: 0, or what it asked for by click's Exit."""
    try:
        return cli(standalone_mode=False, prog_name="efimm", obj=exits) or 0
    except Watch as order:
        return run_below(order)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _refuse(message: str, status: int) -> NoReturn:
    click.echo(f"efimm: {printable(' '.join(message.split()))}", err=True)
    sys.exit(status)
