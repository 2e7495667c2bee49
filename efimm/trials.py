"""The judge of fixes: one kernel through every scenario, and what became of it each time.

The work goes to any `concurrent.futures.Executor`: processes of this machine by default, or a cluster's executor such
as that of dask.distributed.  Kernel and scenario travel by cloudpickle, so a record that was written in a notebook cell
travels too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import cloudpickle
from tqdm.auto import tqdm

from .kernels import KERNELS
from .linux import Kernel, KernelError
from .machines import MachineError
from .run import find_kernel
from .scenarios import SCENARIOS, Scenario


@dataclass(frozen=True)
class Trial:
    """What became of one scenario: the verdict of `efimm.run`, or "no machine", and the reason in a line."""

    scenario: str
    verdict: str
    reason: str

    @property
    def passed(self) -> bool:
        """True where the firmware was switched and worked afterwards."""
        return self.verdict == "success"


@dataclass(frozen=True)
class Report:
    """All trials of one kernel, in the order of the scenarios.  `str()` is a table of at most 72 columns."""

    kernel: str
    trials: tuple[Trial, ...]

    @property
    def passed(self) -> int:
        """In how many scenarios the firmware was switched and worked afterwards."""
        return sum(trial.passed for trial in self.trials)

    def __str__(self) -> str:
        width = max(len(trial.scenario) for trial in self.trials)
        lines = [f"{self.kernel}: {self.passed} of {len(self.trials)}"]
        for trial in self.trials:
            line = f"{trial.scenario:<{width}}  {trial.verdict:<12}  {trial.reason}"
            lines += wrap(line, 72, subsequent_indent=" " * (width + 16), drop_whitespace=True)
        return "\n".join(lines)


_MARKS = {"success": "ok", "page-fault": "PF", "wrong-memory": "WM", "refused": "RF", "no machine": "-"}


@dataclass(frozen=True)
class SupportTable:
    """The reports of several kernels side by side.  `str()` has a row for each scenario, at most 72 columns wide."""

    reports: tuple[Report, ...]

    def __str__(self) -> str:
        names = [f"{number}\u00a0{report.kernel}" for number, report in enumerate(self.reports, 1)]
        lines = [f"{'':32}" + "".join(f"{number:>3}" for number in range(1, len(self.reports) + 1))]
        for row in zip(*(report.trials for report in self.reports), strict=True):
            marks = "".join(f"{_MARKS.get(trial.verdict, trial.verdict[:2]):>3}" for trial in row)
            lines.append(f"{row[0].scenario[:31]:<32}{marks}")
        passed = "".join(f"{report.passed:>3}" for report in self.reports)
        meaning = ", ".join(f"{mark} {verdict}" for verdict, mark in _MARKS.items())
        # The space that wrap does not break at keeps a number and its name together.
        legend = [line.replace("\u00a0", " ") for line in wrap(", ".join(names), 72)]
        return "\n".join([*lines, f"{'passed':<32}{passed}", "", *legend, *wrap(meaning, 72)])


def support_table(kernels: Sequence[Kernel | str] = tuple(KERNELS), *, progress: bool = True) -> SupportTable:
    """Every kernel of `kernels` through every scenario."""
    with _processes() as pool:
        return SupportTable(tuple(gauntlet(kernel, executor=pool, progress=progress) for kernel in kernels))


def gauntlet(
    kernel: Kernel | str,
    *,
    scenarios: Sequence[Scenario] = SCENARIOS,
    executor: Executor | None = None,
    progress: bool = True,
) -> Report:
    """Run `kernel` (a record, or its name) through `scenarios`.

    `executor` runs the trials; without one, processes of this machine do, and are gone afterwards.  `progress` shows a
    bar.  An exception that the kernel's own functions raise is a trial's result, not the end of the run.
    """
    record = find_kernel(kernel)
    if executor is not None:
        return _collect(record, scenarios, executor, progress)
    with _processes() as pool:
        return _collect(record, scenarios, pool, progress)


def _processes() -> Executor:
    """Processes of this machine; where there can be none, as in a browser, an executor that makes none."""
    return _HereAndNow() if sys.platform == "emscripten" else ProcessPoolExecutor()


class _HereAndNow(Executor):
    """Runs each call when it is submitted."""

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*arguments, **named))
        except Exception as error:  # it belongs to the one who asks for the result
            future.set_exception(error)
        return future


def try_scenario(kernel: Kernel, scenario: Scenario) -> Trial:
    """One trial, here and now."""
    try:
        found = scenario.run(kernel)
    except MachineError as error:
        return Trial(scenario.name, "no machine", str(error))
    except KernelError as error:
        return Trial(scenario.name, "broken", str(error).removeprefix("broken: "))
    except Exception as error:  # a reader's record may do anything, and the other trials still count
        return Trial(scenario.name, "broken", f"{type(error).__name__}: {error}")
    return Trial(scenario.name, found.verdict, found.reason)


def _collect(kernel: Kernel, scenarios: Sequence[Scenario], executor: Executor, progress: bool) -> Report:
    futures = [executor.submit(_try_pickled, cloudpickle.dumps((kernel, scenario))) for scenario in scenarios]
    for _ in tqdm(_completed(futures), total=len(futures), desc=kernel.name, leave=False, disable=not progress):
        pass
    return Report(kernel.name, tuple(future.result() for future in futures))


def _completed(futures: list[Future[Trial]]) -> Iterable[Future[Trial]]:
    """As they come, where the executor's futures are those of the standard library; in order where they are not."""
    return as_completed(futures) if all(isinstance(future, Future) for future in futures) else futures


def _try_pickled(data: bytes) -> Trial:
    kernel, scenario = cloudpickle.loads(data)
    return try_scenario(kernel, scenario)
