"""Open your copies of the notebooks in JupyterLab; the first time, install efimm from this folder before.

python3 start.py            further arguments go to `jupyter lab`
python3 start.py room       the room for those without Python: add --lan to let the network in
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = HERE / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

if __name__ == "__main__":
    if not (HERE / "venv" / "efimm-is-installed").exists():  # an installation that was interrupted is made anew
        done = subprocess.run([sys.executable, HERE / "install.py"], check=False)
        if done.returncode:
            sys.exit(done.returncode)
    if sys.argv[1:2] == ["room"]:
        command = ["room", "--site", HERE / "site", *sys.argv[2:]]
    else:
        command = ["lab", "--dir", HERE / "efimm-notebooks", *sys.argv[1:]]
    sys.exit(subprocess.run([PYTHON, "-m", "efimm", *command], check=False).returncode)
