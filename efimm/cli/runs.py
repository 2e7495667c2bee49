"""Commands that run kernels on a machine: run, compare."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

import click

from ..kernels import KERNELS
from ..linux import Kernel
from ..reliance import Reliance, reliance, reliances
from ..run import Outcome, run, run_watched
from ..text import compare, outcome, reply
from .options import (
    JSON,
    KERNEL,
    OWN_KERNEL,
    TIMEOUT_OF_OWN,
    as_expected,
    expect_option,
    machine_from,
    machine_options,
)


@click.command("run")
@KERNEL
@TIMEOUT_OF_OWN
@machine_options
@click.option("--explain", is_flag=True, help="Print the walk that decided, step by step.")
@expect_option("success", "page-fault", "wrong-memory", "refused")
@JSON
def run_command(kernel: str, explain: bool, expect: str | None, as_json: bool, **options: Any) -> None:
    """Boot a kernel and let it call SetVirtualAddressMap."""
    found, at_call = run_watched(machine_from(options), kernel)
    if as_json:
        click.echo(json.dumps(found.summary()))
    else:
        click.echo(reply(found, at_call) if explain else outcome(found))
        if explain and found.verdict == "success":
            click.echo(f"\n{reliance(found)}")
    as_expected(found.verdict, expect)


@click.command("compare")
@OWN_KERNEL
@TIMEOUT_OF_OWN
@machine_options
@click.option("--explain", is_flag=True, help="Say what each success leans on (some seconds more).")
@JSON
def compare_command(kernel: Kernel | None, explain: bool, as_json: bool, **options: Any) -> None:
    """Run every kernel on one machine; null in the JSON form for one that the suite has no such build of."""
    made = machine_from(options)
    everyone = {**KERNELS, **({kernel.name: kernel} if kernel else {})}
    found = {name: run(made, each) if each.has_build_for(made.arch) else None for name, each in everyone.items()}
    if as_json:
        click.echo(json.dumps({name: outcome and outcome.summary() for name, outcome in found.items()}))
        return
    click.echo(compare([outcome for outcome in found.values() if outcome]))
    for name in (name for name, ran in found.items() if ran is None):
        click.echo(f"{name:<10} the suite has no {made.arch} build of it")
    if explain:
        click.echo()
        for each in leanings(found.values()):
            click.echo(str(each))


def leanings(outcomes: Iterable[Outcome | None]) -> list[Reliance]:
    """What each success leans on, in their order, with a progress line where somebody watches."""
    from tqdm import tqdm  # noqa: PLC0415 - takes longer to import than a short check takes

    tqdm.monitor_interval = 0  # no thread to look after it: a system may have none left, and tqdm warns of that
    alive = [each for each in outcomes if each and each.verdict == "success"]
    words, seen = "what a success leans on", sys.stderr.isatty()
    found = dict(tqdm(reliances(alive), total=len(alive), desc=words, leave=False, disable=not seen))
    return [found[place] for place in sorted(found)]
