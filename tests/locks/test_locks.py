"""The locks around pgd_list: what the search finds, and that it finds everything there is."""

import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import efimm
from efimm.linux.smp import ALONE, local_irq_save, this_processor
from efimm.locks import HISTORIES, STORIES, Story, search, search_history, survey
from efimm.locks.histories import no_page_table_lock, no_pgd_lock, spin_lock_irqsave
from efimm.locks.shared import SharedLock
from efimm.locks.smp import Choice, Smp
from efimm.locks.stories import boot_small
from efimm.trace import Trace

V3_5 = efimm.KERNELS["3.5"]
QUICK = ("flush", "birth", "exec", "exit")


# What the commits say: 617d34d9e5d8 closed a race between the sync and Xen's pin and unpin, and from then on the
# page_table_lock was taken with interrupts off; a79e53d85683 removed the deadlock that this made possible.


@pytest.mark.parametrize("xen", [False, True])
@pytest.mark.parametrize("story", QUICK)
@pytest.mark.parametrize("history", ["617d34d9^", "a79e53d8^", "a79e53d8"])
def test_each_history_has_the_bug_that_the_next_commit_removed_and_no_other(history, story, xen):
    expected = {
        ("617d34d9^", "exec", True): "CRASH",
        ("617d34d9^", "exit", True): "CRASH",
        ("a79e53d8^", "flush", False): "DEADLOCK",
    }
    found = search_history(history, story, xen=xen)

    assert found.bad_end.partition("\n")[0] == expected.get((history, story, xen), "")
    assert bool(found.schedule) == bool(found.bad_end)


def test_the_histories_are_3_5_but_for_the_functions_that_take_the_locks():
    differs = {name: kernel.differs_from(V3_5) for name, kernel in HISTORIES.items()}

    assert differs == {
        "617d34d9^": ["hold_pgd_lock", "for_each_mm"],
        "a79e53d8^": ["hold_pgd_lock"],
        "a79e53d8": [],
        "no page_table_lock": ["for_each_mm"],
        "no pgd_lock": ["hold_pgd_lock"],
    }


@pytest.mark.parametrize("fields", [{"hold_pgd_lock": spin_lock_irqsave}, {}])
def test_a_fix_taken_out_of_the_record_is_missed_by_the_search(fields):
    found = search_history(replace(V3_5, name="mine", **fields))

    assert found.bad_end.startswith("DEADLOCK") == bool(fields)
    assert ("waits for CPU 1's answer, and CPU 1 has interrupts off" in found.bad_end) == bool(fields)


def test_a_third_processor_that_only_forks_can_be_the_one_that_does_not_answer():
    found = search_history("a79e53d8^", "fork")

    assert found.bad_end.splitlines() == [
        "DEADLOCK",
        "CPU 0 waits for CPU 2's answer, and CPU 2 has interrupts off",
        "CPU 1 waits for A's page_table_lock, held by CPU 0",
        "CPU 2 waits for pgd_lock, held by CPU 1",
    ]


@pytest.mark.nightly
def test_three_processors_never_stop_with_interrupts_on():
    assert search_history("a79e53d8", "fork").bad_end == ""


# Konrad's question and hpa's answer


def test_the_inner_lock_is_for_xen_and_the_outer_one_is_not():
    found = survey(("no page_table_lock", "no pgd_lock"), QUICK).found
    bad = {case for case, finding in found.items() if finding.bad_end}

    assert {case for case in bad if case[1] == "no page_table_lock"} == {
        (True, "no page_table_lock", "exec"),
        (True, "no page_table_lock", "exit"),
    }
    assert {case[0] for case in bad if case[1] == "no pgd_lock"} == {False, True}


def test_without_pgd_lock_a_new_process_can_miss_an_entry_for_ever_and_a_dead_one_cuts_the_walk():
    assert search_history(replace(V3_5, hold_pgd_lock=no_pgd_lock), "birth").bad_end.splitlines() == [
        "STALE",
        "B's pgd: no entry 273, and nobody will bring it",
    ]
    assert "LIST_POISON1" in search_history("no pgd_lock", "exit").bad_end


@pytest.mark.parametrize("story", QUICK)
def test_hpas_1_to_1_map_needs_no_mm_lock(story):
    """He asked how that is to be handled (2012-06-21); his plan writes trampoline_pgd under pgd_lock alone."""
    assert search_history("hpa-sync", story, xen=True).bad_end == ""


# a finding


@pytest.mark.parametrize(
    ("history", "story", "xen"),
    [("a79e53d8^", "flush", False), ("617d34d9^", "exec", True), ("no pgd_lock", "birth", False)],
)
def test_a_schedule_run_again_ends_the_same_way_and_not_before_its_last_step(history, story, xen):
    found = search_history(history, story, xen=xen)
    again = STORIES[story].start(boot_small(HISTORIES[history]), xen=xen)
    with Smp(list(again.programs.values())) as smp:
        for choice in found.schedule:
            assert smp.bad_end == ""
            smp.take(choice)
        assert (smp.bad_end or again.complaint()) == found.bad_end


@pytest.mark.parametrize("story", STORIES)
def test_a_finding_fits_into_a_mail(story):
    for history, xen in (("a79e53d8^", False), ("617d34d9^", True)):
        if story != "fork" or history == "a79e53d8^":
            text = str(search_history(history, story, xen=xen))
            assert max(map(len, text.splitlines())) <= 72
            assert text == "\n".join(line.rstrip() for line in text.splitlines())


def test_a_schedule_has_a_column_for_each_processor():
    lines = str(search_history("a79e53d8^")).splitlines()

    assert lines[0] == "CPU 0: unmap                        CPU 1: hot-add"
    assert lines[1] == "spin_lock(A's page_table_lock)"
    assert f"{'':36}local_irq_save" in lines


