"""Open the notebooks of this folder in JupyterLab.  Further arguments go to `jupyter lab`."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = HERE / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

if __name__ == "__main__":
    if not PYTHON.exists():
        sys.exit("Not installed yet. First:  python3 install.py")
    command = [PYTHON, "-m", "efimm", "lab", "--folder", HERE / "notebooks", *sys.argv[1:]]
    sys.exit(subprocess.run(command, check=False).returncode)
