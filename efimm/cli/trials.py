"""Commands that try one thing in many ways: gauntlet, locks."""

from __future__ import annotations

import dataclasses
import json
import sys

import click

from .options import JSON, KERNEL


@click.command("gauntlet")
@KERNEL
@JSON
def gauntlet_command(kernel: str, as_json: bool) -> None:
    """Send a kernel through every scenario: machines, placements, firmwares."""
    from ..trials import gauntlet  # noqa: PLC0415 - cloudpickle and tqdm take longer to import than `efimm run` takes

    found = gauntlet(kernel, progress=sys.stderr.isatty())
    if as_json:
        trials = [dataclasses.asdict(trial) for trial in found.trials]
        click.echo(json.dumps({"kernel": found.kernel, "passed": found.passed, "trials": trials}))
    else:
        click.echo(found)


@click.command("locks")
@click.argument("story", required=False)
@click.option("--history", default="a79e53d8^", show_default=True, help="Whose locks: a commit, or a kernel's name.")
@click.option("--xen", is_flag=True, help="As a paravirtualised guest of Xen.")
def locks_command(story: str | None, history: str, xen: bool) -> None:
    """Try every order of steps around pgd_lock, and print one that ends badly.

    STORY is flush, birth, exec, exit or fork; without it, a table of all but the last, for the locks of three years.
    """
    from ..locks import search_history, survey  # noqa: PLC0415 - as above

    click.echo(search_history(history, story, xen=xen) if story else survey())
