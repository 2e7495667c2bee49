"""Files and folders that we write: what was good before stays good until the new one is complete."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

MARK = ".efimm"
_SAID = "efimm writes the files of this folder, and replaces them when it is asked to again.\n"


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file to be written in the place of `path`, which changes at once when the block has ended well.

    Where the block raises, or the disk is full, `path` is as it was, and nothing lies beside it.  What is no regular
    file (a pipe, /dev/stdout) is written to as it is.  OSError names `path`.
    """
    target = Path(os.path.realpath(path))  # a link stays one
    with _telling(path):
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                yield file
            return
        beside = target.with_name(f".{target.name[:200]}.{token_hex(4)}")
        try:
            with _nameless(target.parent) or beside.open("xb") as file:
                yield file
                file.flush()
                if hasattr(os, "fchmod"):
                    os.fchmod(file.fileno(), _mode(target))
                if not beside.exists():
                    here = file.fileno()  # as src_dir_fd: only with one does Python let the system follow the link
                    os.link(f"/proc/self/fd/{here}", beside, src_dir_fd=here, follow_symlinks=True)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write `text` (UTF-8) in the place of `path`, as `replacing` does; the path."""
    with replacing(path) as file:
        file.write(text.encode("utf-8", "replace"))  # half a character, as hostile words may hold, is no text
    return Path(path)


def own_folder(folder: Path) -> Path:
    """`folder`, made ready to be filled: a new or empty one, or one that an earlier run has marked as efimm's.

    ValueError for any other: what lies there is somebody's.
    """
    if folder.is_dir() and not (folder / MARK).is_file() and any(folder.iterdir()):
        raise ValueError(f"{folder}: expected a new or empty folder, or one that efimm has made (with a file {MARK})")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / MARK, _SAID)
    return folder


def _nameless(folder: Path) -> BinaryIO | None:
    """A file in `folder` that has no name, and so is gone if we are killed; None where there are none such."""
    if not hasattr(os, "O_TMPFILE") or not os.access("/proc/self/fd", os.X_OK):
        return None
    with suppress(OSError):  # an old or a foreign file system; a folder where nothing may be written is told by `open`
        return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600), "w+b")
    return None


def _mode(target: Path) -> int:
    """The rights of the file that is there, or those that a new one gets."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except OSError:
        mask = os.umask(0o077)
        os.umask(mask)
        return 0o666 & ~mask


@contextmanager
def _telling(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let an OSError name the file that was asked for."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), os.fspath(path)) from error
