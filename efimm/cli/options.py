"""The options that several commands share, the machine that they describe, and a kernel or firmware of one's own.

`--kernel ./my_fix.py` names a Python program that leaves a `Kernel` in the name KERNEL, as the modules of efimm/kernels
do, `--firmware ./mine.py` one that leaves a `FirmwareKind` in the name FIRMWARE.  It is executed, with all that this
means, and stderr says so beforehand.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, TypeVar

import click

from ..kernels import KERNELS
from ..linux import Kernel
from ..machines import ARCHITECTURES, PAGE_SIZES, Machine, load_map, machine, parse_address
from ..maps.errors import printable
from ..uefi.firmwares import FIRMWARES
from ..uefi.memmap import DESCRIPTOR_SIZE, MemoryMap
from ..uefi.runtime import FirmwareKind

_Command = Callable[..., None]
_Record = TypeVar("_Record")
_loaded: list[str] = []


def own_kernel(context: click.Context, _option: click.Parameter, value: str) -> str | Kernel:
    """The record for a name that ends in .py, any other name as it is; UsageError for a file that gives no record."""
    if context.resilient_parsing or not value.endswith(".py"):  # a shell that completes a line must run nothing
        return value
    return load(value, "KERNEL", Kernel, "a Kernel in the name KERNEL, such as replace(V3_5, name='mine', ...)")


def own_firmware(context: click.Context, _option: click.Parameter, value: str) -> str | FirmwareKind:
    """The same for a firmware."""
    if context.resilient_parsing or not value.endswith(".py"):
        return value
    return load(
        value, "FIRMWARE", FirmwareKind, "a FirmwareKind in the name FIRMWARE, such as replace(EDK2, name='mine', ...)"
    )


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


def mistake(error: BaseException) -> str:
    """`error` in one line that names the file it arose in, else the one executed last, and the line where it can.

    "" where no file was executed.
    """
    if not _loaded:
        return ""
    if isinstance(error, SyntaxError) and error.filename in _loaded:
        return f"{error.filename}:{error.lineno}: {error.msg}"
    place, cause = _raised_in_own(error) or (_loaded[-1], error)
    return f"{place}: {type(cause).__name__}: {cause}"


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


_MEMORY_OPTIONS = (
    click.option("--ram", default="1T", show_default=True, help="RAM of a generated machine: 1G to 64T."),
    click.option("--map", "map_", metavar="FILE", help="A boot log (- is stdin), a data file, or a machine in data/."),
)
_PLACEMENT_OPTIONS = (
    click.option("--buffer", metavar="ADDR", help="Physical address of the descriptor array."),
    click.option("--page-size", default="1G", show_default=True, help=f"Largest page: {', '.join(PAGE_SIZES)}."),
    click.option(
        "--firmware",
        callback=own_firmware,
        default="edk2",
        show_default=True,
        help=f"One of: {', '.join(FIRMWARES)}; or a file ./NAME.py with your own, which is executed.",
    ),
    click.option("--arch", default="x86_64", show_default=True, help=f"One of: {', '.join(ARCHITECTURES)}."),
)
_OTHER_OPTIONS = (
    click.option("--kaslr", metavar="ADDR", help="Where memory KASLR has put the direct map (kernels since 4.8)."),
    click.option("--kpti", is_flag=True, help="With page-table isolation, as on a processor with the Meltdown bug."),
    click.option("--noruntime", is_flag=True, help="With efi=noruntime: the firmware is not called at all."),
    click.option("--descriptor-size", default=str(DESCRIPTOR_SIZE), show_default=True, help="What firmware reports."),
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
KERNEL = click.option(
    "--kernel",
    callback=own_kernel,
    default="3.5",
    show_default=True,
    help=f"One of: {', '.join(KERNELS)}; or a file ./NAME.py with your own, which is executed.",
)


def machine_options(command: _Command) -> _Command:
    """Give `command` every option that describes a machine."""
    return _with((*_MEMORY_OPTIONS, *_PLACEMENT_OPTIONS, *_OTHER_OPTIONS), command)


def placement_options(command: _Command) -> _Command:
    """Give `command` the options that describe a machine whose memory is known."""
    return _with(_PLACEMENT_OPTIONS, command)


def _with(options: tuple[Callable[[_Command], _Command], ...], command: _Command) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command


def standard_input(name: str) -> str | BinaryIO:
    """Standard input for "-", any other name as it is."""
    return sys.stdin.buffer if name == "-" else name


def machine_from(options: dict[str, Any]) -> Machine:
    """The machine that the options describe; ValueError when there is none such."""
    return machine(
        options["ram"],
        buffer=options["buffer"],
        firmware=options["firmware"],
        arch=options["arch"],
        page_size=options["page_size"],
        map=_given_map(options["map_"]),
        kaslr=options["kaslr"],
        kpti=options["kpti"],
        noruntime=options["noruntime"],
        descriptor_size=parse_address(options["descriptor_size"]),
    )


def _given_map(name: str | None) -> str | MemoryMap | None:
    return load_map(sys.stdin.buffer) if name == "-" else name
