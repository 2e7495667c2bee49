"""A kernel or a firmware of the reader's own, from a file.

`--kernel ./my_fix.py` names a Python program that leaves a `Kernel` in the name KERNEL, as the modules of efimm/kernels
do, `--firmware ./mine.py` one that leaves a `FirmwareKind` in the name FIRMWARE.  It is executed, with all that this
means, and stderr says so beforehand.  The whole command is run a second time in a process below this one, which the
code may ruin, and which ends when its time is up.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import click

from ..linux import Kernel
from ..maps.errors import printable
from ..uefi.runtime import FirmwareKind
from ..workers import end_forks, end_with, how_it_ended, kill_session, limit_memory, told
from .ending import INTERRUPTED, Watch, nowhere

_Record = TypeVar("_Record")
_A_KERNEL = "a Kernel in the name KERNEL, such as replace(V3_5, name='mine', ...)"
_A_FIRMWARE = "a FirmwareKind in the name FIRMWARE, such as replace(EDK2, name='mine', ...)"
TIMEOUT = 60.0  # seconds for the whole command, or for its file where it does many things with a limit for each
_MANY = 100  # more than these are; the gauntlet's are some fifty
_loaded: list[str] = []
_below = False  # True in the process below
_PROGRAM = "import sys; sys.path[:] = {path!r}; from efimm.cli import main_below; main_below({parent})"
_ENDED_ITSELF = 100  # added to the exit status there: any lower one is the work of the reader's code
MEMORY = 8 << 30  # bytes of address space for it: a dump of 64 TiB by small pages is large
_GRACE = 1.0  # seconds in which the process below can tidy up


def keep_timeout(context: click.Context, seconds: float) -> None:
    """Remember how long the command may take that has a file of the reader's."""
    context.meta[__name__] = seconds, seconds


def keep_timeout_of_each(context: click.Context, seconds: float) -> None:
    """As `keep_timeout`, of a command where `seconds` are for each of many things."""
    context.meta[__name__] = TIMEOUT, 10 * TIMEOUT + _MANY * seconds


def run_below(order: Watch) -> int:
    """Run this command once more in a process below, for as long as it may take; its exit status.

    ClickException where the time was up, or the reader's code has ended the process.
    """
    if _below:
        raise order  # by the reader's code
    program = _PROGRAM.format(path=sys.path, parent=os.getpid())
    below = subprocess.Popen([sys.executable, "-P", "-c", program, *sys.argv[1:]], start_new_session=True)
    try:
        below.wait(order.timeout)
    except subprocess.TimeoutExpired:
        seconds = f"no end within {order.timeout:g} seconds (--timeout sets that)"
        raise click.ClickException(f"{order.path}: too long: {seconds}") from None
    finally:
        _end(below)
    if below.returncode == INTERRUPTED:  # which leaves at once
        return INTERRUPTED
    if hasattr(signal, "SIGALRM") and below.returncode == -signal.SIGALRM:
        raise click.ClickException(f"{order.path}: too long: not read within {order.loading:g} seconds")
    if below.returncode < _ENDED_ITSELF:
        raise click.ClickException(f"{order.path}: broken: {how_it_ended(below.returncode)}")
    return below.returncode - _ENDED_ITSELF


def go_below(parent: int) -> None:
    """Make this process the one below: with a limit of memory, and an end with its parent, as its forks have."""
    global _below  # noqa: PLW0603 - a process is below for as long as it lives
    _below = True
    end_with(parent)
    end_forks()
    if hasattr(os, "register_at_fork"):  # a fork of the reader's code comes back from it, too, and answers
        os.register_at_fork(after_in_child=lambda: nowhere(1, 2))
    limit_memory(MEMORY)


def status_above(status: int) -> int:
    """The exit status of the process below that tells the one above of `status`."""
    return _ENDED_ITSELF + status


def _end(below: subprocess.Popen[bytes]) -> None:
    """End it, and what it has started: Ctrl-C is for this process alone."""
    try:
        if below.poll() is None:
            below.terminate()
            with suppress(subprocess.TimeoutExpired):
                below.wait(_GRACE)
    finally:
        kill_session(below)
        below.wait()


