"""The other half of judge: a real kernel, asked by `efimm judge --linux`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..judges import JudgeError, linux
from ..judges.host import require_for_linux
from ..machines import parse_size
from ..run import find_kernel
from .options import NOT_THERE, as_expected, expect_option, given

_RAM, _VENDOR = "600G", "amd"
_LEVELS = {"x86_64": 4, "x86_64-la57": 5}

_OPTIONS = (
    click.option("--linux", "vmlinuz", metavar="VMLINUZ", help="Ask a real kernel instead: the file of a bzImage."),
    click.option("--list", "list_kernels", is_flag=True, help="The kernels of this computer, for --linux."),
    click.option("--array", type=click.Choice(["above", "below", "anywhere"]), help="Where Linux has its memory."),
    click.option("--append", default="", metavar="WORDS", help="More words for the kernel's command line."),
    click.option("--initrd", metavar="FILE", help="An initrd; none is needed."),
    click.option("--smp", default=1, show_default=True, help="Processors of the guest."),
    click.option("--zero-slot", multiple=True, type=int, metavar="N", help="What if this top-level slot were empty?"),
    click.option("--copy-slot", multiple=True, metavar="A:B", help="What if slot B were as slot A is?"),
    click.option("--pointer", metavar="va|pa|ADDR", help="What if the firmware got this pointer?"),
    expect_option("success", "page-fault", "wrong-memory", "refused", "reset", "no-call"),
    click.option("--save", metavar="DIR", help="Keep the tables, the console and the answer in this folder."),
)
NAMES = ("array", "append", "initrd", "smp", "zero_slot", "copy_slot", "pointer", "expect", "save")


def linux_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the options that are for real kernels."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def list_kernels() -> None:
    """Print the kernels in the usual places, and what each is good for."""
    found = linux.installed_kernels()
    for path in found:
        try:
            click.echo(f"{linux.kernel_file(path).release:<34}{path}")
        except JudgeError as error:
            click.echo(str(error))
    if not found:
        click.echo("No kernel in /boot or /usr/lib/modules; docs/real-linux.md says how to get one.")


def ask_linux(vmlinuz: str, as_json: bool, progress: Callable[[str], None], options: dict[str, Any]) -> None:
    """Boot the kernel, stop it at the call, and print what it did; exits as --expect wants it."""
    changes = _changes(options)
    told = linux.ask_kernel(_guest(vmlinuz, options), changes, timeout=_timeout(options), progress=progress)
    progress("asking the model")
    found = linux.judge_kernel(told, find_kernel(options["kernel"]) if given("kernel") else None, changes)
    progress("")
    click.echo(json.dumps(found.summary()) if as_json else linux.kernel_judgement(found))
    if options["save"]:
        linux.save(told, Path(options["save"]))
    if told.verdict == "no-call" and options["expect"] not in (None, "no-call"):
        click.get_current_context().exit(NOT_THERE)
    as_expected(told.verdict, options["expect"])


def _guest(vmlinuz: str, options: dict[str, Any]) -> linux.LinuxGuest:
    kernel, arch = linux.kernel_file(vmlinuz), options["arch"]
    if arch not in _LEVELS:
        raise click.BadOptionUsage("arch", f"--arch: expected {' or '.join(_LEVELS)} with --linux")
    ram = parse_size(options["ram"] if given("ram") else _RAM)
    array = options["array"] or linux.usual_side(ram)
    return linux.LinuxGuest(
        kernel,
        require_for_linux(),
        ram,
        "" if array == "anywhere" else array,
        options["append"],
        Path(options["initrd"]) if options["initrd"] else None,
        options["smp"],
        options["vendor"] if given("vendor") else _VENDOR,
        five_levels=_LEVELS[arch] == 5,
    )


def _timeout(options: dict[str, Any]) -> float:
    return float(options["timeout"]) if given("timeout") else linux.TIMEOUT


def _changes(options: dict[str, Any]) -> list[linux.Change]:
    """The changes that were asked for, slots first."""
    wanted: list[linux.Change] = [linux.ZeroSlot(slot) for slot in options["zero_slot"]]
    for pair in options["copy_slot"]:
        source, _, target = pair.partition(":")
        if not (source.isdecimal() and target.isdecimal() and len(pair) < 9):
            raise click.BadOptionUsage("copy-slot", f"--copy-slot {pair[:40]!r}: expected two slots, such as 273:1")
        wanted.append(linux.CopySlot(int(source), int(target)))
    return wanted + ([linux.OtherPointer(options["pointer"])] if options["pointer"] else [])
