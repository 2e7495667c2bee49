"""Commands that run kernels on a machine: run, compare."""

from __future__ import annotations

import json
from typing import Any

import click

from ..kernels import KERNELS
from ..run import run
from ..show import text
from .options import JSON, KERNEL, machine_from, machine_options


@click.command("run")
@KERNEL
@machine_options
@JSON
def run_command(kernel: str, as_json: bool, **options: Any) -> None:
    """Boot a kernel and let it call SetVirtualAddressMap."""
    found = run(machine_from(options), kernel)
    click.echo(json.dumps(found.summary()) if as_json else text.outcome(found))


@click.command("compare")
@machine_options
@JSON
def compare_command(as_json: bool, **options: Any) -> None:
    """Run every kernel on one machine."""
    made = machine_from(options)
    outcomes = [run(made, kernel) for kernel in KERNELS]
    if as_json:
        click.echo(json.dumps({found.linux.kernel.name: found.summary() for found in outcomes}))
    else:
        click.echo(text.compare(outcomes))
