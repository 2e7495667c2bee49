"""What Python in a browser lacks, said in one line instead of a traceback."""

from __future__ import annotations

from typing import Any

from ..locks.turns import NoStacksError

COMPILED = ("numpy", "matplotlib")
_SHORT = {"np": "numpy", "plt": "matplotlib"}


def begin(shell: Any) -> None:
    """Called once when a kernel starts: tell `shell` (an IPython) how to say what is missing."""
    import tqdm  # noqa: PLC0415 - a browser's kernel has it; the package imports without

    tqdm.tqdm.monitor_interval = 0  # it would start a thread, and there are none
    shell.set_custom_exc((ModuleNotFoundError, NameError, NoStacksError), _in_a_line)


def _in_a_line(
    shell: Any, kind: type[BaseException], error: BaseException, traceback: Any, tb_offset: Any = None
) -> Any:
    """IPython's own words, unless the browser lacks something."""
    name = str(getattr(error, "name", "")).partition(".")[0]
    missing = _SHORT.get(name, name)
    if isinstance(error, NoStacksError):
        print(error)  # noqa: T201 - a cell's output
    elif missing not in COMPILED:
        shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)
    else:
        print(absent(missing))  # noqa: T201 - a cell's output


def absent(name: str) -> str:
    """What a cell says that asks for `name`, which is not here."""
    return f"{name} is not here: open this page where there is a network, or install efimm, which brings it."
