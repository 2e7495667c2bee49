"""`python -m benchmarks.files_of_a_run`: how many files one run crosses, and how many modules `import efimm` loads."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

loaded_before = set(sys.modules)
import efimm  # noqa: E402 - what this line loads is one of the two figures

loaded = [name for name in sys.modules.keys() - loaded_before if name.partition(".")[0] == "efimm"]

PACKAGE = Path(efimm.__file__).parent


def files_of_a_run(ram: str = "1T", kernel: str = "3.5") -> dict[str, int]:
    """The files of efimm that have a function called in `run(machine(ram), kernel)`, with the number of calls.

    The first call in a process gives the most: later ones find some results kept.
    """
    calls: dict[str, int] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            name = frame.f_code.co_filename
            calls[name] = calls.get(name, 0) + 1

    sys.setprofile(note)
    try:
        efimm.run(efimm.machine(ram), kernel)
    finally:
        sys.setprofile(None)
    inside = {Path(name): count for name, count in calls.items() if Path(name).is_relative_to(PACKAGE)}
    return {path.relative_to(PACKAGE).as_posix(): inside[path] for path in sorted(inside)}


def main() -> int:
    """Print each file with its calls, and the two figures."""
    found = files_of_a_run()
    for name, count in found.items():
        print(f"{count:8,}  {name}")
    print(f'{len(found)} files of efimm are touched by run(machine("1T"), "3.5"); at most 28 is the aim')
    print(f"{len(loaded)} modules are loaded by `import efimm`; at most 65 is the aim")
    return 0


if __name__ == "__main__":
    sys.exit(main())
