"""Say whether everything works here, and what to do where it does not."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = HERE / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

if __name__ == "__main__":
    if not PYTHON.exists():
        sys.exit("Not installed yet. First:  python3 start.py")
    sys.exit(subprocess.run([PYTHON, "-m", "efimm", "doctor", *sys.argv[1:]], check=False).returncode)
