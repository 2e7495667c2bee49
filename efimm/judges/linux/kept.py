"""A run that is kept: the tables of both moments in the form of data/tables, the console, and what was said.

Such a folder is opened by `efimm walk --tables`, by the explorer and by the tables' picture, and the model can be asked
about it again, on a computer without QEMU as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from ...x86 import LONG5, load_tables
from ...x86.cpu import Registers
from ...x86.tablefile import TABLES_JSON, save_tables
from ..host import FirmwareImage, JudgeError
from ..tables import Moment, reachable
from .guest import LinuxGuest
from .image import KernelFile
from .told import Answer, Call, Fault, Told

AT_THE_CALL, OWN = "at_the_call", "kernels_own"
_CONSOLE = "console.txt"


def save(told: Told, folder: Path) -> None:
    """Write the run into `folder`; of one without a call the console only.

    Where a table was written to between the two moments, it is kept as it was at the call.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _CONSOLE).write_text(told.console, encoding="utf-8")
    if told.call is None or told.answer is None:
        return
    call, own = told.call.moment, told.answer.own
    about = {
        "title": f"Linux {told.guest.kernel.release} at its call of SetVirtualAddressMap",
        "source": f"stopped at the call by efimm judge --linux on {date.today().isoformat()}; {told.run_by}",
        "mode": "5level" if call.mode is LONG5 else "4level",
        "phys_bits": told.guest.phys_bits,
        "roots": {AT_THE_CALL: hex(call.cr3)} | ({OWN: hex(own.cr3)} if own else {}),
        "run": _run(told, told.call, told.answer),
    }
    save_tables(folder, (own.tables if own else {}) | call.tables, about)


def recall(folder: str | Path) -> Told:
    """The run that was kept in `folder`; TableFileError or JudgeError where there is none, or not all of it."""
    here = Path(folder)
    memory, roots, mode = load_tables(here)
    try:
        run = json.loads((here / TABLES_JSON).read_text(encoding="utf-8"))["run"]
        console = (here / _CONSOLE).read_text(encoding="utf-8")
        guest = _guest(run["guest"])
        registers = Registers(*run["registers"])

        def moment(root: int, arguments: tuple[int, ...] = ()) -> Moment:
            return Moment(registers, root, mode, reachable(memory, root, mode, guest.phys_bits), arguments)

        call = Call(moment(roots[AT_THE_CALL], tuple(run["arguments"])), run["array_pa"], bytes.fromhex(run["array"]))
        own = moment(roots[OWN]) if OWN in roots else None
        fault = Fault(**run["fault"]) if run["fault"] else None
        answer = Answer(run["status"], fault, tuple(run["moved"]), own)
        said = (run["reached"], run["seconds"], run["run_by"], run["date"], tuple(run["changes"]))
        return Told(guest, console, *said, call, call, answer)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JudgeError(f"{here}: expected a run kept by efimm judge --linux --save; {error}") from error


def _run(told: Told, call: Call, answer: Answer) -> dict[str, Any]:
    guest = told.guest
    return {
        "date": date.today().isoformat(),
        "guest": asdict(guest)
        | {"kernel": [guest.kernel.path.name, guest.kernel.release]}
        | {"firmware": str(guest.firmware.code), "initrd": None},
        "reached": told.reached,
        "seconds": round(told.seconds, 1),
        "run_by": told.run_by,
        "changes": list(told.changes),
        "registers": list(call.moment.registers),
        "arguments": list(call.moment.arguments),
        "array_pa": call.array_pa,
        "array": call.array.hex(),
        "status": answer.status,
        "fault": asdict(answer.fault) if answer.fault else None,
        "moved": list(answer.moved),
    }


def _guest(kept: Mapping[str, Any]) -> LinuxGuest:
    name, release = kept["kernel"]
    firmware = FirmwareImage(Path(kept["firmware"]))
    return LinuxGuest(**{**kept, "kernel": KernelFile(Path(name), release), "firmware": firmware})
