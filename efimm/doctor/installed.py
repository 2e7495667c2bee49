"""Python and packages against what efimm asks for, and what a few commands need beside: space, Voila, firmware."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ..judges.host import NotInstalledError, require
from ..workers import available, processors
from .finding import Finding

_SPACE = 200 << 20  # for a kernel's temporary files and saved notebooks; a guess on the safe side


def space() -> Iterator[Finding]:
    """Room on the disk, where temporary files go."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    yield Finding(free >= _SPACE, f"{free >> 20} MiB free in {folder}{'' if free >= _SPACE else ': make some room'}")


def voila() -> Iterator[Finding]:
    """For `efimm dashboard`."""
    there = importlib.util.find_spec("voila") is not None
    yield Finding(
        there, "voila" if there else "voila, for `efimm dashboard`: pip install 'efimm[dashboard]'", needed=False
    )


def limits() -> Iterator[Finding]:
    """What ends a reader's kernel that never ends, or takes all memory: told, as not every system has all of it."""
    here = platform.system()
    if not available():
        words = "no processes here: a reader's kernel has no time limit and no memory limit"
        yield Finding(False, words, needed=False)
        return
    yield Finding(True, f"a time limit for a reader's kernel, on {processors()} processors", needed=False)
    linux = sys.platform == "linux"
    memory = f"a memory limit for a reader's kernel{'' if linux else f': {here} keeps none'}"
    yield Finding(linux, memory, needed=False)
    parent = "a reader's kernel ends with the process that started it"
    yield Finding(linux, parent if linux else f"{parent}: on {here} not one that lets no thread run", needed=False)


def firmware() -> Iterator[Finding]:
    """For `efimm judge`; notebook 12 has recorded answers."""
    try:
        yield Finding(True, f"QEMU, a compiler and the firmware {require().code}", needed=False)
    except NotInstalledError as error:
        yield Finding(False, f"real firmware, for `efimm judge`: {error}", needed=False)


def python() -> Iterator[Finding]:
    """The version of Python."""
    asked = SpecifierSet(metadata.metadata("efimm")["Requires-Python"])
    version = platform.python_version()
    remedy = "" if version in asked else f": expected {asked}; make lab PYTHON=/path/to/another one"
    yield Finding(version in asked, f"Python {version} in {sys.prefix}{remedy}")


def packages() -> Iterator[Finding]:
    """The packages that efimm needs: one line for all that are as they should be, one for each that is not."""
    good = []
    for requirement in map(Requirement, metadata.requires("efimm") or ()):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        complaint = _complaint(requirement)
        if complaint:
            yield Finding(False, complaint)
        else:
            good.append(f"{requirement.name} {metadata.version(requirement.name)}")
    yield Finding(True, ", ".join(good))


def _complaint(requirement: Requirement) -> str:
    remedy = f"pip install '{requirement.name}{requirement.specifier}'"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name}: {remedy}"
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{requirement.name} {version}: expected {requirement.specifier}; {remedy}"
