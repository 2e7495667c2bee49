"""Predictions: the guess is recorded first, only then what follows opens; the browser judges as Python does."""

import json
from base64 import b64encode
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from test_browser import blank_page, chromium, jupyterlab, pytestmark

from benchmarks.views.lab import run_all
from efimm.course import exercise, export, predict, show_me
from efimm.course.series import solution
from efimm.exercises import EXERCISES, ask, check
from efimm.exercises.answers import Question

__all__ = ["chromium", "jupyterlab", "pytestmark"]

ASKED = ("Largest safe RAM, in GiB?", 511, {512: "512 would be right if RAM had no hole."})
SECRET = "You see: five hundred and eleven."
NEXT = "The next section"
CELLS = (
    nbformat.v4.new_markdown_cell("## A question"),
    nbformat.v4.new_code_cell(f"from efimm.course import predict\n\npredict(*{ASKED!r})"),
    nbformat.v4.new_code_cell("print('seen', 500 + 11)"),
    nbformat.v4.new_markdown_cell(SECRET),
    nbformat.v4.new_markdown_cell(f"## {NEXT}"),
)
# Numbers as people type them, and what is none.
TYPED = (
    *("272", " 0x1FF ", "511", "0X1ff", "1_000", "1,000", "-3", "+3", "1.5T", "4K", "512 GiB", "512gb", "0x10b", "0"),
    *("", "?", "1e3", "0x", "5 5", "0xffff880000000000", "9" * 30, "1.5", "65536", "x511"),
)


def notebook(folder):
    made = nbformat.v4.new_notebook(cells=list(CELLS))
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = folder / "asked.ipynb"
    nbformat.write(made, path)
    return path


def plain(box):
    """What the browser gets of a box, as JSON can carry it."""
    state = {name: value for name, value in box.get_state().items() if not name.startswith("_") and name != "layout"}
    return state | ({"sealed": b64encode(box.sealed).decode()} if "sealed" in state else {})


RENDER = """
(traits) => {
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  if (traits.sealed) traits.sealed = bytes(traits.sealed);
  const calls = [];
  window.model = {
    get: (name) => traits[name],
    set(name, value) {
      traits[name] = value;
      for (const [names, call] of calls) if (names.split(" ").includes("change:" + name)) call();
    },
    on: (names, call) => calls.push([names, call]), off() {}, save_changes() {},
  };
  widget.render({ model, el: document.getElementById("root") });
}
"""


def says(page, typed):
    """What the box says to `typed`, when it has said it."""
    page.evaluate("document.querySelector('.feedback').replaceChildren()")
    page.locator("form.predict input").fill(typed)
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.feedback').textContent !== ''")
    return page.locator(".feedback").inner_text()


@pytest.mark.parametrize(
    "question",
    [Question(*ASKED), Question("Slot?", 1 << 39, {}, "Why not."), Question("Does it?", "Yes", {"no": "It does."})],
    ids=["number", "address", "word"],
)
def test_the_browser_judges_as_python_does(chromium, question):
    box = predict(question.text, question.value, question.hints)
    box = type(box)(question)
    page = blank_page(chromium, scripts=("picture.js", "predict.js"))
    page.evaluate(RENDER, plain(box))
    right = [str(question.value), hex(question.value)] if isinstance(question.value, int) else [" 'YES'."]
    near = [str(question.value + step) for step in (-1, 1)] if isinstance(question.value, int) else ["no", "maybe"]
    said = {typed: says(page, typed) for typed in (*near, *TYPED, *right)}
    page.close()

    for typed, heard in said.items():
        expected = question.check(typed)
        record = "" if expected.text.startswith("Not yet: please") else f"Your answer: {typed.strip()}. "
        assert " ".join(heard.split()) == " ".join((record + expected.text).split()), typed


def test_every_sealed_answer_is_that_of_check():
    for name in (name for name, found in EXERCISES.items() if not found.is_task):
        question = ask(name, 1)
        sealed = question.sealed()
        assert question.check(sealed["right"]).text == sealed["yes"]
        assert sealed["right"] not in sealed["hints"]
        for wrong, hint in sealed["hints"].items():
            assert question.check(wrong).text == hint, (name, wrong)


@pytest.mark.parametrize(
    ("typed", "meaning"),
    [
        ("0", "none, or the very first"),
        ("272", "One too small"),
        ("274", "One too large"),
        ("0x273", "as a decimal number"),
        ("111", "as a hexadecimal number"),
        (str(273 * 512), "512 times less"),
        (str(273 << 39), "how many times 512 GiB"),
        (str(273 * 1024), "a unit 1024 times smaller"),
    ],
)
def test_a_common_slip_is_named_for_what_it_is(typed, meaning):
    assert meaning in Question("Slot?", 273).check(typed).text


# on a page, without Python


@pytest.fixture
def page(chromium, tmp_path):
    made = export.executed(notebook(tmp_path))
    (tmp_path / "asked.html").write_text(export.page(made, "asked"), encoding="utf-8")
    context = chromium.new_context(offline=True)
    opened = context.new_page()
    opened.goto((tmp_path / "asked.html").as_uri())
    opened.locator("form.prediction").wait_for()
    yield opened
    context.close()


