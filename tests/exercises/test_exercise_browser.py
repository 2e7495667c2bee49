"""An exercise in a real JupyterLab, by keyboard alone: a hint for what is wrong, praise, and other numbers."""

import json

import pytest
from test_browser import chromium, jupyterlab, pytestmark

from benchmarks.views.lab import run_all
from efimm.exercises import ask

__all__ = ["chromium", "pytestmark"]

SEED = 3
SOURCE = f'from efimm.course import exercise\n\nexercise("01.1", seed={SEED})'


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exercise")
    cell = {"cell_type": "code", "source": SOURCE, "execution_count": None, "metadata": {}, "outputs": [], "id": "one"}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}  # else JupyterLab asks for one
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (folder / "exercise.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    with jupyterlab(folder) as address:
        yield f"{address}/doc/tree/exercise.ipynb"


@pytest.mark.slow
def test_an_exercise_is_answered_by_keyboard(chromium, lab):
    question = ask("01.1", SEED)
    wrong = next(answer for answer in question.hints if answer != question.value)
    page = chromium.new_page(viewport={"width": 900, "height": 800})
    page.goto(lab)
    run_all(page)
    form = page.locator(".efimm form.exercise")
    form.wait_for(timeout=60_000)
    feedback = page.locator(".efimm .feedback")

    def types(answer):
        before = feedback.inner_text()
        form.locator("input").fill(str(answer))
        form.locator("input").press("Enter")  # on the field itself: a run that just ended may have taken the focus
        page.wait_for_function(
            "(before) => document.querySelector('.efimm .feedback').textContent !== before", arg=before
        )
        return feedback.inner_text()

    shown = form.locator("label").inner_text()
    hint, praise = types(wrong), types(question.value)
    looks = feedback.get_attribute("class")
    form.locator("input").press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("(before) => document.querySelector('.exercise label').textContent !== before", arg=shown)
    focused = page.evaluate("document.activeElement.tagName")
    cells = page.locator(".jp-Cell").count()
    page.close()

    assert shown == question.text.replace("`", "")
    assert hint == question.hints[wrong]
    assert praise.startswith(f"Yes: {question.value}.")
    assert "right" in looks
    assert focused == "INPUT"
    assert cells == 1
