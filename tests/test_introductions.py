"""Objects introduce themselves: a repr is one line that says what a person wants to know."""

import pytest

import efimm
from efimm import cli

RAN = efimm.run(efimm.machine("1T"), "3.5")
FAULT = RAN.fault

OBJECTS = {
    "outcome": (RAN, ("3.5", "page-fault", f"{FAULT.cr2:#x}", f"pgd[{FAULT.index}]")),
    "linux": (RAN.linux, ("3.5", "x86_64")),
    "machine": (RAN.linux.machine, ("1024 GiB", "edk2", f"{RAN.linux.machine.highest_ram:#x}")),
    "map": (RAN.linux.map, (str(len(RAN.linux.map.descriptors)), "EFI")),
    "kernel": (RAN.linux.kernel, ("'3.5'", "July 2012")),
    "walk": (FAULT.walk, (f"{FAULT.cr2:#x}", f"pgd[{FAULT.index}]", "not present")),
    "fault": (FAULT, (str(FAULT),)),
    "trace": (RAN.trace, (str(len(RAN.trace.events)),)),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_a_repr_is_one_line_with_what_a_person_wants_to_know(name):
    shown, words = OBJECTS[name]

    assert len(repr(shown).splitlines()) == 1
    assert len(repr(shown)) <= 200
    assert [word for word in words if word not in repr(shown)] == []


def test_a_notebook_shows_an_outcome_as_text():
    pretty = pytest.importorskip("IPython.lib.pretty").pretty

    assert pretty(RAN) == efimm.text(RAN)


def test_the_list_of_commands_needs_no_shortening():
    listed = cli.cli.get_help(cli.click.Context(cli.cli, info_name="efimm", terminal_width=cli.COLUMNS))

    assert "..." not in listed.split("Commands:")[1]
    assert {line.split()[0] for line in listed.split("Commands:")[1].strip().splitlines()} == set(cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_is_where_the_list_says(name):
    command = cli.cli.get_command(cli.click.Context(cli.cli), name)

    assert command.name == name


@pytest.mark.parametrize("first", ["efimm.run", "efimm.text", "efimm.locks"])
def test_a_promised_name_is_the_same_whichever_module_was_imported_first(first):
    import subprocess
    import sys

    program = f"import {first}; import efimm; print(callable(efimm.run), callable(efimm.text), efimm.locks.__name__)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert said.stdout == "True True efimm.locks\n"
