"""The judge of fixes: one kernel through every scenario, and what became of it each time.

Each trial has a time limit and runs in a process that it may ruin (efimm/workers.py).  The work goes to any
`concurrent.futures.Executor` instead where one is given, such as that of dask.distributed; limits are its business
then.  Kernel and scenario travel by cloudpickle, so a record that was written in a notebook cell travels too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass
from functools import partial
from textwrap import wrap

import cloudpickle
from tqdm.auto import tqdm

from . import workers
from .kernels import KERNELS
from .linux import Kernel, KernelError
from .machines import MachineError
from .maps.errors import printable
from .run import find_kernel
from .scenarios import SCENARIOS, Scenario, from_the_c, with_firmware
from .uefi.runtime import FirmwareKind
from .workers import TIMEOUT, Answer, told


@dataclass(frozen=True)
class Trial:
    """What became of one scenario: a word, and the reason in a line.

    The word is the verdict of `efimm.run`; or "no machine" where the kernel cannot start; "broken" where its functions
    raise, give what is no verdict, or end the process; "too long" where they do not end in time.
    """

    scenario: str
    verdict: str
    reason: str

    @property
    def passed(self) -> bool:
        """True where the firmware was switched and worked afterwards."""
        return self.verdict == "success"


@dataclass(frozen=True)
class Report:
    """All trials of one kernel, in the order of the scenarios.  `str()` is a table of at most 72 columns.

    `note` says what was not so as it should be; "" otherwise.
    """

    kernel: str
    trials: tuple[Trial, ...]
    note: str = ""

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
        return "\n".join([*lines, *wrap(from_the_c(trial.scenario for trial in self.trials), 72), *wrap(self.note, 72)])


_MARKS = {"success": "ok", "page-fault": "PF", "wrong-memory": "WM", "refused": "RF", "no machine": "-"}
_RARE_MARKS = {"broken": "BR", "too long": "TL"}  # explained where they occur


@dataclass(frozen=True)
class SupportTable:
    """The reports of several kernels side by side.  `str()` has a row for each scenario, at most 72 columns wide."""

    reports: tuple[Report, ...]

    def __str__(self) -> str:
        seen = {trial.verdict for report in self.reports for trial in report.trials}
        marks_of = _MARKS | {verdict: mark for verdict, mark in _RARE_MARKS.items() if verdict in seen}
        names = [f"{number}\u00a0{report.kernel}" for number, report in enumerate(self.reports, 1)]
        lines = [f"{'':32}" + "".join(f"{number:>3}" for number in range(1, len(self.reports) + 1))]
        for row in zip(*(report.trials for report in self.reports), strict=True):
            marks = "".join(f"{marks_of.get(trial.verdict, trial.verdict[:2]):>3}" for trial in row)
            lines.append(f"{row[0].scenario[:31]:<32}{marks}")
        notes = wrap(from_the_c(trial.scenario for trial in self.reports[0].trials), 72) if self.reports else []
        notes += wrap(next((report.note for report in self.reports if report.note), ""), 72)
        passed = "".join(f"{report.passed:>3}" for report in self.reports)
        meaning = ", ".join(f"{mark} {verdict}" for verdict, mark in marks_of.items())
        # The space that wrap does not break at keeps a number and its name together.
        legend = [line.replace("\u00a0", " ") for line in wrap(", ".join(names), 72)]
        return "\n".join([*lines, f"{'passed':<32}{passed}", "", *legend, *wrap(meaning, 72), *notes])


_NO_PROCESSES = (
    "Here are no processes: the trials ran one after the other in the Python that asked, and without a time limit."
)


def support_table(
    kernels: Sequence[Kernel | str] = tuple(KERNELS),
    *,
    firmware: FirmwareKind | str | None = None,
    progress: bool = True,
    timeout: float = TIMEOUT,
) -> SupportTable:
    """Every kernel of `kernels` through every scenario, each trial for at most `timeout` seconds.

    A `firmware` of a reader's own is one scenario more.
    """
    records, scenarios = [find_kernel(kernel) for kernel in kernels], _with(firmware, SCENARIOS)
    return SupportTable(_reports(records, scenarios, _trials(records, scenarios, progress, timeout)))


def gauntlet(
    kernel: Kernel | str,
    *,
    scenarios: Sequence[Scenario] = SCENARIOS,
    firmware: FirmwareKind | str | None = None,
    executor: Executor | None = None,
    progress: bool = True,
    timeout: float = TIMEOUT,
) -> Report:
    """Run `kernel` (a record, or its name) through `scenarios`, each for at most `timeout` seconds.

    A `firmware` of a reader's own (a record) is one scenario more; one of ours by its name is there already.
    Whatever the kernel's own functions do is a trial's result, not the end of the run.  `progress` shows a bar.
    Processes of this machine run the trials, as many as there are processors to use, and are gone afterwards; Ctrl-C
    ends them at once.  With an `executor` the trials are its tasks, and `timeout` does not apply.
    """
    records, scenarios = [find_kernel(kernel)], _with(firmware, scenarios)
    if executor is not None:
        return Report(records[0].name, _collect(records[0], scenarios, executor, progress))
    return _reports(records, scenarios, _trials(records, scenarios, progress, timeout))[0]


def _with(firmware: FirmwareKind | str | None, scenarios: Sequence[Scenario]) -> Sequence[Scenario]:
    """The scenarios, and that of the firmware, which takes the place of its namesake's."""
    if firmware is None:
        return scenarios
    own = with_firmware(firmware)
    return (*(scenario for scenario in scenarios if scenario.name != own.name), own)


