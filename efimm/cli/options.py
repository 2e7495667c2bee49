"""The options that several commands share, and the machine that they describe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import click
from click.core import ParameterSource

from ..kernels import KERNELS
from ..machines import ARCHITECTURES, PAGE_SIZES, Machine, load_map, machine, parse_address
from ..uefi.firmwares import FIRMWARES
from ..uefi.memmap import DESCRIPTOR_SIZE, MemoryMap
from .own_code import (
    TIMEOUT,
    keep_timeout,
    one_more_firmware,
    one_more_kernel,
    own_firmware,
    own_kernel,
)

_Command = Callable[..., None]

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
    click.option("--kaslr", metavar="ADDR", help="Where memory KASLR put the direct map (since 4.8)."),
    click.option("--kpti", is_flag=True, help="With page-table isolation, as on a processor with the Meltdown bug."),
    click.option("--noruntime", is_flag=True, help="With efi=noruntime: the firmware is not called at all."),
    click.option("--sme", is_flag=True, help="With memory encryption (AMD's SME). From the C, not judged."),
    click.option("--mixed", is_flag=True, help="With firmware of 32 bits. From the C, not judged."),
    click.option("--descriptor-size", default=str(DESCRIPTOR_SIZE), show_default=True, help="What firmware reports."),
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_KERNELS = f"One of: {', '.join(KERNELS)}; or a file ./NAME.py with your own, which is executed."


def kernel_option(callback: Callable[..., Any], **attributes: Any) -> Callable[[_Command], _Command]:
    """The option --kernel; `callback` decides where a file of the reader's is executed."""
    return click.option("--kernel", callback=callback, **attributes)


# These, and --firmware, need --timeout beside them: a reader's file is executed in a process that has a limit.
KERNEL = kernel_option(own_kernel, default="3.5", show_default=True, help=_KERNELS)
OWN_KERNEL = kernel_option(
    one_more_kernel, metavar="./NAME.py", help="One more: a file with your own, which is executed."
)

OWN_FIRMWARE = click.option(
    "--firmware",
    metavar="./NAME.py",
    callback=one_more_firmware,
    help="One more: a file with your own, which is executed.",
)

PORT = click.IntRange(1, 65535)
MOST_SECONDS = 7 * 86400.0


def timeout_option(
    default: float, text: str, keep: Callable[[click.Context, float], None], **attributes: Any
) -> Callable[[_Command], _Command]:
    """The option --timeout: seconds, more than none and up to a week, which `keep` is told as soon as they are read."""

    def in_reason(context: click.Context, _option: click.Parameter, seconds: float) -> float:
        if not 0 < seconds <= MOST_SECONDS:  # false for a NaN, too
            raise click.BadParameter(f"{seconds:g}: expected seconds, more than 0 and at most {MOST_SECONDS:.0f}")
        keep(context, seconds)
        return seconds

    more = {"default": default, "show_default": True, "help": text, "is_eager": True, **attributes}
    return click.option("--timeout", type=float, callback=in_reason, **more)


TIMEOUT_OF_OWN = timeout_option(TIMEOUT, "Seconds for a file ./NAME.py of one's own.", keep_timeout, expose_value=False)


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


# What `git bisect run` takes for "this one cannot be tested", and for "this one is bad".
NOT_THERE, OTHERWISE = 125, 1


def expect_option(*verdicts: str) -> Callable[[_Command], _Command]:
    """--expect: with it, whatever keeps a kernel from an answer ends the command with NOT_THERE."""

    def expected(context: click.Context, _option: click.Parameter, verdict: str | None) -> str | None:
        if verdict is not None and context.obj is not None:
            context.obj.refusal = NOT_THERE
        return verdict

    words = "Exit with 1 if the verdict is another, and with 125 if there is none."
    return click.option("--expect", type=click.Choice(verdicts), is_eager=True, callback=expected, help=words)


def as_expected(verdict: str, expect: str | None) -> None:
    """End the command with OTHERWISE where a verdict was expected and it is another."""
    if expect not in (None, verdict):
        click.get_current_context().exit(OTHERWISE)


def given(name: str) -> bool:
    """True when the option was typed, and is not just its default."""
    return click.get_current_context().get_parameter_source(name) == ParameterSource.COMMANDLINE


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
        sme=options["sme"],
        mixed=options["mixed"],
        descriptor_size=parse_address(options["descriptor_size"]),
    )


def _given_map(name: str | None) -> str | MemoryMap | None:
    return load_map(sys.stdin.buffer) if name == "-" else name