def test_a_survey_is_a_table():
    table = str(survey(("a79e53d8^", "a79e53d8"), ("flush",))).splitlines()

    assert [line.split() for line in table] == [
        *(["flush"], ["natively"], ["a79e53d8^", "DEADLOCK"], ["a79e53d8", "-"]),
        *(["as", "a", "guest", "of", "Xen"], ["a79e53d8^", "-"], ["a79e53d8", "-"]),
    ]


@pytest.mark.parametrize(("history", "story"), [("3.4", "flush"), ("a79e53d8", "lunch")])
def test_an_unknown_name_is_refused_in_one_line(history, story):
    with pytest.raises(ValueError, match="expected one of") as caught:
        search_history(history, story)
    assert "\n" not in str(caught.value)


def test_a_search_leaves_no_thread_and_no_processor_behind():
    before = threading.active_count()
    search_history("617d34d9^", "exec", xen=True)

    assert threading.active_count() == before
    assert this_processor() is ALONE


# the search itself, against trying everything


LOCKS = 2


def programs_of(scripts):
    """Programs for small processors: locks, interrupts off and on, and a flush that waits for the others' answers."""
    trace = Trace()
    locks = [SharedLock(f"lock {number}", trace) for number in range(LOCKS)]
    cell = [0]

    def run(script):
        if not script:
            return
        (what, number), rest = script[0], script[1:]
        if what == "lock":
            with locks[number]:
                run(rest)
        elif what == "irqsave":
            with local_irq_save():
                run(rest)
        else:
            {"flush": flush, "add": lambda: add(cell)}[what]()
            run(rest)

    return [lambda script=script: run(script) for script in scripts]


def add(cell):
    """A load and a store with room between them: what is lost depends on the order."""
    cpu = this_processor()
    cpu.step("load", "cell")
    value = cell[0]
    cpu.step("store", "cell")
    cell[0] = value + 1
    assert cell[0] < 3, "never with so few"


def flush():
    cpu = this_processor()
    missing = list(cpu.others)

    def answer():
        me = this_processor()
        me.step("answer", f"mask of {cpu}")
        missing.remove(me)

    for other in list(missing):
        cpu.step("send", f"{other}'s local APIC")
        other.send("flush", answer)
    cpu.step("wait", f"mask of {cpu}", lambda: "answers" if missing else "")


def brute_force(scripts, limit=4000):
    """The first words of all bad ends of all schedules; None where there are too many to try."""
    ends = set()
    pending = [()]
    runs = 0
    while pending:
        schedule = pending.pop()
        runs += 1
        if runs > limit:
            return None
        with Smp(programs_of(scripts)) as smp:
            for choice in schedule:
                smp.take(choice)
            while not smp.bad_end and smp.choices:
                first, *others = smp.choices
                pending += [(*schedule, choice) for choice in others]
                schedule = (*schedule, first)
                smp.take(first)
            ends.add(smp.bad_end.partition("\n")[0])
    return ends - {""}


OPS = st.sampled_from([("lock", 0), ("lock", 1), ("irqsave", 0), ("flush", 0), ("add", 0)])


@pytest.mark.parametrize("examples", [20, pytest.param(60, marks=pytest.mark.nightly)])
def test_the_search_finds_a_bad_end_exactly_where_there_is_one(examples):
    @settings(max_examples=examples)
    @given(st.lists(st.lists(OPS, max_size=3), min_size=2, max_size=2))
    def finds(scripts):
        everything = brute_force(scripts)
        if everything is None:
            return
        found = search(lambda: Story({str(number): p for number, p in enumerate(programs_of(scripts))}))

        assert bool(found.bad_end) == bool(everything)
        assert found.bad_end.partition("\n")[0] in everything | {""}

    finds()


def test_two_locks_in_two_orders_are_a_deadlock_and_in_one_order_are_none():
    for second, expected in (([("lock", 1), ("lock", 0)], "DEADLOCK"), ([("lock", 0), ("lock", 1)], "")):
        scripts = [[("lock", 0), ("lock", 1)], second]
        found = search(lambda scripts=scripts: Story(dict(zip("ab", programs_of(scripts), strict=True))))
        assert found.bad_end.partition("\n")[0] == expected


def test_an_interrupt_waits_until_interrupts_are_on():
    taken = []

    def receiver():
        with local_irq_save():
            this_processor().step("busy", "receiver")
            taken.append("busy")
        this_processor().step("free", "receiver")

    def sender():
        for other in this_processor().others:
            other.send("now", lambda: taken.append("interrupt"))

    with Smp([receiver, sender]) as smp:
        smp.take(Choice(0))
        assert Choice(0, interrupt=True) not in smp.choices
        smp.take(Choice(0))
        smp.take(Choice(0))
        smp.take(Choice(0, interrupt=True))
    assert taken == ["busy", "interrupt"]


def test_an_error_in_a_program_is_no_finding():
    def wrong():
        this_processor().step("first", "x")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        search(lambda: Story({"wrong": wrong}))


def test_a_lost_update_is_found_by_the_complaint_and_not_with_a_lock():
    for locked, expected in ((False, "LOST"), (True, "")):

        def start(locked=locked):
            cell, lock = [0], SharedLock("lock", Trace())

            def program():
                if locked:
                    with lock:
                        add(cell)
                else:
                    add(cell)

            return Story({"a": program, "b": program}, lambda: "" if cell[0] == 2 else "LOST")

        assert search(start).bad_end == expected


def test_the_walk_without_the_mms_lock_is_the_list_itself():
    linux = efimm.boot(efimm.machine("1G"), "3.5")
    assert no_page_table_lock(linux) is linux.pgd_list
