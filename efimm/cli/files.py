"""Commands that read files: map."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from ..machines import load_map
from ..show import text
from ..uefi.memmap import MemoryMap
from .options import JSON


@click.command("map")
@click.argument("file")
@JSON
def map_command(file: str, as_json: bool) -> None:
    """Print the memory map that FILE (a boot log or a data file) holds."""
    found = load_map(file)
    click.echo(json.dumps(_map_summary(found)) if as_json else text.memory_map(found))


def _map_summary(found: MemoryMap) -> dict[str, Any]:
    return dataclasses.asdict(found) | {"ram_bytes": found.ram_bytes, "highest_ram": found.highest_ram}