def try_scenario(kernel: Kernel, scenario: Scenario) -> Trial:
    """One trial, here and now, for as long as it takes."""
    try:
        found = scenario.run(kernel)
        verdict, reason = found.verdict, found.reason
    except MachineError as error:
        if isinstance(error.__cause__, MemoryError) and not str(error.__cause__):  # Python's own, and no answer
            return Trial(scenario.name, "broken", "MemoryError")
        return Trial(scenario.name, "no machine", _line(told(error).partition(": ")[2]))
    except KernelError as error:
        return Trial(scenario.name, "broken", _line(told(error).partition(": ")[2].removeprefix("broken: ")))
    except (Exception, SystemExit) as error:  # a reader's record may do anything, and the other trials still count
        return Trial(scenario.name, "broken", _line(told(error)))
    return Trial(scenario.name, verdict, _line(reason))


def _line(words: str) -> str:
    """`words` of a reader's code as one line that a terminal can be given."""
    return printable(" ".join(words.split()))


def _reports(records: Sequence[Kernel], scenarios: Sequence[Scenario], trials: Iterable[Trial]) -> tuple[Report, ...]:
    note, each = "" if workers.available() else _NO_PROCESSES, iter(trials)
    return tuple(Report(record.name, tuple(next(each) for _ in scenarios), note) for record in records)


class _Bar(tqdm):  # type: ignore[misc]  # tqdm publishes no types
    """A bar without the thread that would look after it: a system may have none left, and tqdm warns of that."""

    monitor_interval = 0


def _trials(records: Sequence[Kernel], scenarios: Sequence[Scenario], progress: bool, timeout: float) -> list[Trial]:
    """Every kernel through every scenario, in this order."""
    pairs = [(record, scenario) for record in records for scenario in scenarios]
    trials = {}
    with _Bar(total=len(pairs), desc=" ".join(record.name for record in records[:1]), disable=not progress) as bar:
        for place, trial in _one_by_one(pairs) if not workers.available() else _in_processes(pairs, timeout):
            trials[place] = trial
            bar.update()
    return [trials[place] for place in range(len(pairs))]


def _one_by_one(pairs: Sequence[tuple[Kernel, Scenario]]) -> Iterator[tuple[int, Trial]]:
    for place, (kernel, scenario) in enumerate(pairs):
        yield place, try_scenario(kernel, scenario)


def _in_processes(pairs: Sequence[tuple[Kernel, Scenario]], timeout: float) -> Iterator[tuple[int, Trial]]:
    jobs: dict[int, bytes] = {}
    for place, (kernel, scenario) in enumerate(pairs):
        try:
            jobs[place] = cloudpickle.dumps(partial(_tried, kernel, scenario))
        except Exception as error:  # a record that holds on to a lock, a file or a generator
            yield place, Trial(scenario.name, "broken", _line(f"cannot go to another process: {told(error)}"))
    places = list(jobs)
    for number, answer in workers.answers(list(jobs.values()), needs=__name__, timeout=timeout):
        yield places[number], _trial(pairs[places[number]][1], answer)


def _tried(kernel: Kernel, scenario: Scenario) -> tuple[str, str]:
    trial = try_scenario(kernel, scenario)
    return trial.verdict, trial.reason


def _trial(scenario: Scenario, answer: Answer) -> Trial:
    if answer.trouble:
        return Trial(scenario.name, "too long" if answer.late else "broken", _line(answer.trouble))
    match answer.value:
        case [str(verdict), str(reason)] if verdict in _MARKS | _RARE_MARKS:
            return Trial(scenario.name, verdict, _line(reason))
    return Trial(scenario.name, "broken", "gives an answer of its own")


def _collect(kernel: Kernel, scenarios: Sequence[Scenario], executor: Executor, progress: bool) -> tuple[Trial, ...]:
    futures = [executor.submit(_try_pickled, cloudpickle.dumps((kernel, scenario))) for scenario in scenarios]
    for _ in _Bar(_completed(futures), total=len(futures), desc=kernel.name, leave=False, disable=not progress):
        pass
    return tuple(future.result() for future in futures)


def _completed(futures: list[Future[Trial]]) -> Iterable[Future[Trial]]:
    """As they come, where the executor's futures are those of the standard library; in order where they are not."""
    return as_completed(futures) if all(isinstance(future, Future) for future in futures) else futures


def _try_pickled(data: bytes) -> Trial:
    kernel, scenario = cloudpickle.loads(data)
    return try_scenario(kernel, scenario)
