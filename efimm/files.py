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
    file (a pipe, /dev/stdout) is written to as it is.  OSError names `path`, and tells of a file without permission.
    """
    target = Path(os.path.realpath(path))  # a link stays one
    with _telling(path):
        there = _there(Path(path))
        if there and not target.is_file():  # /dev/stdout leads to a pipe or a file that has no name of its own
            with Path(path).open("wb") as file:
                yield file
            return
        if there:
            os.close(os.open(target, os.O_WRONLY))  # is it allowed?  To replace a file needs none of its permissions
        with _in_place_of(target, there) as file:
            yield file


@contextmanager
def _in_place_of(target: Path, there: os.stat_result | None) -> Iterator[BinaryIO]:
    """A file that becomes `target` when the block has ended well, with the owner and the rights of what is `there`."""
    beside = target.with_name(f"{MARK}.{token_hex(8)}")  # a longer name than the file's may be too long
    try:
        with _nameless(target.parent) or beside.open("xb") as file:
            yield file
            file.flush()
            _give_rights(file.fileno(), there)
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


def refuse_foreign(folder: Path) -> None:
    """ValueError for a folder in which something lies, unless an earlier run has marked it as efimm's."""
    if folder.is_dir() and not (folder / MARK).is_file() and any(folder.iterdir()):
        raise ValueError(f"{folder}: expected a new or empty folder, or one that efimm has made (with a file {MARK})")


def own_folder(folder: Path) -> Path:
    """`folder`, made ready to be filled: there, and marked as efimm's; ValueError for a foreign one."""
    refuse_foreign(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / MARK, _SAID)
    return folder


@contextmanager
def making(folder: Path) -> Iterator[Path]:
    """`folder`, made where it is not there; if the block raises, what was made for it and is empty is taken away."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except BaseException:
        with suppress(OSError):
            for each in missing:
                each.rmdir()
        raise


def _nameless(folder: Path) -> BinaryIO | None:
    """A file in `folder` that has no name, and so is gone if we are killed; None where there are none such."""
    if not hasattr(os, "O_TMPFILE") or not os.access("/proc/self/fd", os.X_OK):
        return None
    with suppress(OSError):  # an old or a foreign file system; a folder where nothing may be written is told by `open`
        return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600), "w+b")
    return None


def _there(path: Path) -> os.stat_result | None:
    """What the system tells of `path`; None where nothing is; OSError where nothing can be, as at a link to itself."""
    with suppress(FileNotFoundError):
        return path.stat()
    return None


def _give_rights(file: int, there: os.stat_result | None) -> None:
    """Give `file` the owner and the rights of the file that is there, or the rights that a new one gets."""
    if there and hasattr(os, "fchown"):
        for owner in ((-1, there.st_gid), (there.st_uid, -1)):  # the group may be kept where the user may not
            with suppress(OSError):
                os.fchown(file, *owner)
    if hasattr(os, "fchmod"):  # last: a new owner takes some rights away
        os.fchmod(file, stat.S_IMODE(there.st_mode) if there else _usual_mode())


def _usual_mode() -> int:
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
