"""Commands that look at page tables and memory: walk, dump."""

from __future__ import annotations

from typing import Any

import click

from ..linux.vmcore import dump
from ..machines import parse_address, table_files
from ..maps.errors import shortened
from ..run import at_call, boot
from ..text import walk as walk_text
from ..x86 import PagingMode, load_tables, walk
from .options import KERNEL, TIMEOUT_OF_OWN, machine_from, machine_options


@click.command("walk")
@click.argument("va")
@click.option("--at-call", "entered", is_flag=True, help="At the moment when the firmware is entered, not before.")
@click.option("--tables", metavar="FILE", help="Saved page tables instead of a booted kernel: a directory, or a name.")
@click.option("--root", metavar="NAME", help="Which of the saved tables: its name, or a physical address.")
@KERNEL
@TIMEOUT_OF_OWN
@machine_options
def walk_command(va: str, entered: bool, tables: str | None, root: str | None, kernel: str, **options: Any) -> None:
    """Walk a page table for the virtual address VA: the booted kernel's, or a saved one."""
    address = parse_address(va)
    if tables is not None:
        memory, roots, mode = load_tables(table_files().get(tables, tables))
        found = walk(memory, _root(roots, root, mode), address, mode)
    else:
        linux = boot(machine_from(options), kernel)
        mode = linux.cpu.mode
        found = at_call(linux, lambda cpu: cpu.walk(address)) if entered else linux.cpu.walk(address)
    if found.problem == "not canonical":
        raise ValueError(f"address {va}: expected {_canonical(mode)}")
    click.echo(walk_text(found))


def _root(roots: dict[str, int], chosen: str | None, mode: PagingMode) -> int:
    """The table that was named; without a name the only one there is."""
    if chosen is None and len(roots) == 1:
        return next(iter(roots.values()))
    if chosen is None or (chosen not in roots and not chosen[:1].isdigit()):
        raise ValueError(f"root {chosen or ''}: expected one of {', '.join(roots)}")
    bits = mode.root_mask.bit_length()
    if (root := roots[chosen] if chosen in roots else parse_address(chosen)) >> bits:
        raise ValueError(f"root {shortened(chosen)}: expected a physical address of at most {bits} bits")
    return root


def _canonical(mode: PagingMode) -> str:
    """Which addresses there are in `mode`."""
    half = 1 << mode.va_bits - 1
    if mode.va_bits == 32:
        return "at most 0xffffffff, as this machine has 32-bit addresses"
    return f"a canonical one, up to {half - 1:#x} or from {(1 << 64) - half:#x}"


@click.command("dump")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where to write the ELF core.")
@click.option("--at-call", "entered", is_flag=True, help="At the moment when the firmware is entered, not before.")
@KERNEL
@TIMEOUT_OF_OWN
@machine_options
def dump_command(output: str, entered: bool, kernel: str, **options: Any) -> None:
    """Write the booted machine's memory as an ELF core, which drgn opens."""
    linux = boot(machine_from(options), kernel)
    size = at_call(linux, lambda _: dump(linux, output)) if entered else dump(linux, output)
    click.echo(f"{output}: {size:,} bytes; open it with: drgn -c {output}")
