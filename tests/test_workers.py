"""Trials are bounded: whatever a reader's kernel does costs its own cells, and an end of the asker ends everything."""

import contextlib
import ctypes
import os
import random
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import cloudpickle
import pytest

from efimm import workers
from efimm.kernels import v3_5
from efimm.scenarios import SCENARIOS
from efimm.trials import Trial, gauntlet, support_table
from efimm.workers import Answer, answers, cgroup_quota

ROOT = Path(__file__).parents[1]
FEW = SCENARIOS[:3]
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and process groups of POSIX")


def loops(*_):
    while True:
        with contextlib.suppress(BaseException):
            pass


def loops_in_c(*_):
    sum(range(1 << 60))


def exits(*_):
    os._exit(3)


def segfaults(*_):
    ctypes.string_at(0)


def allocates(*_):
    kept = []
    while True:
        kept.append(bytearray(1 << 26))


def asks_for_too_much(*_):
    return bytearray(1 << 50)


def deeper(number):
    return deeper(number + 1)


def recurses(*_):
    return deeper(0)  # that of a function which takes *anything has no limit in Python 3.13, and ends it


def raises_what_cannot_be_told(*_):
    class UntoldError(Exception):
        def __str__(self):
            raise RuntimeError

    raise UntoldError


def leaves(*_):
    raise SystemExit("\x1b[31mgood\nbye")


def interrupts(*_):
    raise KeyboardInterrupt


def forks(linux, new_memmap):
    os.fork()
    return linux.virt_to_phys(new_memmap)


def writes_where_answers_go(linux, new_memmap):
    sys.stdout.write("[0, 1, 2]\n")
    for fd in range(10):
        with contextlib.suppress(OSError):
            os.write(fd, b'[0, ["success", ""], ""]\n')
    return linux.virt_to_phys(new_memmap)


def closes_everything(linux, new_memmap):
    os.closerange(0, 64)
    return linux.virt_to_phys(new_memmap)


def to_all(line):
    """Write a line wherever answers may go."""
    for fd in range(3, 12):
        with contextlib.suppress(OSError):
            os.write(fd, line)


def says_that_it_is_ready(*_):
    to_all(b'["ready"]\n')
    loops()


def floods(*_):
    for _ in range(1000):
        to_all(b"x" * 65536)


def floods_with_lines(*_):
    for _ in range(100):
        to_all(b"\n" * 65536)


def trials(pointer, timeout=2.0):
    found = gauntlet(replace(v3_5.KERNEL, memmap_pointer=pointer), scenarios=FEW, progress=False, timeout=timeout)
    assert [trial.scenario for trial in found.trials] == [scenario.name for scenario in FEW]
    assert len(str(found).splitlines()) >= 1 + len(FEW)
    return {(trial.verdict, trial.reason) for trial in found.trials}


@pytest.mark.parametrize("pointer", [loops, loops_in_c, pytest.param(says_that_it_is_ready, marks=POSIX)])
def test_a_trial_that_does_not_end_is_too_long(pointer):
    assert trials(pointer) == {("too long", "no end within 2 seconds")}


@pytest.mark.parametrize(
    ("pointer", "reason"),
    [
        (exits, "its process ended with status 3"),
        pytest.param(segfaults, "its process was ended by SIGSEGV", marks=POSIX),
        (recurses, "RecursionError: maximum recursion depth exceeded"),
        (asks_for_too_much, "MemoryError"),
        (raises_what_cannot_be_told, "UntoldError: its __str__ fails"),
        (leaves, r"SystemExit: \x1b[31mgood bye"),
        (interrupts, "KeyboardInterrupt"),
        pytest.param(closes_everything, "its process ended with status 1", marks=POSIX),
    ],
)
def test_what_breaks_costs_its_cells(pointer, reason):
    assert trials(pointer, timeout=30) == {("broken", reason)}


@POSIX
def test_a_job_for_a_process_that_has_stopped_is_too_long(monkeypatch):
    def job():
        to_all(b'[0, 7, ""]\n')
        os.kill(os.getpid(), signal.SIGSTOP)

    monkeypatch.setattr(workers, "processors", lambda: 1)
    jobs = [cloudpickle.dumps(job), cloudpickle.dumps(partial(len, bytes(3_000_000)))]  # more than a pipe holds
    late = Answer(trouble="no end within 2 seconds", late=True)
    assert list(answers(jobs, timeout=2)) == [(0, Answer(7)), (1, late)]


