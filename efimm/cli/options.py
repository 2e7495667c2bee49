"""The options that several commands share, and the machine that they describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ..kernels import KERNELS
from ..machines import ARCHITECTURES, PAGE_SIZES, Machine, machine, parse_address
from ..uefi.firmwares import FIRMWARES
from ..uefi.memmap import DESCRIPTOR_SIZE

_MACHINE_OPTIONS = (
    click.option("--ram", default="1T", show_default=True, help="RAM of a generated machine: 1G to 64T."),
    click.option("--map", "map_", metavar="FILE", help="A boot log, a data file, or the name of a machine in data/."),
    click.option("--buffer", metavar="ADDR", help="Physical address of the descriptor array."),
    click.option("--page-size", default="1G", show_default=True, help=f"Largest page: {', '.join(PAGE_SIZES)}."),
    click.option("--firmware", default="edk2", show_default=True, help=f"One of: {', '.join(FIRMWARES)}."),
    click.option("--arch", default="x86_64", show_default=True, help=f"One of: {', '.join(ARCHITECTURES)}."),
    click.option("--kaslr", metavar="ADDR", help="Where memory KASLR has put the direct map (kernels since 3.14)."),
    click.option("--kpti", is_flag=True, help="With page-table isolation, as on a processor with the Meltdown bug."),
    click.option("--descriptor-size", default=str(DESCRIPTOR_SIZE), show_default=True, help="What firmware reports."),
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
KERNEL = click.option("--kernel", default="3.5", show_default=True, help=f"One of: {', '.join(KERNELS)}.")


def machine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` every option that describes a machine."""
    for option in reversed(_MACHINE_OPTIONS):
        command = option(command)
    return command


def machine_from(options: dict[str, Any]) -> Machine:
    """The machine that the options describe; ValueError when there is none such."""
    return machine(
        options["ram"],
        buffer=options["buffer"],
        firmware=options["firmware"],
        arch=options["arch"],
        page_size=options["page_size"],
        map=options["map_"],
        kaslr=options["kaslr"],
        kpti=options["kpti"],
        descriptor_size=parse_address(options["descriptor_size"]),
    )
