"""The `efimm` command.  Text for people in at most 72 columns, one JSON object with --json.

Exit status: 0 when the question was answered, whatever the verdict; 2 for bad input, with one line on stderr.  `doctor`
ends with 1 where something is missing.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from .. import __version__
from ..maps.errors import printable
from ..text import COLUMNS
from .files import check_command, map_command
from .judge import judge_command
from .notebooks import (
    dashboard_command,
    doctor_command,
    export_command,
    lab_command,
    lite_command,
    reset_command,
    room_command,
    site_command,
)
from .options import is_own, mistake
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
    reset_command,
    room_command,
    lite_command,
    dashboard_command,
    export_command,
    site_command,
):
    cli.add_command(command)


def main() -> NoReturn:
    """The command itself: bad input becomes one line on stderr and exit status 2."""
    try:
        cli(standalone_mode=False, prog_name="efimm")
    except click.ClickException as error:
        _refuse(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (ValueError, MemoryError, OSError) as error:
        _refuse(mistake(error) if is_own(error) else _words(error))
    except (Exception, SystemExit) as error:
        if found := mistake(error):  # a reader's own kernel may raise anything
            _refuse(found)
        raise
    sys.exit(0)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _refuse(message: str) -> NoReturn:
    click.echo(f"efimm: {printable(' '.join(message.split()))}", err=True)
    sys.exit(2)
