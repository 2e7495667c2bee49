"""The box for a prediction; and, by this name too, the RAM slider."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from ..exercises.answers import Answer, Hints, Question
from .drawing.svg import STATIC, script, with_text
from .ram.slider import RamSlider, ram_slider

__all__ = ["Predict", "RamSlider", "predict", "ram_slider"]


class Predict(anywidget.AnyWidget):
    """A question with a field for the answer; made by `predict`.  `guess` is checked when it is set."""

    _esm = script("predict")
    _css = STATIC / "picture.css"

    kind = traitlets.Unicode("predict").tag(sync=True)
    question = traitlets.Unicode().tag(sync=True)
    guess = traitlets.Dict().tag(sync=True)
    feedback = traitlets.Dict().tag(sync=True)

    def __init__(self, asked: Question, **traits: Any) -> None:
        self._asked = asked
        super().__init__(question=asked.text, **traits)

    def check(self, guess: str) -> str:
        """What the box says to `guess`."""
        return self._asked.check(guess).text

    def __repr__(self) -> str:
        return f"Predict: {self.question}"

    def _repr_mimebundle_(self, **arguments: Any) -> Any:
        return with_text(super()._repr_mimebundle_(**arguments), repr(self))

    @traitlets.observe("guess")
    def _checked(self, change: Any) -> None:
        # The number makes a repeated guess a new one, so that it is answered again.
        said = self._asked.check(str(change["new"].get("text", "")))
        self.feedback = {"number": change["new"].get("number", 0), "right": said.right, "text": said.text}


def predict(question: str, answer: Answer, hints: Hints | None = None) -> Predict:
    """A box for a prediction: `question`, a field, a button; Enter works too.

    `answer` is a number, a word, or a function without arguments that computes one (called at the first check).
    A number may be typed in decimal or hex, with K, M, G or T behind it.  `hints` has texts for wrong answers.
    """
    return Predict(Question(question, answer, hints or {}))