@POSIX
@pytest.mark.parametrize(
    "value", ["null", "[]", "[{}, []]", '["success", 1]', '["good", ""]', "7", "[" * 900 + "]" * 900]
)
def test_an_answer_of_a_jobs_own_is_broken(value):
    def pointer(*_):
        for job in range(len(FEW)):
            to_all(f'[{job}, {value}, ""]\n'.encode())

    assert trials(pointer, timeout=30) == {("broken", "gives an answer of its own")}


@POSIX
@pytest.mark.parametrize(
    "words", [b"[" * 60_000 + b"]" * 60_000 + b"\n", b"[0, null, [1]]\n", b'["ready"]\n', b"\xff\n"]
)
def test_other_words_of_a_jobs_own_are_nothing(words):
    def pointer(linux, new_memmap):
        to_all(words)
        return linux.virt_to_phys(new_memmap)

    assert trials(pointer, timeout=30) == {("success", "")}


@POSIX
@pytest.mark.parametrize("job", [floods, floods_with_lines])
def test_a_worker_may_say_so_much_and_no_more(job):
    tracemalloc.start()
    try:
        [(_place, answer)] = answers([cloudpickle.dumps(job)], timeout=60)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.trouble
    assert most < 64 << 20


def test_an_answer_that_is_too_long_is_told():
    [(_place, answer)] = answers([cloudpickle.dumps(lambda: "x" * 1_000_000)])
    assert answer == Answer(trouble="its answer is too long")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the limit of a process's memory")
def test_a_worker_has_a_limit_of_memory():
    [(place, answer)] = answers([cloudpickle.dumps(allocates)], memory=512 << 20, timeout=60)
    assert (place, answer.trouble) == (0, "MemoryError")


@POSIX
@pytest.mark.parametrize("pointer", [forks, writes_where_answers_go])
def test_a_kernel_that_writes_or_forks_is_judged_like_any_other(pointer):
    assert {verdict for verdict, _reason in trials(pointer, timeout=30)} == {"success"}


def test_a_kernel_that_cannot_travel_is_told():
    lock = threading.Lock()
    [(verdict, reason)] = trials(lambda *_: lock)
    assert verdict == "broken"
    assert "cannot pickle" in reason


def test_one_bad_cell_leaves_the_others():
    def memmap_pointer(linux, new_memmap):
        if linux.machine.ram == 4 << 30:
            os._exit(0)
        return linux.virt_to_phys(new_memmap)

    mine = replace(v3_5.KERNEL, name="mine", memmap_pointer=memmap_pointer)
    found = gauntlet(mine, scenarios=FEW, progress=False)
    assert found.trials[1] == Trial("4G of RAM", "broken", "its process ended with status 0")
    assert found.passed == 2


def test_the_support_table_explains_the_words_that_occur(monkeypatch):
    monkeypatch.setattr("efimm.trials.SCENARIOS", FEW)
    mine = replace(v3_5.KERNEL, name="mine", memmap_pointer=loops)
    table = str(support_table(["3.5", mine], progress=False, timeout=1))
    assert "TL too long" in table.replace("\n", " ")
    assert "broken" not in table


def test_where_no_processes_are_the_trials_run_here_and_the_text_says_so(monkeypatch):
    monkeypatch.setattr(workers, "available", lambda: False)
    monkeypatch.setattr(subprocess, "Popen", None)
    found = gauntlet("3.5", scenarios=FEW, progress=False)
    assert found.passed == 3
    assert "without a time limit" in " ".join(str(found).split())
    assert "without a time limit" in " ".join(str(support_table(["3.5"], progress=False)).split())


# How many


def test_a_system_without_a_thread_to_spare_is_an_oserror(monkeypatch):
    def start(_thread):
        raise RuntimeError("can't start new thread")

    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *given, **more: started.append(popen(*given, **more)) or started[0])
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(OSError, match="a worker process cannot start: can't start new thread"):
        list(answers([cloudpickle.dumps(os.getpid)]))
    assert [process.poll() for process in started] == [-signal.SIGKILL if os.name == "posix" else 1]


