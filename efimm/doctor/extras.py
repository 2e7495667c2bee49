"""What a few commands need beside: space, Voila, real firmware."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator

from ..judges.host import NotInstalledError, require
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


def firmware() -> Iterator[Finding]:
    """For `efimm judge`; notebook 12 has recorded answers."""
    try:
        yield Finding(True, f"QEMU, a compiler and the firmware {require().code}", needed=False)
    except NotInstalledError as error:
        yield Finding(False, f"real firmware, for `efimm judge`: {error}", needed=False)
