"""Commands that try one thing in many ways: gauntlet, locks, and claims with what was said in June 2012."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from ..workers import TIMEOUT
from .options import JSON, KERNEL, OWN_FIRMWARE, timeout_option
from .own_code import keep_timeout_of_each


@click.command("claims")
@click.argument("name", required=False)
@JSON
def claims_command(name: str | None, as_json: bool) -> None:
    """Try every technical claim of the thread, or the one called NAME with its evidence."""
    from ..claims import CLAIMS, overview, report  # noqa: PLC0415 - only this command needs the search over orders

    chosen = [claim for claim in CLAIMS if name in (None, claim.name)]
    if not chosen:
        raise ValueError(f"claim {name!r}: expected one of {', '.join(claim.name for claim in CLAIMS)}")
    findings = [(claim, claim.find()) for claim in chosen]
    if as_json:
        said = ("name", "who", "when", "words", "asks")
        rows = [{key: getattr(c, key) for key in said} | dataclasses.asdict(found) for c, found in findings]
        click.echo(json.dumps(rows))
    elif name:
        click.echo(report(*findings[0]))
    else:
        click.echo(overview(findings))


if TYPE_CHECKING:
    from ..trials import Report
    from ..uefi.runtime import FirmwareKind


@click.command("gauntlet")
@KERNEL
@click.option("--all", "everybody", is_flag=True, help="Every kernel, side by side.")
@OWN_FIRMWARE
@timeout_option(TIMEOUT, "Seconds for one trial.", keep_timeout_of_each)
@JSON
def gauntlet_command(
    kernel: str, everybody: bool, firmware: FirmwareKind | None, timeout: float, as_json: bool
) -> None:
    """Send a kernel through every scenario: machines, placements, firmwares."""
    from ..trials import gauntlet, support_table  # noqa: PLC0415 - cloudpickle and tqdm take longer than `efimm run`

    progress = sys.stderr.isatty()
    if everybody:
        table = support_table(firmware=firmware, progress=progress, timeout=timeout)
        click.echo(json.dumps([_plain(report) for report in table.reports]) if as_json else table)
        return
    found = gauntlet(kernel, firmware=firmware, progress=progress, timeout=timeout)
    click.echo(json.dumps(_plain(found)) if as_json else found)


def _plain(report: Report) -> dict[str, Any]:
    trials = [dataclasses.asdict(trial) for trial in report.trials]
    return {"kernel": report.kernel, "passed": report.passed, "trials": trials}


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
