"""Processes of this Python for work that may never end, may take all memory, or may end the process it runs in.

A worker does one job after another: a pickled call without arguments, whose answer is plain data (JSON).  It has a time
limit for each job, a limit on its memory where the system has one (not on Windows, and not kept by macOS), and ends
with the process that started it.  It is a new Python and no fork: a fork of a process that has threads, as a notebook's
kernel has, may come up with locks that nobody will ever release (Python 3.12 and later warn of that).
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from math import ceil, inf
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, NoReturn

TIMEOUT = 20.0  # seconds for one job; the longest of the gauntlet's takes less than half a second
MEMORY = 2 << 30  # bytes of address space for one worker; one trial needs less than a tenth of that
_START = 60.0  # seconds for a worker to be there: a new Python, from a slow disk
_MOST = 1 << 18  # bytes that a worker may say for one job; those of ours say some hundred
_LOOK = 0.2  # seconds between two looks at the clock; on Windows Ctrl-C is obeyed between two of them
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # numpy would reserve memory for all processors
_PROGRAM = "import sys; sys.path[:] = {path!r}; import {needs}, efimm.workers; efimm.workers.work({memory}, {parent})"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a job: its `value`, or in `trouble` why there is none; `late` where the time was up."""

    value: Any = None
    trouble: str = ""
    late: bool = False


def available() -> bool:
    """True where processes can be started: everywhere but in a browser's Python."""
    return sys.platform not in ("emscripten", "wasi")


def answers(
    jobs: Sequence[bytes], *, needs: str = "efimm", timeout: float = TIMEOUT, memory: int | None = MEMORY
) -> Iterator[tuple[int, Answer]]:
    """Do `jobs` on as many processors as this process may use; each one's place and its answer, as they come.

    `timeout` is in seconds for each job, `memory` in bytes for each worker (None: no limit); `needs` is a module that
    is imported before the clock runs.  However the iteration is left, no worker remains.  OSError where no worker can
    be started.
    """
    waiting = deque(enumerate(jobs))
    with _Crew(min(len(jobs), processors()), needs, memory) as crew:
        for _ in jobs:
            yield crew.next_answer(waiting, timeout)


class _Crew:
    """The workers, and one queue for what they say."""

    def __init__(self, size: int, needs: str, memory: int | None) -> None:
        self.needs, self.memory = needs, memory
        self.said: SimpleQueue[tuple[_Worker, bytes]] = SimpleQueue()
        self.workers: list[_Worker] = []
        self.size = size

    def __enter__(self) -> _Crew:
        with ExitStack() as stack:
            stack.push(self.__exit__)
            for _ in range(self.size):
                self._hire()
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.wait()

    def next_answer(self, waiting: deque[tuple[int, bytes]], timeout: float) -> tuple[int, Answer]:
        """The next answer of any worker; whoever has nothing to do gets the next job."""
        while True:
            for worker in self.workers:
                if found := self._looked_at(worker, timeout):
                    return found
            try:
                worker, line = self.said.get(timeout=_LOOK)
            except Empty:
                continue
            found = worker.heard(line)
            if worker.job is None and waiting and worker in self.workers:
                worker.give(*waiting.popleft(), timeout)
            if found:
                return found

    def _looked_at(self, worker: _Worker, timeout: float) -> tuple[int, Answer] | None:
        """What became of the job of a worker that has ended or must be ended now; another takes its place."""
        late = monotonic() > worker.deadline
        if not late and worker.process.poll() is None:
            return None
        worker.kill()
        worker.wait()
        self.workers.remove(worker)
        if not worker.ready:
            raise OSError(f"a worker process cannot start: {'no sign of it' if late else worker.end}")
        self._hire()
        if worker.job is None:
            return None
        return worker.job, Answer(trouble=f"no end within {timeout:g} seconds" if late else worker.end, late=late)

    def _hire(self) -> None:
        self.workers.append(_Worker(self.said, self.needs, self.memory))


