"""Does the model still know its story, and are the files there that it tells it with?"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from ..course.series import chapters, notebooks_folder
from ..machines import data_files, machine, table_files
from ..run import run
from .finding import Finding

_STORY = (
    ("3.5", "256G", "success"),
    ("3.5", "1T", "page-fault"),
    ("va-patch", "1T", "success"),
    ("hpa-sync", "1T", "success"),
)
_AGAIN = "install efimm again, from a complete checkout"


def files() -> Iterator[Finding]:
    """The notebooks and the data."""
    maps, tables = len(data_files()), len(table_files())
    found = f"{maps} memory maps and {tables} sets of page tables of real machines"
    yield Finding(bool(maps and tables), found if maps and tables else f"{found}: {_AGAIN}")
    try:
        solutions = len(list(notebooks_folder().glob("solutions/*.ipynb")))
        yield Finding(True, f"{len(chapters())} notebooks, and solutions to {solutions} of them")
    except ValueError:
        yield Finding(False, f"no notebooks: {_AGAIN}")


def story() -> Iterator[Finding]:
    """The four runs that every notebook builds on."""
    for kernel, ram, expected in _STORY:
        start = perf_counter()
        verdict = run(machine(ram), kernel).verdict
        took = f"{1000 * (perf_counter() - start):.0f} ms"
        told = f"kernel {kernel} with {ram} of RAM: {verdict} ({took})"
        yield Finding(verdict == expected, told if verdict == expected else f"{told}, and not {expected}: {_AGAIN}")
