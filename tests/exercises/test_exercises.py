"""The exercises: right answers pass, wrong ones get a hint, guessing leads nowhere, each has its place and solution."""

import json
import re
from collections import Counter
from contextlib import contextmanager
from functools import cache
from itertools import accumulate
from pathlib import Path
from unittest.mock import Mock

import pytest

from efimm import KERNELS
from efimm.course import exercise
from efimm.exercises import EXERCISES, NotYet, Question, ask, check
from efimm.exercises.n13_your_own_slider import first_size_that_fails

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
QUESTIONS = [name for name, found in EXERCISES.items() if not found.is_task]
TASKS = [name for name, found in EXERCISES.items() if found.is_task]
SEEDS = range(40)
asked = cache(ask)  # some questions are a search of seconds; each test may ask them again
MOST_OF_ONE_ANSWER = len(SEEDS) // 4


def code_of(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def notebook(name):
    (found,) = NOTEBOOKS.glob(f"{name[:2]}-*.ipynb")
    return found


# the questions


@pytest.mark.nightly
@pytest.mark.parametrize("name", QUESTIONS)
def test_no_single_answer_is_right_for_more_than_a_quarter_of_the_draws(name):
    answers = Counter(asked(name, seed).value for seed in SEEDS)

    assert answers.most_common(1)[0][1] <= MOST_OF_ONE_ANSWER, answers


@pytest.mark.nightly
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_can_be_asked_with_any_seed(name):
    for seed in range(len(SEEDS), 10 * len(SEEDS)):
        assert ask(name, seed).text


@pytest.mark.parametrize("step", range(0, 480, 12))
def test_where_an_array_is_asked_about_the_kernel_keeps_nothing_else(step):
    """The kernel has its tables and its struct pages near the end of the RAM; one draw in 30 came upon them."""
    question = first_size_that_fails(Mock(randrange=lambda first, end: min(first + step, end - 1)))

    assert question.value == 510 + question.given["below"]


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_right_answer_passes_in_every_way_to_type_it_and_all_others_are_refused(name):
    for seed in SEEDS[:10]:
        question = asked(name, seed)
        right = question.value
        typed = [right, str(right), *([hex(right), f" {right:_} "] if isinstance(right, int) else [str(right).upper()])]
        wrong = [right + 1, right - 1, ~right] if isinstance(right, int) else [f"{right}x", ""]

        assert all(question.check(answer) for answer in typed)
        assert not any(
            question.check(answer) for answer in [*wrong, "?", *(hint for hint in question.hints if hint != right)]
        )
        assert question.solved_by(right).right
        with pytest.raises(NotYet):
            question.solved_by(wrong[0])


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_typical_mistake_gets_a_hint_of_its_own(name):
    question = ask(name, 1)
    mistakes = [wrong for wrong in question.hints if wrong != question.value]

    assert mistakes
    for wrong in mistakes:
        said = question.check(wrong)
        assert "is not what the model finds" not in said.text
        assert said.text.endswith((".", "?"))


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_same_seed_asks_the_same_and_the_numbers_for_a_reader_s_code_are_given(name):
    first, second = ask(name, 5), ask(name, 5)

    assert (first.text, first.value) == (second.text, second.value)
    assert first.given
    texts = accumulate(({asked(name, seed).text} for seed in SEEDS), set.union)
    assert any(len(different) > len(SEEDS) // 4 for different in texts)  # asks no more than that takes


# the tasks


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(
    "submitted", [None, ..., 7, lambda *_: None, lambda: None], ids=["-", "...", "7", "idle", "odd"]
)
def test_a_task_refuses_what_does_nothing(name, submitted):
    said = check(name, submitted)

    assert not said
    assert said.text.startswith("Not yet: ")


def words_without_large_pages(words, cr3, va):
    table = cr3
    for shift in (39, 30, 21, 12):
        entry = words.get(table + 8 * (va >> shift & 511), 0)
        if not entry & 1:
            return None
        table = entry & 0x000F_FFFF_FFFF_F000
    return table + (va & 0xFFF)


def one_slot_too_many(pgd, highest_ram):
    slots = (highest_ram - 1 >> 39) + 1
    for slot in range(slots):
        pgd[slot] = pgd[272 + slot]
    pgd[slots] = pgd[272]


@contextmanager
def one_slot_of_the_direct_map(linux):
    kernel_cr3 = linux.cpu.cr3
    with KERNELS["3.5"].efi_call_phys(linux):
        linux.trampoline_pgd[273] = linux.swapper_pg_dir[273]
        linux.cpu.write_cr3(linux.trampoline_pgd.pa)
        yield
        linux.cpu.write_cr3(kernel_cr3)


@pytest.mark.parametrize(
    ("name", "submitted", "said"),
    [
        ("01.6", words_without_large_pages, "and the processor finds"),
        ("02.6", lambda entries: (entries[-1] & 2, entries[-1] & 4, not entries[-1] >> 63), "the processor says"),
        ("03.5", one_slot_too_many, "was written. Which slots are needed?"),
        ("04.5", lambda pointer, cr2, size: (cr2 - pointer) // size, "expected None"),
        ("05.5", one_slot_of_the_direct_map, "page-fault"),
        ("05.5", KERNELS["3.5"].efi_call_phys, "CR3 did not hold trampoline_pgd"),
    ],
)
def test_a_solution_that_is_nearly_right_is_refused_with_the_numbers_that_show_it(name, submitted, said):
    feedback = check(name, submitted)

    assert not feedback
    assert said in feedback.text


def test_an_error_of_the_reader_s_code_is_told():
    assert "ZeroDivisionError" in check("01.6", lambda *_: 1 // 0).text


def test_an_exercise_that_there_is_not_is_refused_with_a_list():
    with pytest.raises(ValueError, match=r"99\.1.*01\.1"):
        ask("99.1")


# the box


def test_the_box_answers_and_its_synchronised_state_does_not_hold_the_answer():
    box = exercise("01.2", seed=3)
    right = ask("01.2", 3).value
    box.guess = {"text": "1", "number": 1}

    assert box.feedback["right"] is False
    assert str(right) not in json.dumps(box.get_state(), default=str)
    box.guess = {"text": hex(right), "number": 2}
    assert box.feedback["right"] is True


def test_wrong_answers_change_no_numbers():
    box = exercise("01.1", seed=3)
    question = box.question
    for number in range(5):
        box.guess = {"text": str(600 + number), "number": number}

    assert (box.question, box.seed, box.wrong) == (question, 3, 5)


def test_other_numbers_ask_again():
    box = exercise("01.4", seed=3)
    question = box.question
    box.again += 1

    assert box.question != question
    assert box.feedback == {}


def test_a_task_has_no_box():
    with pytest.raises(TypeError, match=r"check\(\"01.6\""):
        exercise("01.6")


# their places


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_stands_once_in_its_notebook_and_its_solution_in_the_solutions(name):
    asked = f'check("{name}"' if EXERCISES[name].is_task else f'exercise("{name}"'
    solutions = NOTEBOOKS / "solutions" / f"{name[:2]}-solutions.ipynb"

    assert code_of(notebook(name)).count(asked) == 1
    assert len(re.findall(rf'ask\("{name}", seed=\d+\)', code_of(solutions))) == 1
    assert f"solutions/{solutions.name}" in notebook(name).read_text(encoding="utf-8")


def test_a_notebook_has_three_to_six_exercises_and_asks_for_none_that_there_is_not():
    asked = {
        path.name: re.findall(r'(?:exercise|check)\("(\d\d\.\d)"', code_of(path))
        for path in NOTEBOOKS.glob("[01]*.ipynb")
    }

    assert len(asked) == 14
    assert all(3 <= len(found) <= 6 for found in asked.values()), asked
    assert sorted(name for found in asked.values() for name in found) == list(EXERCISES)


def test_a_question_is_told_apart_from_a_task():
    assert all(isinstance(ask(name), Question) for name in QUESTIONS)
    assert all(not isinstance(ask(name), Question) for name in TASKS)
