"""Everything for a room without the network, as one archive: packages, notebooks, pages, and three small programs.

`make offline-kit` runs it.  The packages are those for the Python and the platform it runs on; a room with several
kinds of laptops needs a kit from each.  Needs the network itself, once.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from efimm.files import MARK, own_folder, replacing

ROOT = Path(__file__).resolve().parent.parent
STICK = Path(__file__).resolve().parent / "stick"
PAGES = ("site", "docs")  # taken along where they are there
_NOT_ON_A_STICK = shutil.ignore_patterns(MARK, "__pycache__", ".ipynb_checkpoints")


def build(output: Path) -> Path:
    """Write the archive into `output`; its path.  CalledProcessError where pip cannot get a package."""
    version = "{}.{}".format(*sys.version_info[:2])
    name = f"efimm-offline-python{version}-{sysconfig.get_platform()}"
    own_folder(output)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / name
        shutil.copytree(STICK, folder, ignore=_NOT_ON_A_STICK)
        (folder / "python-version.txt").write_text(f"{version}\n", encoding="utf-8")
        shutil.copy(ROOT / "jupyter" / "overrides.json", folder)
        for part in ("notebooks", *PAGES):
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=_NOT_ON_A_STICK)
        collect_wheels(folder / "wheels")
        made = Path(shutil.make_archive(str(Path(temporary) / name), "zip", temporary, name))
        with replacing(output / made.name) as archive, made.open("rb") as file:
            shutil.copyfileobj(file, archive)
    return output / made.name


def collect_wheels(folder: Path) -> None:
    """The package and everything that it needs, as wheels in `folder`."""
    pip = [sys.executable, "-P", "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-deps", "--wheel-dir", str(folder)]
    subprocess.run([*pip, "--require-hashes", "-r", str(ROOT / "requirements" / "kit.txt")], check=True)
    subprocess.run([*pip, str(ROOT)], check=True)


def main() -> None:
    """Build the archive, and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="where to write it")
    written = build(parser.parse_args().output)
    print(f"{written}: {written.stat().st_size >> 20} MiB")


if __name__ == "__main__":
    main()
