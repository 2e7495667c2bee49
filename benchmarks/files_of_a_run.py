"""`python -m benchmarks.files_of_a_run`: how many files one run crosses, and how many modules `import efimm` loads."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import efimm


def loaded() -> int:
    """How many modules of efimm are loaded by now."""
    return sum(name.partition(".")[0] == "efimm" for name in sys.modules)


LOADED_BY_IMPORT = loaded()
machine, run = efimm.machine, efimm.run  # asking for them loads what a run needs
LOADED_FOR_A_RUN = loaded()
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
        run(machine(ram), kernel)
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
    print(f"{LOADED_BY_IMPORT} modules are loaded by `import efimm`; at most 65 is the aim")
    print(f"{LOADED_FOR_A_RUN} modules are loaded once efimm.run and efimm.machine have been asked for")
    return 0


if __name__ == "__main__":
    sys.exit(main())
