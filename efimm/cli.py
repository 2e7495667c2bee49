"""The `efimm` command.  Text for people in at most 72 columns, one JSON object with --json.

Exit status: 0 when the question was answered, whatever the verdict; 2 for bad input, with one line on stderr.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from . import __version__
from .kernels import KERNELS
from .machines import ARCHITECTURES, PAGE_SIZES, Machine, load_map, machine, parse_address
from .run import boot, run, walk_at_call
from .show import text
from .uefi.firmwares import FIRMWARES
from .uefi.memmap import DESCRIPTOR_SIZE, MemoryMap
from .x86 import LONG4

_MACHINE_OPTIONS = (
    click.option("--ram", default="1T", show_default=True, help="RAM of a generated machine: 1G to 64T."),
    click.option("--map", "map_", metavar="FILE", help="A boot log, a data file, or the name of a machine in data/."),
    click.option("--buffer", metavar="ADDR", help="Physical address of the descriptor array."),
    click.option("--page-size", default="1G", show_default=True, help=f"Largest page: {', '.join(PAGE_SIZES)}."),
    click.option("--firmware", default="edk2", show_default=True, help=f"One of: {', '.join(FIRMWARES)}."),
    click.option("--arch", default="x86_64", show_default=True, help=f"One of: {', '.join(ARCHITECTURES)}."),
    click.option("--descriptor-size", default=str(DESCRIPTOR_SIZE), show_default=True, help="What firmware reports."),
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_KERNEL = click.option("--kernel", default="3.5", show_default=True, help=f"One of: {', '.join(KERNELS)}.")


def _machine_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_MACHINE_OPTIONS):
        command = option(command)
    return command


def _machine(options: dict[str, Any]) -> Machine:
    return machine(
        options["ram"],
        buffer=options["buffer"],
        firmware=options["firmware"],
        arch=options["arch"],
        page_size=options["page_size"],
        map=options["map_"],
        descriptor_size=parse_address(options["descriptor_size"]),
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": text.COLUMNS})
@click.version_option(__version__, prog_name="efimm")
def cli() -> None:
    """Watch a Linux/UEFI page-table bug of June 2012, and try fixes on it."""


@cli.command("run")
@_KERNEL
@_machine_options
@_JSON
def run_command(kernel: str, as_json: bool, **options: Any) -> None:
    """Boot a kernel and let it call SetVirtualAddressMap."""
    found = run(_machine(options), kernel)
    click.echo(json.dumps(found.summary()) if as_json else text.outcome(found))


@cli.command("walk")
@click.argument("va")
@click.option("--at-call", is_flag=True, help="At the moment when the firmware is entered, not before.")
@_KERNEL
@_machine_options
def walk_command(va: str, at_call: bool, kernel: str, **options: Any) -> None:
    """Walk the booted kernel's page table for the virtual address VA."""
    address = parse_address(va)
    if not 0 <= address < 1 << 64 or not LONG4.is_canonical(address):
        raise ValueError(f"address {va}: expected a canonical one, up to 0x7fffffffffff or from 0xffff800000000000")
    made = _machine(options)
    found = walk_at_call(made, kernel, address) if at_call else boot(made, kernel).cpu.walk(address)
    click.echo(text.walk(found))


@cli.command("compare")
@_machine_options
@_JSON
def compare_command(as_json: bool, **options: Any) -> None:
    """Run every kernel on one machine."""
    made = _machine(options)
    outcomes = [run(made, kernel) for kernel in KERNELS]
    if as_json:
        click.echo(json.dumps({found.linux.kernel.name: found.summary() for found in outcomes}))
    else:
        click.echo(text.compare(outcomes))


@cli.command("map")
@click.argument("file")
@_JSON
def map_command(file: str, as_json: bool) -> None:
    """Print the memory map that FILE (a boot log or a data file) holds."""
    found = load_map(file)
    click.echo(json.dumps(_map_summary(found)) if as_json else text.memory_map(found))


@cli.command("lab", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lab_command(arguments: tuple[str, ...]) -> None:
    """Open JupyterLab on the notebooks; further ARGUMENTS go to `jupyter lab`."""
    here = Path(__file__).parent
    folder = next((path for path in (here.parent / "notebooks", here / "notebooks") if path.is_dir()), None)
    if folder is None:
        raise ValueError("the notebooks are not installed: run this in a checkout of efimm")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}"]
    command.append("--LabApp.default_url=/lab/tree/00-start-here.ipynb")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # Jupyter refuses root, which is who one is in a container
    sys.exit(subprocess.run([*command, *arguments], check=False).returncode)


def _map_summary(found: MemoryMap) -> dict[str, Any]:
    return dataclasses.asdict(found) | {"ram_bytes": found.ram_bytes, "highest_ram": found.highest_ram}


def main() -> NoReturn:
    """The command itself: bad input becomes one line on stderr and exit status 2."""
    try:
        cli(standalone_mode=False, prog_name="efimm")
    except click.ClickException as error:
        _refuse(error.format_message())
    except (ValueError, MemoryError) as error:
        _refuse(str(error))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    sys.exit(0)


def _refuse(message: str) -> NoReturn:
    click.echo(f"efimm: {' '.join(message.split())}", err=True)
    sys.exit(2)
