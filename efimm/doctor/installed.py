"""The Python and the packages, against what efimm itself asks for."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from .finding import Finding


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
