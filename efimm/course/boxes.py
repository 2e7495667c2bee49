"""Boxes to answer in: one for a prediction, one for an exercise, with its numbers and other numbers on demand."""

from __future__ import annotations

import contextlib
import json
import os
from secrets import randbelow, token_hex
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

import traitlets

from ..exercises import Feedback, ask
from ..exercises.answers import Answer, Hints, Question
from ..show.drawing.frames import Widget, script
from ..show.drawing.pack import packed
from .series import solution


class Predict(Widget):
    """A question with a field for the answer; made by `predict`.

    Until it is answered, what follows it in the notebook stays closed, up to the next question or heading.  The browser
    judges by itself, also where no Python runs; after three wrong answers it offers to show the right one.
    Set: `guess`, {"text": what was typed, "number": how many times}; it is checked when it is set.  `opened`, True to
    open what follows; `shown`, True to be told the answer, too.
    Read: `question`; `feedback`, {"right", "text", "number"}; `check(guess)`, the same without the box.
    Observe: `guess`, `feedback`, `opened`, `shown`.

    `sealed` is what the browser gets to judge with.
    """

    _esm = script("predict")

    kind = traitlets.Unicode("predict").tag(sync=True)
    question = traitlets.Unicode().tag(sync=True)
    sealed = traitlets.Bytes().tag(sync=True)
    guess = traitlets.Dict().tag(sync=True)
    opened = traitlets.Bool(False).tag(sync=True)
    shown = traitlets.Bool(False).tag(sync=True)
    feedback = traitlets.Dict()

    def __init__(self, asked: Question, **traits: Any) -> None:
        self._asked = asked
        super().__init__(question=asked.text, sealed=packed(asked.sealed()), **traits)

    def check(self, guess: str) -> str:
        """What the box says to `guess`."""
        return self._asked.check(guess).text

    def __repr__(self) -> str:
        return f"Predict: {self.question}"

    @traitlets.observe("guess")
    def _checked(self, change: Any) -> None:
        guess = str(change["new"].get("text", ""))
        said = self._asked.check(guess)
        self.feedback = {"number": change["new"].get("number", 0), "right": said.right, "text": said.text}
        if room := os.environ.get("EFIMM_ROOM"):
            Thread(target=_tell_the_room, args=(room, self.question, guess), daemon=True).start()


_PARTICIPANT = token_hex(16)  # this kernel's, in its memory only


def _tell_the_room(address: str, question: str, answer: str) -> None:
    """Send a prediction to be counted by `efimm room` at `address`; a room that does not answer disturbs nobody."""
    body = json.dumps({"question": question, "answer": answer, "participant": _PARTICIPANT}).encode()
    with contextlib.suppress(OSError, ValueError):
        request = Request(f"{address.rstrip('/')}/-/vote", body, {"Content-Type": "application/json"})
        urlopen(request, timeout=5).close()


def predict(question: str, answer: Answer, hints: Hints | None = None) -> Predict:
    """A box for a prediction: `question`, a field, a button; Enter works too.

    `answer` is a number, a word, or a function without arguments that computes one (called at once: the browser gets
    the answer with the box, sealed, to judge by itself).
    A number may be typed in decimal or hex, with K, M, G or T behind it.  `hints` has texts for wrong answers.
    """
    return Predict(Question(question, answer, hints or {}))


_SEEDS = 10_000


class ExerciseBox(Widget):
    """An exercise with a field for the answer; made by `exercise`.

    Set: `guess`, {"text": what was typed, "number": how many times}; it is checked when it is set.  Count `again` up to
    get other numbers, which nothing else changes, and `shown` to have the answer told, with the way to it.
    Read: `name`; `seed`, which the numbers are drawn with; `question`; `wrong`, the wrong answers so far; `feedback`,
    {"right", "text", "code", "number"}; `check(guess)`, the same without the box.
    Observe: `feedback`, `seed`, `wrong`.
    """

    _esm = script("predict")

    kind = traitlets.Unicode("exercise").tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    question = traitlets.Unicode().tag(sync=True)
    guess = traitlets.Dict().tag(sync=True)
    wrong = traitlets.Int(0).tag(sync=True)
    feedback = traitlets.Dict().tag(sync=True)
    again = traitlets.Int(0).tag(sync=True)
    shown = traitlets.Int(0).tag(sync=True)
    seed = traitlets.Int()

    def __init__(self, name: str, seed: int, **traits: Any) -> None:
        self._asked = _question(name, seed)
        super().__init__(name=name, seed=seed, question=self._asked.text, **traits)

    def check(self, guess: int | str) -> Feedback:
        """What the box says to `guess`."""
        return self._asked.check(guess)

    def __repr__(self) -> str:
        return f"Exercise {self.name} (seed={self.seed}): {self.question}"

    @traitlets.observe("guess")
    def _checked(self, change: Any) -> None:
        # The number makes a repeated guess a new one, so that it is answered again.
        said = self.check(str(change["new"].get("text", "")))
        self.wrong += not said
        self.feedback = {"number": change["new"].get("number", 0), "right": said.right, "text": said.text}

    @traitlets.observe("again")
    def _other_numbers(self, _change: Any) -> None:
        self.seed, self.wrong = randbelow(_SEEDS), 0
        self._asked = _question(self.name, self.seed)
        self.question = self._asked.text
        self.feedback = {}

    @traitlets.observe("shown")
    def _show(self, _change: Any) -> None:
        words, code = solution(self.name)
        self.feedback = {"number": self.shown, "right": False, "text": f"{self._asked.told()} {words}", "code": code}


def exercise(name: str, seed: int | None = None) -> ExerciseBox:
    """Exercise `name`, such as "01.2", in a box; without `seed` everyone gets numbers of their own.

    Raises ValueError for an unknown name, and TypeError for a task: that is handed in by `efimm.exercises.check`.
    """
    return ExerciseBox(name, randbelow(_SEEDS) if seed is None else seed)


def _question(name: str, seed: int) -> Question:
    asked = ask(name, seed)
    if not isinstance(asked, Question):
        raise TypeError(f'exercise {name!r} wants something that runs: check("{name}", ...)')
    return asked
