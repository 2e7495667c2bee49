"""Install efimm from this folder into ./venv, without the network."""

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
FIRST, LAST = (3, 11), (3, 14)


def main() -> None:
    """Make the venv and fill it, or say in a line what is in the way."""
    if not FIRST <= sys.version_info[:2] <= LAST:
        sys.exit("This is Python %d.%d; the folder has packages for 3.11 to 3.14." % sys.version_info[:2])
    print("Making a place for efimm in", HERE / "venv")
    venv.create(HERE / "venv", with_pip=True, clear=True)
    python = HERE / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "--no-index", "--find-links", HERE / "wheels", "efimm[dashboard]"], check=False)
    if done.returncode:
        sys.exit("The packages could not be installed; the lines above say why.")
    (HERE / "venv" / "efimm-is-installed").touch()
    print("Done. Now:  python3 start.py")


if __name__ == "__main__":
    main()
