"""The command that looks whether everything is there: doctor."""

from __future__ import annotations

import json
import sys

import click

from .options import JSON


@click.command("doctor")
@JSON
def doctor_command(as_json: bool) -> None:
    """Check that everything is here for the notebooks, without the network.

    Takes some ten seconds.  Exit status 1 when something is missing that the notebooks need.
    """
    from ..doctor import all_there, examine, verdict  # noqa: PLC0415 - asks Jupyter's packages, which load slowly

    findings = []
    for found in examine():
        findings.append(found)
        if not as_json:
            click.echo(str(found))
    ready = all_there(findings)
    click.echo(
        json.dumps({"ready": ready, "findings": [found.summary() for found in findings]})
        if as_json
        else verdict(findings)
    )
    sys.exit(0 if ready else 1)
