"""The same questions everywhere: real firmware answers where there is some, and otherwise the record of its answers."""

from __future__ import annotations

from collections.abc import Callable

from .cases import ask_all, named_case
from .guest import TIMEOUT
from .host import NotInstalledError, firmware_arch, require
from .judgement import Judgement
from .recorded import recall


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
