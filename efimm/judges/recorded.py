"""Answers of real firmware that were written down, for computers without QEMU.

What is kept are the witness's own lines, all but those of the probes.  So the model still predicts: it boots on the
memory map in the recording, and is compared with what the firmware said then.  Of the probes only the count and the
mismatches of that day are kept.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import astuple, replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..machines import answers_file
from .cases import NamedCase, ask_all, named_case
from .guest import TIMEOUT
from .host import PACKAGES, FirmwareImage, JudgeError, NotInstalledError, firmware_arch, require
from .judgement import Judgement, Mismatch, judge
from .request import Prediction
from .session import put
from .testimony import Finding, map_of, read_testimony

_HOW = "efimm judge --all --record data/firmware-answers.json"


def answers(
    *names: str, timeout: float = TIMEOUT, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Judgement]:
    """The judgements of these cases of `named_cases`; those with `recorded` set were not asked for now.

    Either all are asked now or none is.  Raises JudgeError where real firmware is here and gives no answer, too:
    a record must not hide that.
    """
    wanted = [named_case(name) for name in names]
    try:
        for arch in {firmware_arch(case.arch) for case in wanted}:
            require(arch)
    except NotInstalledError as missing:
        progress(f"{missing}; showing recorded answers")
        return {case.name: recall(case) for case in wanted}
    return {case.name: judged for case, judged in ask_all(wanted, timeout=timeout, progress=progress)}


def recall(named: NamedCase, kept: dict[str, Any] | None = None) -> Judgement:
    """The model's prediction of today beside the firmware's recorded answer.

    `kept` is what `record` made, else the file that comes with efimm.  JudgeError where `named` was not recorded, or
    where the kernel now asks something else, so that the answer would not belong to the question.
    """
    kept = kept or _file(answers_file())
    answer = kept["answers"].get(named.name)
    if answer is None:
        raise JudgeError(f"no answer was recorded for {named.name!r}; there are: {'; '.join(kept['answers'])}")
    said = read_testimony([*kept["maps"][answer["map"]], *answer["lines"]])
    case = named.case(FirmwareImage(Path(answer["firmware_file"])))
    question = put(case, map_of(said), named.broken, probing=False)
    if question.meaning() != answer["meaning"]:
        raise JudgeError(f"{named.name}: the kernel asks another question now; record anew: {_HOW}")
    found = judge(case.guest, question, said, answer["run_by"], answer["seconds"])
    mismatches = tuple(Mismatch(Prediction(*want), Finding(*got)) for want, got in answer["mismatches"])
    return replace(
        found,
        mismatches=mismatches,
        to_probe=answer["to_probe"],
        probed=answer["probed"],
        recorded=kept["date"],
    )


def record(found: Iterable[tuple[NamedCase, Judgement]]) -> dict[str, Any]:
    """Judgements as plain data for `recall`, with the date and the versions."""
    maps: dict[str, list[str]] = {}
    answers = {}
    for named, judged in found:
        regions = [line for line in judged.testimony.lines if _topic(line) == "region"]
        guest = next((key for key, known in maps.items() if known == regions), f"map {len(maps) + 1}")
        maps[guest] = regions
        answers[named.name] = _answer(judged) | {"map": guest}
    return {"date": date.today().isoformat(), "maps": maps, "answers": answers}


def _answer(judged: Judgement) -> dict[str, Any]:
    code = judged.guest.firmware.code
    return {
        "run_by": f"{judged.run_by} ({_package(judged.guest.arch)})",
        "firmware_file": str(code),
        "meaning": judged.question.meaning(),
        "to_probe": judged.to_probe,
        "probed": judged.probed,
        "mismatches": [[astuple(each.predicted), astuple(each.found)] for each in judged.mismatches],
        "seconds": round(judged.seconds, 1),
        "lines": [line for line in judged.testimony.lines if _topic(line) not in ("region", "probes")],
    }


def _topic(line: str) -> str:
    return line.partition(" ")[0]


def _package(arch: str) -> str:
    """Debian's package of the firmware with its version; only the name where dpkg does not know it."""
    name = PACKAGES[arch]
    try:
        done = subprocess.run(["dpkg-query", "-W", name], capture_output=True, text=True, check=False, timeout=60)
    except OSError:
        return name
    return " ".join(done.stdout.split()) or name


@lru_cache
def _file(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JudgeError(f"{path}: expected the recorded answers of real firmware; {error}") from error
    return found
