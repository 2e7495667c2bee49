"""A kernel of the reader's own, from a file: `--kernel ./my_fix.py`.

The file is a Python program that leaves a `Kernel` in the name KERNEL, as the modules of efimm/kernels do.  It is
executed, with all that this means, and stderr says so beforehand.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import ModuleType

import click

from ..linux import Kernel
from ..maps.errors import printable

_loaded: list[str] = []


def from_option(context: click.Context, _option: click.Parameter, value: str) -> str | Kernel:
    """The record for a name that ends in .py, any other name as it is; UsageError for a file that gives no record."""
    if context.resilient_parsing or not value.endswith(".py"):  # a shell that completes a line must run nothing
        return value
    return load(value)


def load(path: str) -> Kernel:
    """Execute `path` and give its KERNEL; ClickException, in one line, for whatever goes wrong."""
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None
    click.echo(f"efimm: executing the Python code in {printable(path)}", err=True)
    _loaded.append(path)
    module = ModuleType("own_kernel")
    sys.modules[module.__name__] = module  # where dataclasses look their module up
    try:
        exec(compile(source, path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise click.UsageError(mistake(error)) from None
    finally:
        del sys.modules[module.__name__]  # so that cloudpickle sends its functions and not its name
    kernel = getattr(module, "KERNEL", None)
    if not isinstance(kernel, Kernel):
        raise click.UsageError(f"{path}: expected a Kernel in the name KERNEL, such as replace(V3_5, name='mine', ...)")
    return kernel


def mistake(error: BaseException) -> str:
    """`error` in one line that names the file executed last and, where it can be told, the line in it.

    "" where no file was executed.
    """
    if not _loaded:
        return ""
    path = _loaded[-1]
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"{path}:{error.lineno}: {error.msg}"
    place, cause = _raised_in(path, error) or (path, error)
    return f"{place}: {type(cause).__name__}: {cause}"


def is_own(error: BaseException) -> bool:
    """True when the code of a file that was executed has raised `error`, or its cause."""
    return bool(_loaded) and _raised_in(_loaded[-1], error) is not None


def _raised_in(path: str, error: BaseException) -> tuple[str, BaseException] | None:
    """The line of `path` in which `error` or its cause arose, and which of them did."""
    cause: BaseException | None = error
    while cause is not None:
        for frame in reversed(traceback.extract_tb(cause.__traceback__)):
            if frame.filename == path:
                return f"{path}:{frame.lineno}", cause
        cause = cause.__cause__
    return None
