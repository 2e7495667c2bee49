"""The command for one's own machine: check."""

from __future__ import annotations

import json
from typing import Any

import click

from ..check import check
from ..linux import Kernel
from ..show.checked import checked
from .options import JSON, OWN_KERNEL, TIMEOUT_OF_OWN, placement_options, standard_input


@click.command("check")
@click.argument("log")
@OWN_KERNEL
@TIMEOUT_OF_OWN
@placement_options
@JSON
def check_command(log: str, kernel: Kernel | None, as_json: bool, **options: Any) -> None:
    """Say whether the machine of LOG would have met the bug, with every kernel.

    LOG is what `dmesg` printed, /proc/iomem, the UEFI shell's memmap, /sys/firmware or a copy of it, a log of Xen or
    FreeBSD, the name of a machine in data/, or - for standard input.
    """
    found = check(standard_input(log), own=kernel, **options)
    click.echo(json.dumps({"file": log} | found.summary()) if as_json else checked(found, log))