class _Worker:
    """One process.  `job` is the place of what it does now, None when it has nothing to do."""

    def __init__(self, said: SimpleQueue[tuple[_Worker, bytes]], needs: str, memory: int | None) -> None:
        self.job: int | None = None
        self.ready = False
        self.deadline = monotonic() + _START
        self.room = _MOST
        self.jobs: SimpleQueue[bytes] = SimpleQueue()
        program = _PROGRAM.format(path=sys.path, needs=needs, memory=memory, parent=os.getpid())
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict.fromkeys(_ONE_THREAD, "1") | os.environ,
            start_new_session=True,  # Ctrl-C is for the process that asked, and what a job starts ends with it
        )
        self._threads = [
            threading.Thread(target=self._listen, args=(said,), daemon=True),
            threading.Thread(target=self._speak, daemon=True),
        ]
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError as error:  # the system has no thread left for this user
            with self.process:
                self.kill()
            raise OSError(f"a worker process cannot start: {error}") from None

    def give(self, job: int, data: bytes, timeout: float) -> None:
        """Let it do a job."""
        self.job, self.deadline, self.room = job, monotonic() + timeout, _MOST
        self.jobs.put(b"%d %d\n" % (job, len(data)) + data)

    def heard(self, line: bytes) -> tuple[int, Answer] | None:
        """What a line of its means.  A job that writes where the answers go may answer itself, and no more."""
        job, words = self.job, _parsed(line)
        if words == ["ready"] and not self.ready:
            self.ready, self.deadline = True, inf
        elif job is not None and len(words) == 3 and words[0] == job and isinstance(words[2], str):
            self.job, self.deadline = None, inf
            return job, Answer(words[1], words[2])
        return None

    @property
    def end(self) -> str:
        """How the process ended."""
        return how_it_ended(self.process.wait())

    def kill(self) -> None:
        """End it, and what it has started, at once."""
        kill_session(self.process)
        self.jobs.put(b"")

    def wait(self) -> None:
        """Wait for its end, and for that of its pipes, which a process that has left its session may hold open."""
        self.process.wait()
        for thread in self._threads:
            thread.join(_LOOK)

    def _speak(self) -> None:
        """Write the jobs: one that has stopped its process reads none, and only this thread waits for it."""
        assert self.process.stdin is not None
        with suppress(OSError), self.process.stdin as jobs:  # it has just ended, which is seen next
            for data in iter(self.jobs.get, b""):
                jobs.write(data)
                jobs.flush()

    def _listen(self, said: SimpleQueue[tuple[_Worker, bytes]]) -> None:
        """Hand on its lines, as many as it may say."""
        assert self.process.stdout is not None
        with self.process.stdout as replies:
            while self.room > 0 and (line := replies.readline(self.room)):
                self.room -= len(line)
                said.put((self, line))


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started with a session of its own, and what it has started there, at once."""
    if os.name == "posix":
        with suppress(OSError):  # nobody is left; a number that was just waited for is nobody else's so soon
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _parsed(line: bytes) -> list[Any]:
    try:
        words = json.loads(line)
    except (ValueError, RecursionError):
        return []
    return words if isinstance(words, list) else []


def how_it_ended(status: int) -> str:
    """What the return code of a process tells, in a few words."""
    if status >= 0:
        return f"its process ended with status {status}"
    try:
        return f"its process was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"its process was ended by signal {-status}"


def processors() -> int:
    """How many processors this process may really use: its affinity, and the quota of its control group."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, ceil(min(mine, cgroup_quota())))


def cgroup_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Processors' worth of time that Linux gives this process's control group; infinity without a limit.

    Source: Documentation/admin-guide/cgroup-v2.rst (cpu.max), and scheduler/sched-bwc.rst for version 1.
    """
    try:
        group = next(line[3:] for line in own.read_text(encoding="utf-8").splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        group = "/"
    folder = root / group.strip("/")
    quotas = [_quota(place / "cpu.max") for place in (folder, *folder.parents) if place.is_relative_to(root)]
    return min([*quotas, _quota(root / "cpu" / "cpu.cfs_quota_us", root / "cpu" / "cpu.cfs_period_us")])


def _quota(*files: Path) -> float:
    try:
        quota, period = " ".join(file.read_text(encoding="ascii") for file in files).split()
        return int(quota) / int(period) if int(quota) > 0 else inf
    except (OSError, ValueError):  # no such group, or "max"
        return inf


# What follows runs in the worker.


def work(memory: int | None, parent: int) -> NoReturn:
    """Do the jobs that come on standard input until it ends; what a job prints goes to standard error."""
    end_with(parent)
    end_forks()
    limit_memory(memory)
    gc.set_threshold(50_000)  # a job keeps what it makes: to look for garbage in it took a twelfth of the time
    jobs, replies = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere if sys.stderr is None else 2, 1)
    inbox: SimpleQueue[tuple[int, bytes]] = SimpleQueue()
    try:
        threading.Thread(target=_receive, args=(jobs, inbox), daemon=True).start()
    except RuntimeError:  # as above
        os._exit(1)
    me = os.getpid()
    _reply(replies, ["ready"])
    while True:
        number, data = inbox.get()
        value, trouble = _done(data)
        if os.getpid() != me:
            os._exit(0)  # the child of a job that forked
        _reply(replies, [number, value, trouble])


def _done(data: bytes) -> tuple[Any, str]:
    try:
        value = pickle.loads(data)()  # what cloudpickle wrote is read by pickle
        size = len(json.dumps(value))
    except BaseException as error:  # SystemExit and KeyboardInterrupt are a job's own here
        return None, told(error)
    return (value, "") if size < _MOST // 2 else (None, "its answer is too long")


def told(error: BaseException) -> str:
    """An exception in a line, whatever its own __str__ does."""
    try:
        words = str(error)[:1000]
    except BaseException:  # that of a reader's class may do anything, too
        words = "its __str__ fails"
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _reply(replies: int, words: list[Any]) -> None:
    try:
        os.write(replies, json.dumps(words).encode() + b"\n")
    except OSError:  # nobody listens any more, or the job has closed it
        os._exit(1)


def _receive(jobs: Any, inbox: SimpleQueue[tuple[int, bytes]]) -> None:
    """Hand on the jobs, and end the process when no more can come: its parent has ended, or wants it to."""
    for line in iter(jobs.readline, b""):
        number, size = map(int, line.split())
        inbox.put((number, jobs.read(size)))
    os._exit(0)


def end_with(parent: int) -> None:
    """On Linux the kernel ends this process with its parent, even one that lets no other thread run."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - some Pythons are built without it, and only Linux needs it

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)


def end_forks() -> None:
    """From now on what this process forks ends with it, too: a fork inherits nothing of `end_with`."""
    if hasattr(os, "register_at_fork"):  # Windows has no forks
        parent = deque([0], maxlen=1)  # not os.getppid(): it may have ended by then
        os.register_at_fork(before=lambda: parent.append(os.getpid()), after_in_child=lambda: end_with(parent[0]))


def limit_memory(size: int | None) -> None:
    """Let this process have at most `size` bytes of address space, where the system has such a limit."""
    if size is None or os.name != "posix":
        return
    import resource  # noqa: PLC0415 - there is none on Windows

    _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError, ValueError):  # macOS may refuse
        resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))
