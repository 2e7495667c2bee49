"""The hand-over between processors: late threads and an interrupt at any line neither hang it nor leave a thread."""

import contextlib
import os
import random
import sys
import threading
import time
from pathlib import Path

import pytest

from efimm.linux.smp import Crash, this_processor
from efimm.locks import Story, search, search_history, smp
from efimm.locks.smp import Smp, SmpProcessor

PATIENCE = 60.0  # seconds, for what takes less than one


def finishes(work):
    """What `work` gives, done in a thread that may be left behind: a hang fails this test and stops no other."""
    done = []
    thread = threading.Thread(target=lambda: done.append(work()), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert done, "it hangs"
    return done[0]


def crash():
    this_processor().step("works", "memory")
    raise Crash("on purpose")


def works_on():
    for _ in range(3):
        this_processor().step("works", "memory")


def a_story():
    return Story({"crashes": crash, "ends": works_on, "never asked": works_on})


def traced(tracer, work):
    """`work` with `tracer` at every line of the hand-over, in every thread that it starts."""

    def of_the_hand_over(frame, event, arg):
        return tracer(frame, event, arg) if frame.f_code.co_filename == smp.__file__ else None

    before = sys.gettrace(), threading.gettrace()
    sys.settrace(of_the_hand_over)
    threading.settrace(of_the_hand_over)
    try:
        return work()
    finally:
        sys.settrace(before[0])
        threading.settrace(before[1])


@pytest.mark.skipif(
    not Path("/proc/thread-self/stat").exists(), reason="only Linux is asked to keep a thread on a processor"
)
@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_search_takes_one_processor_and_gives_back_what_it_was_allowed(error):
    before, meanwhile = os.sched_getaffinity(0), []

    def program():
        this_processor().step("works", "memory")
        meanwhile.append(os.sched_getaffinity(0))
        if error:
            raise error

    with contextlib.suppress(error or ()):
        search(lambda: Story({"looks": program}))
    assert {len(allowed) for allowed in meanwhile} == {1}
    assert os.sched_getaffinity(0) == before


def test_a_thread_that_is_slow_to_end_after_a_crash_is_waited_for(monkeypatch):
    run = SmpProcessor._run

    def slow_to_end(self):
        run(self)
        time.sleep(0.05)

    monkeypatch.setattr(SmpProcessor, "_run", slow_to_end)
    assert finishes(lambda: search(a_story)).bad_end == "CRASH\nCPU 0: on purpose"


@pytest.mark.parametrize("seed", range(12))
def test_delays_drawn_at_every_line_of_the_hand_over_change_nothing(seed):
    draw = random.Random(seed)
    expected = search(a_story)

    def late(_frame, _event, _arg):
        if draw.random() < 0.1:
            time.sleep(draw.random() * 0.004)
        return late

    found = finishes(lambda: traced(late, lambda: search(a_story)))
    assert found == expected


def test_a_real_search_with_late_threads_finds_what_it_finds_without():
    draw = random.Random(1)

    def late(_frame, event, _arg):
        if event == "return" and draw.random() < 0.05:
            time.sleep(0.002)
        return late

    expected = search_history("617d34d9^", "exec", xen=True)
    assert finishes(lambda: traced(late, lambda: search_history("617d34d9^", "exec", xen=True))) == expected


def lines_of_the_driver():
    count = [0]

    def counting(_frame, event, _arg):
        count[0] += event == "line" and threading.current_thread() is threading.main_thread()
        return counting

    traced(counting, lambda: search(a_story))
    return count[0]


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.nightly)])
def test_an_interrupt_at_any_line_ends_the_search_and_every_thread(every):
    before = set(threading.enumerate())
    for target in range(1, lines_of_the_driver() + 1, every):
        seen = [0]

        def interrupt(frame, event, _arg, seen=seen, target=target):
            if event == "line" and threading.current_thread() is threading.main_thread():
                seen[0] += 1
                if seen[0] == target and frame.f_code.co_name not in CLEANING_UP:
                    raise KeyboardInterrupt
            return interrupt

        with contextlib.suppress(KeyboardInterrupt):
            traced(interrupt, lambda: search(a_story))
        for thread in set(threading.enumerate()) - before:
            thread.join(PATIENCE)
            assert not thread.is_alive(), f"left behind by an interrupt at line event {target}"


CLEANING_UP = {"__exit__", "power_off", "join"}  # a second interrupt, while the first one is obeyed


def test_a_program_that_steps_while_it_is_being_ended_ends():
    def stubborn():
        try:
            this_processor().step("works", "memory")
        finally:
            this_processor().step("tidies up", "memory")

    before = threading.active_count()

    def begin_and_leave():
        with Smp([stubborn, works_on]):
            return True

    assert finishes(begin_and_leave)
    assert threading.active_count() == before


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ValueError])
def test_whatever_a_program_raises_comes_out_and_leaves_no_thread(error):
    def raises():
        this_processor().step("works", "memory")
        raise error("on purpose")

    before = threading.active_count()
    with pytest.raises(error, match="on purpose"):
        search(lambda: Story({"raises": raises, "other": works_on}))
    assert threading.active_count() == before
