"""The reader's own copy of the notebooks: made on first use, renewed by an upgrade, and never written over.

A manifest beside them remembers the hash of every notebook as it was put there.  A file that still has this hash was
not touched, and is renewed when efimm brings another one; every other file is the reader's, and stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .series import notebooks_folder, shipped

FOLDER = "efimm-notebooks"
MANIFEST = ".efimm-manifest.json"


@dataclass
class Renewed:
    """What became of each notebook, by its place in the folder; what was not touched and is not new is not listed."""

    added: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # changed by the reader, and efimm has another one

    def __str__(self) -> str:
        lines = [f"{len(self.added)} notebooks added"] if self.added else []
        lines += [f"renewed, since you had not changed it: {name}" for name in self.renewed]
        lines += [
            f"kept as you changed it: {name} (efimm reset {_number(name)} gives the new one)" for name in self.kept
        ]
        return "\n".join(lines)


def open_copy(folder: Path) -> Renewed:
    """Make or renew the copy in `folder`, and say what was done.

    ValueError where `folder` is a file, or the folder of the notebooks themselves.
    """
    source = notebooks_folder()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder for the notebooks, and this is a file")
    if folder.resolve() == source.resolve():
        raise ValueError(f"{folder}: these are efimm's own notebooks; to change them: efimm lab --folder {folder}")
    manifest, done = _manifest(folder), Renewed()
    for path in shipped():
        name = path.relative_to(source).as_posix()
        _renew(path, folder / name, name, manifest, done)
    _write(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())
    return done


def _renew(path: Path, mine: Path, name: str, manifest: dict[str, str], done: Renewed) -> None:
    """Bring one notebook up to date, if it is not the reader's."""
    new = path.read_bytes()
    if not mine.exists():
        done.added.append(name)
    elif mine.read_bytes() == new:
        manifest[name] = _hash(new)
        return
    elif _hash(mine.read_bytes()) == manifest.get(name):
        done.renewed.append(name)
    else:
        if manifest.get(name) != _hash(new):
            done.kept.append(name)
        return
    _write(mine, new)
    manifest[name] = _hash(new)


def reset(folder: Path, wanted: str) -> tuple[Path, Path | None]:
    """A fresh copy of the notebook `wanted`: its path, and where the reader's is kept (None where there is none).

    `wanted` is what a reader calls it: "04", "glossary", "04-solutions", or the name of the file.
    ValueError where no notebook, or more than one, has this name.
    """
    source = notebooks_folder()
    found = [path for path in shipped() if _number(path.name) == wanted or path.stem == wanted.removesuffix(".ipynb")]
    if len(found) != 1:
        names = ", ".join(_number(path.name) for path in shipped())
        raise ValueError(f"{wanted}: expected one of {names}")
    name = found[0].relative_to(source).as_posix()
    mine, new, kept = folder / name, found[0].read_bytes(), None
    if mine.exists() and mine.read_bytes() != new:
        kept = next(path for path in _beside(mine) if not path.exists())
        mine.rename(kept)
    _write(mine, new)
    _write(folder / MANIFEST, json.dumps(_manifest(folder) | {name: _hash(new)}, indent=1, sort_keys=True).encode())
    return mine, kept


def _beside(path: Path) -> Iterator[Path]:
    """04-the-bug.old.ipynb, 04-the-bug.old2.ipynb, ..."""
    yield path.with_suffix(".old.ipynb")
    number = 2
    while True:
        yield path.with_suffix(f".old{number}.ipynb")
        number += 1


def _number(name: str) -> str:
    """How a reader calls the notebook: 04, 04-solutions, glossary."""
    stem = Path(name).stem
    return stem if stem.endswith("-solutions") or not stem[:2].isdigit() else stem[:2]


def _manifest(folder: Path) -> dict[str, str]:
    """The hashes, by place; of a damaged manifest none, so that every file counts as the reader's."""
    try:
        read = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in read.items()} if isinstance(read, dict) else {}


def _write(path: Path, content: bytes) -> None:
    """Write `path` in one step: whoever is interrupted leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.replace(path)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