def test_no_more_workers_than_the_process_may_use(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "processors", lambda: 2)
    jobs = [cloudpickle.dumps(os.getpid)] * 12
    pids = [answer.value for _place, answer in answers(jobs)]
    assert len(pids) == 12
    assert len(set(pids)) <= 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_affinity_counts():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert workers.processors() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("group", "limits", "quota"),
    [
        ("0::/\n", {"cpu.max": "max 100000"}, float("inf")),
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "400000 100000"}, 2.0),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, float("inf")),
        ("", {"cpu.max": "rubbish"}, float("inf")),
    ],
)
def test_the_quota_of_the_control_group_counts(tmp_path, group, limits, quota):
    own = tmp_path / "cgroup"
    own.write_text(group)
    for name, text in limits.items():
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    assert cgroup_quota(tmp_path / "fs", own) == quota


# The end


@POSIX
def test_all_pipes_are_closed():
    program = "from efimm.scenarios import SCENARIOS; from efimm.trials import gauntlet\n"
    program += "gauntlet('3.5', scenarios=SCENARIOS[:3], progress=False)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_what_a_job_has_forked_ends_with_it(tmp_path):
    def job():
        if (child := os.fork()) == 0:
            time.sleep(60)
        (tmp_path / "child").write_text(str(child))
        os._exit(3)

    [(_place, answer)] = answers([cloudpickle.dumps(job)])
    assert answer.trouble == "its process ended with status 3"
    until_ended({int((tmp_path / "child").read_text())})


ASKER = """
import os, sys
from dataclasses import replace
from efimm.kernels import v3_5
from efimm.trials import gauntlet
def loops(*_):
    os.write(2, b"begun\\n")
    while True:
        pass
def loops_in_c(*_):
    os.write(2, b"begun\\n")
    sum(range(1 << 60))
def forks_and_loops(*_):
    os.fork() or os.fork()
    loops()
gauntlet(replace(v3_5.KERNEL, memmap_pointer={pointer}), progress=False)
"""


def children(pid):
    """The processes below `pid`, from /proc."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found |= {int(stat.parent.name), *children(int(stat.parent.name))}
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until_ended(processes):
    start = time.monotonic()
    while any(map(alive, processes)):
        time.sleep(0.02)
        assert time.monotonic() - start < 20, "it does not end"


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("pointer", ["loops", "loops_in_c", "forks_and_loops"])
def test_one_signal_to_the_asker_ends_the_workers(sent, pointer):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    with subprocess.Popen(
        [sys.executable, "-c", ASKER.format(pointer=pointer)], stderr=subprocess.PIPE, cwd=ROOT, text=True
    ) as asker:
        assert asker.stderr.readline() == "begun\n"
        below = children(asker.pid)
        assert below
        asker.send_signal(sent)
        until_ended(below)
        asker.wait(20)
        asker.stderr.read()


# 200 kernels that do anything at any of their functions, a hundred of them by day

RUIN = (
    lambda *_: None,
    lambda *_: "garbage",
    lambda *_: 1 << 70,
    lambda *_: [object()],
    lambda *_: 1 / 0,
    leaves,
    interrupts,
    raises_what_cannot_be_told,
    recurses,
    exits,
    asks_for_too_much,
    loops,
)


def mutates_the_trace(*given):
    for each in given:
        if hasattr(each, "trace"):
            each.trace.__dict__.clear()
            each.__dict__.clear()


def ruined(draw):
    functions = [field.name for field in fields(v3_5.KERNEL) if callable(getattr(v3_5.KERNEL, field.name))]
    chosen = draw.sample(functions, draw.choice([1, 1, 1, 2, 5]))
    return replace(v3_5.KERNEL, name="ruined", **{name: draw.choice((*RUIN, mutates_the_trace)) for name in chosen})


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in (2, 3))])
def test_kernels_that_do_anything_get_a_full_table_each_time(seed, monkeypatch):
    draw = random.Random(seed)
    monkeypatch.setattr("efimm.trials.SCENARIOS", draw.sample(SCENARIOS, 2))
    kernels = [ruined(draw) for _ in range(50)]
    table = support_table(kernels, progress=False, timeout=1.0)
    assert [len(report.trials) for report in table.reports] == [2] * 50
    words = {trial.verdict for report in table.reports for trial in report.trials}
    assert words <= {"success", "page-fault", "wrong-memory", "refused", "no machine", "broken", "too long"}
    assert {"broken", "too long"} <= words
    assert str(table)
