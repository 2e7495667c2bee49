"""The command that tries what was said in June 2012: claims."""

from __future__ import annotations

import dataclasses
import json

import click

from .options import JSON


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