def own_kernel(context: click.Context, _option: click.Parameter, value: str) -> str | Kernel:
    """The record for a name that ends in .py, any other name as it is; UsageError for a file that gives no record.

    A file is executed in the process below only: above it raises Watch.
    """
    return _executed(context, value, "KERNEL", Kernel, _A_KERNEL) if _is_file(context, value) else value


def one_more_kernel(context: click.Context, option: click.Parameter, value: str | None) -> str | Kernel | None:
    """As `own_kernel`, for a command that runs every kernel anyway: it takes files only."""
    if value is not None and not value.endswith(".py"):
        raise click.UsageError(f"--kernel {value}: expected a file ./NAME.py, as every other kernel is run anyway")
    return None if value is None else own_kernel(context, option, value)


def own_firmware(context: click.Context, _option: click.Parameter, value: str) -> str | FirmwareKind:
    """As `own_kernel`, for a firmware."""
    return _executed(context, value, "FIRMWARE", FirmwareKind, _A_FIRMWARE) if _is_file(context, value) else value


def one_more_firmware(context: click.Context, option: click.Parameter, value: str | None) -> str | FirmwareKind | None:
    """As `own_firmware`, for one firmware more: it takes files only."""
    if value is not None and not value.endswith(".py"):
        raise click.UsageError(
            f"--firmware {value}: expected a file ./NAME.py, as each of ours has its scenario anyway"
        )
    return None if value is None else own_firmware(context, option, value)


def _is_file(context: click.Context, value: str) -> bool:
    return value.endswith(".py") and not context.resilient_parsing  # a shell that completes a line must run nothing


def _executed(context: click.Context, path: str, name: str, kind: type[_Record], expected: str) -> _Record:
    loading, whole = context.meta[__name__]
    if not _below:
        raise Watch(path, loading, whole)
    with _ended_after(loading):
        return load(path, name, kind, expected)


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """The system ends this process where that takes longer: of what is in C, Python cannot end it."""
    alarm = hasattr(signal, "alarm")  # Windows has none
    if alarm:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(ceil(seconds) + 1)  # a whole number, and later than the end of the whole, which says more
    try:
        yield
    finally:
        if alarm:
            signal.alarm(0)


def load(path: str, name: str, kind: type[_Record], expected: str) -> _Record:
    """Execute `path` and give what it leaves in `name`; ClickException, in one line, for whatever goes wrong."""
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None
    click.echo(f"efimm: executing the Python code in {printable(path)}", err=True)
    _loaded.append(path)
    module = ModuleType(f"own_{name.lower()}")
    sys.modules[module.__name__] = module  # where dataclasses look their module up
    try:
        exec(compile(source, path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise click.UsageError(mistake(error)) from None
    finally:
        del sys.modules[module.__name__]  # so that cloudpickle sends its functions and not its name
    record = getattr(module, name, None)
    if not isinstance(record, kind):
        raise click.UsageError(f"{path}: expected {expected}")
    return record


def any_executed() -> bool:
    """True where code of the reader's was executed, and anything may be the matter."""
    return bool(_loaded)


def mistake(error: BaseException) -> str:
    """`error` in one line that names the file it arose in, else the one executed last, and the line where it can.

    "" where no file was executed.
    """
    if not _loaded:
        return ""
    if isinstance(error, SyntaxError) and error.filename in _loaded:
        return f"{error.filename}:{error.lineno}: {error.msg}"
    place, cause = _raised_in_own(error) or (_loaded[-1], error)
    return f"{place}: {told(cause)}"


def is_own(error: BaseException) -> bool:
    """True when the code of a file that was executed has raised `error`, or its cause."""
    return _raised_in_own(error) is not None


def _raised_in_own(error: BaseException) -> tuple[str, BaseException] | None:
    return next((found for path in reversed(_loaded) if (found := _raised_in(path, error))), None)


def _raised_in(path: str, error: BaseException) -> tuple[str, BaseException] | None:
    """The line of `path` in which `error` or its cause arose, and which of them did."""
    cause: BaseException | None = error
    while cause is not None:
        for frame in reversed(traceback.extract_tb(cause.__traceback__)):
            if frame.filename == path:
                return f"{path}:{frame.lineno}", cause
        cause = cause.__cause__
    return None
