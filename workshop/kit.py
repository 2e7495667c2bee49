"""Everything for a room without the network, as one archive: packages for every system, notebooks, pages, a starter.

`make offline-kit` runs it.  The wheels are those for Linux and macOS on both processors, and for Windows, for every
Python that efimm runs on; pip takes those that fit where it is started.  Needs the network itself, once.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from email.parser import Parser
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags, mac_platforms
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from efimm.files import MARK, own_folder, replacing

ROOT = Path(__file__).resolve().parent.parent
STICK = Path(__file__).resolve().parent / "stick"
PAGES = ("site", "docs")  # taken along where they are there
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# Each with the tags that its pip accepts, the newest first.
SYSTEMS = {
    "linux-x86_64": ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "linux-aarch64": (
        "manylinux_2_28_aarch64",
        "manylinux_2_27_aarch64",
        "manylinux_2_17_aarch64",
        "manylinux2014_aarch64",
    ),
    "macos-arm64": ("macosx_14_0_arm64", "macosx_12_0_arm64", "macosx_11_0_arm64", "macosx_11_0_universal2"),
    "macos-x86_64": ("macosx_14_0_x86_64", "macosx_10_15_x86_64", "macosx_10_13_x86_64", "macosx_10_9_x86_64"),
    "windows-amd64": ("win_amd64",),
}
_NOT_ON_A_STICK = shutil.ignore_patterns(MARK, "__pycache__", ".ipynb_checkpoints")


def build(output: Path, *, systems: Sequence[str] = tuple(SYSTEMS), pythons: Sequence[str] = PYTHONS) -> Path:
    """Write the archive into `output`; its path.  CalledProcessError where pip cannot get a package."""
    name = "efimm-offline"
    own_folder(output)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / name
        shutil.copytree(STICK, folder, ignore=_NOT_ON_A_STICK)
        for part in PAGES:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=_NOT_ON_A_STICK)
        own_wheel(folder / "wheels")
        for system in systems:
            for python in pythons:
                collect_wheels(folder / "wheels", system, python)
        made = Path(shutil.make_archive(str(Path(temporary) / name), "zip", temporary, name))
        with replacing(output / made.name) as archive, made.open("rb") as file:
            shutil.copyfileobj(file, archive)
    return output / made.name


def own_wheel(folder: Path) -> None:
    """A wheel of efimm itself in `folder`."""
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))


def collect_wheels(folder: Path, system: str, python: str) -> None:
    """What efimm needs on `system` with `python`, as wheels in `folder`, where efimm's own is already.

    pip asks the machine it runs on which packages only some systems need, so what is still lacking is looked for.
    """
    platforms = [word for tag in SYSTEMS[system] for word in ("--platform", tag)]
    for_it = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python, *platforms]
    asked: set[str] = set()
    while need := lacking(folder, system, python):
        if need <= asked:
            raise ValueError(f"{system}, Python {python}: no wheel for {', '.join(sorted(need))}")
        _pip("download", *for_it, "--find-links", str(folder), "--dest", str(folder), *sorted(need))
        asked |= need


def lacking(folder: Path, system: str, python: str) -> set[str]:
    """What efimm needs there, itself or by what it needs, and no wheel in `folder` is."""
    environment = environment_of(system, python)
    fitting = _fitting(folder, system, python)
    need, seen, missing = [Requirement("efimm[dashboard]")], set(), set()
    while need:
        wanted = need.pop()
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        there = [
            wheel for wheel, version in fitting.get(canonicalize_name(wanted.name), ()) if version in wanted.specifier
        ]
        if not there:
            missing.add(f"{wanted.name}{wanted.specifier}")
        for line in _requirements(there[-1]) if there else ():
            inner = Requirement(line)
            extras = ("", *wanted.extras)
            if not inner.marker or any(inner.marker.evaluate(environment | {"extra": extra}) for extra in extras):
                inner.marker = None
                need.append(inner)
    return missing


def environment_of(system: str, python: str) -> dict[str, str]:
    """What packages are told of `system` (PEP 508)."""
    name, machine = system.split("-")
    words = {
        "linux": ("linux", "Linux", "posix"),
        "macos": ("darwin", "Darwin", "posix"),
        "windows": ("win32", "Windows", "nt"),
    }
    return {
        **dict(zip(("sys_platform", "platform_system", "os_name"), words[name], strict=True)),
        "platform_machine": "AMD64" if machine == "amd64" else machine,
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }


def _platforms(system: str) -> tuple[str, ...]:
    """The platforms whose wheels `system` takes: on macOS, as pip has it, older releases' and both processors', too."""
    name, machine = system.split("-")
    return tuple(mac_platforms((14, 0), machine)) if name == "macos" else SYSTEMS[system]


def _fitting(folder: Path, system: str, python: str) -> dict[str, list[tuple[Path, Version]]]:
    """The wheels in `folder` that can be used there, by name, the newest last."""
    version = tuple(map(int, python.split(".")))
    platforms = _platforms(system)
    own = {*cpython_tags(version, platforms=platforms), *compatible_tags(version, platforms=platforms)}
    found: dict[str, list[tuple[Path, Version]]] = {}
    for wheel in folder.glob("*.whl"):
        name, number, _, tags = parse_wheel_filename(wheel.name)
        if own & tags:
            found.setdefault(name, []).append((wheel, number))
    return {name: sorted(wheels, key=lambda wheel: wheel[1]) for name, wheels in found.items()}


@cache
def _requirements(wheel: Path) -> tuple[str, ...]:
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (name for name in packed.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        return tuple(Parser().parsestr(packed.read(name).decode()).get_all("Requires-Dist") or ())


def _pip(command: str, *arguments: str) -> None:
    pip = [sys.executable, "-P", "-m", "pip", command, "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *arguments], check=True)


def main() -> None:
    """Build the archive, and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="where to write it")
    parser.add_argument("--system", choices=SYSTEMS, action="append", help="for this system only; may be repeated")
    parser.add_argument("--python", choices=PYTHONS, action="append", help="for this Python only; may be repeated")
    asked = parser.parse_args()
    written = build(asked.output, systems=asked.system or tuple(SYSTEMS), pythons=asked.python or PYTHONS)
    print(f"{written}: {written.stat().st_size >> 20} MiB")


if __name__ == "__main__":
    main()
