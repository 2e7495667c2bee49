"""The `efimm` command.  Text for people in at most 72 columns, one JSON object with --json.

Exit status: 0 when the question was answered, whatever the verdict; 2 for bad input, with one line on stderr.  `doctor`
ends with 1 where something is missing; with --expect, 1 is for another verdict and 125 for none.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import NoReturn

import click

from .. import __version__
from .ending import (
    Ended,
    Exits,
    Watch,
    drop_what_cannot_be_written,
    end_by,
    leave_at_once,
    nowhere,
    obey_signals,
    open_streams,
)

COLUMNS = 72  # as efimm.text, which is not imported for the list of commands

# Where each command stands, and what the list says of it: a module is imported when a command of it is asked for.
COMMANDS = {
    "check": ("files", "Would the machine of this log have met the bug?"),
    "claims": ("trials", "What the thread claims, and what the model finds."),
    "compare": ("runs", "Run every kernel on one machine."),
    "dashboard": ("notebooks", "Serve the pictures as one page for a projector."),
    "doctor": ("notebooks", "Is everything here for the notebooks?"),
    "dump": ("tables", "Write the machine's memory as an ELF core."),
    "export": ("notebooks", "Run notebooks and write them as web pages."),
    "gauntlet": ("trials", "Send a kernel through every scenario."),
    "judge": ("judge", "Ask real firmware: OVMF in QEMU."),
    "lab": ("notebooks", "Open JupyterLab on the notebooks."),
    "lite": ("notebooks", "Write the notebooks for any browser."),
    "locks": ("trials", "Try every order of steps around pgd_lock."),
    "map": ("files", "Print the memory map that a file holds."),
    "reset": ("notebooks", "Give a fresh copy of a notebook."),
    "room": ("notebooks", "Serve the course to a room, and count."),
    "run": ("runs", "Boot a kernel and let it call the firmware."),
    "site": ("notebooks", "Write the whole series as pages."),
    "walk": ("tables", "Walk a page table for a virtual address."),
}


class Commands(click.Group):
    """The commands, each imported when it is asked for."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Their names, in the order of the list."""
        return sorted(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """The command called `name`; None where there is none."""
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{COMMANDS[name][0]}", __name__), f"{name}_command")
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """The list, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in sorted(COMMANDS.items())])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": COLUMNS})
@click.version_option(__version__, prog_name="efimm")
def cli() -> None:
    """Watch a Linux/UEFI page-table bug of June 2012, and try fixes on it."""


def main() -> NoReturn:
    """The command itself: bad input becomes one line on stderr and exit status 2."""
    exits, status = Exits(), 0
    closed = open_streams()  # first: what is opened below would get the number of a closed one
    obey_signals()
    if "standard output" in closed:
        _refuse("standard output is closed: there is nowhere to write the answer", exits.refusal)
    try:
        status = _answer(exits)
    except click.ClickException as error:
        _refuse(error.format_message(), exits.refusal)
    except (click.Abort, KeyboardInterrupt):
        leave_at_once()
    except Ended as end:
        end_by(end.number)
    except BrokenPipeError as error:
        if found := _of_own_code(error):
            _refuse(found, exits.refusal)
        nowhere(sys.stdout.fileno())
        sys.exit(141)
    except (ValueError, MemoryError, OSError, ImportError) as error:  # the last: no memory for a library
        _refuse(_of_own_code(error) or _words(error), exits.refusal)
    except BaseException as error:  # a reader's own class of exceptions, too
        _obey_what_was_wrapped(error)
        if found := _of_own_code(error, anywhere=True):
            _refuse(found, exits.refusal)
        raise
    sys.exit(status)


def main_below(parent: int) -> NoReturn:
    """The command in the process below, where the code of a reader's file is executed."""
    from .own_code import any_executed, go_below, status_above  # noqa: PLC0415 - no other command needs it

    go_below(parent)
    status = 1
    try:
        main()
    except SystemExit as end:
        status = status_above(end.code if isinstance(end.code, int) else 1)
    except BaseException:
        if not any_executed():  # a mistake of ours
            raise
    leave_at_once(status)  # and wait for nothing that the reader's code has started


def _answer(exits: Exits) -> int:
    """The exit status of a command that has answered: 0, or what it asked for by click's Exit."""
    gc.set_threshold(50_000)  # a run keeps what it makes: to look for garbage in it took a twelfth of the time
    try:
        with cli.make_context("efimm", sys.argv[1:] or ["--help"], obj=exits) as context:  # cli() calls a closed pipe 1
            return cli.invoke(context) or 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except Watch as order:
        from .own_code import run_below  # noqa: PLC0415 - as above

        return run_below(order)


def _obey_what_was_wrapped(error: BaseException) -> None:
    """End as told: before 3.12 Python makes a RuntimeError of what is raised while a class names its attributes."""
    if isinstance(error.__cause__, KeyboardInterrupt):
        leave_at_once()
    if isinstance(error.__cause__, Ended):
        end_by(error.__cause__.number)


def _of_own_code(error: BaseException, *, anywhere: bool = False) -> str:
    """`error` in one line if a reader's own code raised it (`anywhere`: or was executed before it); "" else."""
    own = sys.modules.get(f"{__name__}.own_code")  # not there: nothing of the reader's was executed either
    if own is None or not (anywhere or own.is_own(error)):
        return ""
    said: str = own.mistake(error)
    return said


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error.__cause__ or error if isinstance(error, ImportError) else error)  # numpy's own is a page


def _refuse(message: str, status: int) -> NoReturn:
    from ..maps.errors import printable  # noqa: PLC0415 - only a refusal needs it

    click.echo(f"efimm: {printable(' '.join(message.split()))}", err=True)
    drop_what_cannot_be_written(sys.stdout)
    sys.exit(status)
