"""Commands that run kernels on a machine: run, compare."""

from __future__ import annotations

import json
from typing import Any

import click

from ..kernels import KERNELS
from ..run import run, run_watched
from ..text import compare, outcome, reply
from .options import JSON, KERNEL, machine_from, machine_options


@click.command("run")
@KERNEL
@machine_options
@click.option("--explain", is_flag=True, help="Print the walk that decided, step by step.")
@JSON
def run_command(kernel: str, explain: bool, as_json: bool, **options: Any) -> None:
    """Boot a kernel and let it call SetVirtualAddressMap."""
    found, at_call = run_watched(machine_from(options), kernel)
    if as_json:
        click.echo(json.dumps(found.summary()))
    else:
        click.echo(reply(found, at_call) if explain else outcome(found))


@click.command("compare")
@machine_options
@JSON
def compare_command(as_json: bool, **options: Any) -> None:
    """Run every kernel on one machine; null in the JSON form for one that the suite has no such build of."""
    made = machine_from(options)
    found = {name: run(made, kernel) if kernel.has_build_for(made.arch) else None for name, kernel in KERNELS.items()}
    if as_json:
        click.echo(json.dumps({name: outcome and outcome.summary() for name, outcome in found.items()}))
        return
    click.echo(compare([outcome for outcome in found.values() if outcome]))
    for name in (name for name, ran in found.items() if ran is None):
        click.echo(f"{name:<10} the suite has no {made.arch} build of it")
