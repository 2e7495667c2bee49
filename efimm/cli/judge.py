"""The command that asks real firmware: judge."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from .. import judges
from ..files import write_text
from ..machines import parse_address, parse_size
from ..text import COLUMNS
from .judge_linux import NAMES, ask_linux, linux_options, list_kernels
from .options import JSON, KERNEL, given, machine_options, timeout_option
from .own_code import keep_timeout_of_each


@click.command("judge")
@click.option("--all", "everything", is_flag=True, help="Every kernel, and the decisive cases.")
@click.option("--record", type=click.Path(dir_okay=False, writable=True), help="With --all: keep the answers there.")
@click.option("--vendor", type=click.Choice(list(judges.VENDORS)), default="intel", help="The guest's processor.")
@timeout_option(judges.TIMEOUT, "Seconds for one boot of the firmware.", keep_timeout_of_each)
@linux_options
@KERNEL
@machine_options
@JSON
def judge_command(everything: bool, record: str | None, as_json: bool, **options: Any) -> None:
    """Ask real firmware: OVMF in QEMU, under the page tables that the kernel made.

    With --linux it is a real kernel that is asked: what does it do at the call, and what comes of it?
    """
    if options.pop("list_kernels"):
        list_kernels()
    elif vmlinuz := options.pop("vmlinuz"):
        own = "map_", "firmware", "buffer", "page_size", "kaslr", "kpti", "sme", "mixed"
        _refuse_options("a real kernel brings its own", *own)
        _refuse_options("it is for real firmware under the model's tables", "everything", "record", "descriptor_size")
        ask_linux(vmlinuz, as_json, _always, options)
    else:
        _refuse_options("it is for --linux", *NAMES)
        _ask_firmware(everything, record, as_json, {key: it for key, it in options.items() if key not in NAMES})


def _ask_firmware(everything: bool, record: str | None, as_json: bool, options: dict[str, Any]) -> None:
    _refuse_options("the firmware brings its own memory map", "map_", "firmware")
    vendor, timeout, kernel = (options.pop(name) for name in ("vendor", "timeout", "kernel"))
    if everything:
        _refuse_options("--all brings its own machines", "kernel", "vendor", *options)
        _judge_all(timeout, as_json, record)
        return
    if record:
        raise click.BadOptionUsage("record", "--record cannot be used here: it is for --all")
    ram, arch = parse_size(options["ram"]), options["arch"]
    firmware_arch = judges.firmware_arch(arch)
    guest = judges.Guest(ram, judges.require(firmware_arch), vendor, firmware_arch)
    size = parse_address(options["descriptor_size"])
    case = judges.Case(kernel, guest, options["buffer"], options["page_size"], size, arch)
    found = judges.ask(case, timeout=timeout, progress=_progress)
    _progress("")
    click.echo(json.dumps(found.summary()) if as_json else judges.judgement(found))


def _judge_all(timeout: float, as_json: bool, record: str | None) -> None:
    found: list[tuple[judges.NamedCase, judges.Judgement]] = []

    def asked() -> Iterator[tuple[judges.NamedCase, judges.Judgement]]:
        for each in judges.ask_all(judges.named_cases(), timeout=timeout, progress=_progress):
            found.append(each)
            yield each

    for line in judges.overview(asked()):
        _progress("")
        if not as_json:
            click.echo(line)
    if as_json:
        click.echo(json.dumps({case.name: judged.summary() for case, judged in found}))
    if record:
        write_text(record, json.dumps(judges.record(found), indent=1) + "\n")


def _progress(what: str) -> None:
    """Show what is being done, on a terminal only; "" takes it away again."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{what[:COLUMNS]}", err=True, nl=False)


def _always(what: str) -> None:
    """As _progress; where there is no terminal, a line for each step."""
    if sys.stderr.isatty():
        _progress(what)
    elif what:
        click.echo(what, err=True)


def _refuse_options(why: str, *names: str) -> None:
    """BadOptionUsage when one of the options was given on the command line."""
    for name in names:
        if given(name):
            option = "--all" if name == "everything" else f"--{name.strip('_').replace('_', '-')}"
            raise click.BadOptionUsage(option, f"{option} cannot be used here: {why}")