def closed(page):
    """Whether the output and the text that give the answer away are out of sight; the next heading never is."""
    assert page.get_by_role("heading", name=NEXT).is_visible()
    rendered = page.locator(".jp-RenderedMarkdown p").filter(has_text=SECRET)
    hidden = {rendered.is_hidden(), page.locator(".jp-OutputArea-output").filter(has_text="seen 511").is_hidden()}
    assert len(hidden) == 1
    return hidden.pop()


def answer(page, typed):
    page.locator("form.prediction input").fill(typed)
    page.locator("form.prediction input").press("Enter")
    words = page.locator(".feedback").filter(has_text=f"Your answer: {typed}.")
    words.wait_for()
    return words.inner_text()


def test_on_a_page_a_wrong_answer_is_recorded_and_explained_and_opens_the_rest(page):
    assert closed(page)
    assert answer(page, "512") == "Your answer: 512. 512 would be right if RAM had no hole."
    assert not closed(page)


def test_on_a_page_a_right_answer_opens_the_rest(page):
    assert answer(page, "0x1ff") == "Your answer: 0x1ff. Yes: 511."
    assert not closed(page)
    assert page.get_by_role("button", name="Show me").is_hidden()


def test_what_is_no_number_opens_nothing(page):
    page.locator("form.prediction input").fill("many")
    page.keyboard.press("Enter")
    page.get_by_text("please type a number").wait_for()

    assert closed(page)


def test_after_three_wrong_answers_it_is_shown_and_not_before(page):
    for typed in ("1", "2"):
        answer(page, typed)
        assert page.get_by_role("button", name="Show me").is_hidden()
    answer(page, "3")
    page.get_by_role("button", name="Show me").click()
    page.get_by_text("The answer: 511.").wait_for()

    assert page.locator("form.prediction label").inner_text() == ASKED[0]


def test_who_does_not_want_to_answer_opens_it(page):
    page.get_by_role("button", name="Open it").click()

    assert not closed(page)
    assert "511" not in page.locator(".feedback").inner_text()


def test_the_page_does_not_hold_the_answer_for_all_to_read(page):
    models = json.loads(page.locator("#efimm-models").text_content())

    assert "511" not in json.dumps([model["traits"] for model in models.values()])


# in JupyterLab, and with a dead kernel


@pytest.mark.slow
def test_in_jupyterlab_the_rest_is_closed_after_run_all_and_a_dead_kernel_does_not_matter(chromium, tmp_path):
    notebook(tmp_path)
    with jupyterlab(tmp_path) as address:
        page = chromium.new_page(viewport={"width": 1366, "height": 768})
        page.goto(f"{address}/doc/tree/asked.ipynb")
        run_all(page)
        page.locator("form.prediction").wait_for(timeout=60_000)
        page.locator(".jp-OutputArea").filter(has_text="seen 511").wait_for(state="attached", timeout=60_000)
        page.wait_for_function("document.querySelectorAll('.efimm-closed').length === 2", timeout=30_000)
        before = closed(page)
        page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        page.wait_for_timeout(500)
        said = [answer(page, typed) for typed in ("512", "7", "8")]
        after = closed(page)
        page.get_by_role("button", name="Show me").click()
        page.get_by_text("The answer: 511.").wait_for()
        page.close()

    assert before
    assert not after
    assert said[0].endswith("512 would be right if RAM had no hole.")


# exercises


def test_an_exercise_shows_the_answer_with_the_way_to_it_and_keeps_its_numbers():
    box = exercise("05.1", seed=3)
    question = box.question
    for number in range(6):
        box.guess = {"text": str(600 + number), "number": number}
    box.shown += 1
    words, code = solution("05.1")

    assert (box.wrong, box.question, box.seed) == (6, question, 3)
    assert box.feedback["text"].startswith(f"The answer: {ask('05.1', 3).value}")
    assert box.feedback["text"].endswith(words)
    assert box.feedback["code"] == code
    box.again += 1
    assert (box.wrong, box.feedback) == (0, {})


@pytest.mark.parametrize("name", EXERCISES)
def test_every_exercise_has_words_and_code_that_show_the_way(name):
    words, code = solution(name)

    assert len(words) > 20
    assert f'ask("{name}"' in code or (EXERCISES[name].is_task and "def " in code)
    assert "](" not in words


def test_a_task_says_at_its_third_try_how_to_be_shown_a_way(monkeypatch, capsys):
    monkeypatch.setattr("efimm.exercises._not_yet", Counter())
    said = [check("05.5", ...).text for _ in range(3)]
    code = said[2].partition("To be shown a way: ")[2]
    exec(code, {})

    assert ["show_me" in text for text in said] == [False, False, True]
    assert solution("05.5")[1] in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"99\.9"):
        show_me("99.9")


def test_without_the_solutions_the_answer_alone_is_shown(monkeypatch):
    monkeypatch.setattr("efimm.course.series.installed", lambda _: Path("nowhere"))

    assert solution("05.1") == ("", "")
