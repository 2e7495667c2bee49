"""Commands that read files: map."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from ..machines import load_map
from ..maps.formats import read_map
from ..text import memory_map
from ..uefi.memmap import MemoryMap
from .options import JSON, standard_input


@click.command("map")
@click.argument("file")
@JSON
def map_command(file: str, as_json: bool) -> None:
    """Print the memory map that FILE holds: a boot log (- is stdin), a data file, or whatever else `check` reads."""
    source = standard_input(file)
    found = load_map(source) if isinstance(source, str) else read_map(source)
    click.echo(json.dumps(_map_summary(found)) if as_json else memory_map(found))


def _map_summary(found: MemoryMap) -> dict[str, Any]:
    return dataclasses.asdict(found) | {"ram_bytes": found.ram_bytes, "highest_ram": found.highest_ram}
