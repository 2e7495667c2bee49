"""Commands that read a file of one's own machine: map, check."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from ..check import check, checked
from ..linux import Kernel
from ..machines import data_files, load_map
from ..text import memory_map
from ..uefi.memmap import MemoryMap
from .options import JSON, OWN_KERNEL, TIMEOUT_OF_OWN, placement_options, standard_input
from .runs import leanings

BOOT = click.option("--boot", type=int, metavar="N", help="Of a log with several boots, the one to read.")


@click.command("check")
@click.argument("log")
@OWN_KERNEL
@TIMEOUT_OF_OWN
@placement_options
@BOOT
@click.option("--explain", is_flag=True, help="Say what each success leans on, too (some seconds more).")
@click.option("--redact", is_flag=True, help="Only write the log without serial numbers, addresses and names.")
@JSON
def check_command(log: str, kernel: Kernel | None, explain: bool, as_json: bool, redact: bool, **options: Any) -> None:
    """Say whether the machine of LOG would have met the bug, with every kernel.

    LOG is what `dmesg` printed, /proc/iomem, the UEFI shell's memmap, GRUB's lsefimmap or lsmmap, /sys/firmware or a
    copy of it, a log of Xen or FreeBSD, packed or in a mail, the name of a machine in data/, or - for standard input.
    A page fault in it is explained, with or without a map.
    """
    if redact:
        from ..maps.redact import redacted  # noqa: PLC0415 - its many expressions take some of the time of a short check

        for line in redacted(data_files().get(log) or standard_input(log)):
            click.echo(line)
        return
    found = check(standard_input(log), own=kernel, **options)
    leaning = leanings(each.outcome for each in found.kernels) if explain else []
    if as_json:
        told = {"leans_on": {each.kernel: dataclasses.asdict(each) for each in leaning}} if explain else {}
        click.echo(json.dumps({"file": log} | found.summary() | told))
    else:
        click.echo("\n".join([checked(found, log), *([""] if leaning else []), *map(str, leaning)]))


@click.command("map")
@click.argument("file")
@BOOT
@JSON
def map_command(file: str, boot: int | None, as_json: bool) -> None:
    """Print the memory map that FILE holds: a boot log (- is stdin), a data file, or whatever else `check` reads."""
    found = load_map(standard_input(file), boot)
    click.echo(json.dumps(_map_summary(found)) if as_json else memory_map(found))


def _map_summary(found: MemoryMap) -> dict[str, Any]:
    return dataclasses.asdict(found) | {"ram_bytes": found.ram_bytes, "highest_ram": found.highest_ram}
