"""Checking an answer: what was typed or computed, against what the model finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any

from ..machines import number

Value = int | str
Answer = Value | Callable[[], Value]
Hints = Mapping[int, str] | Mapping[str, str] | Mapping[Value, str]

_HEX_FROM = 1 << 16
_WIDTH = 88


class NotYet(AssertionError):
    """An answer that is not the model's; the text is the hint."""


@dataclass(frozen=True)
class Feedback:
    """Whether an answer was right, and what to say to it."""

    right: bool
    text: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return wrapped(self.text)


@dataclass
class Question:
    """A question, its answer (or the function that computes it), and hints for wrong answers.

    `given` are the numbers in the text, for a reader's code; `why` is told with a right answer.
    """

    text: str
    answer: Answer
    hints: Hints = field(default_factory=dict)
    why: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return wrapped(self.text)

    @property
    def value(self) -> Value:
        """The answer; a function is called once."""
        if callable(self.answer):
            self.answer = self.answer()
        return self.answer

    def check(self, typed: Value) -> Feedback:
        """Whether `typed`, a number or its text, is right, and what to say to it."""
        guess = _same_kind(str(typed), self.value)
        if guess is None:
            return Feedback(False, "Not yet: please type a number, such as 272, 0x110, 4K or 512G.")
        if guess == "":
            return Feedback(False, "Not yet: please type a word.")
        if guess == _same_kind(str(self.value), self.value):
            return Feedback(True, f"Yes: {_shown(self.value)}. {self.why}".rstrip())
        for wrong, hint in self.hints.items():
            if _same_kind(str(wrong), self.value) == guess:
                return Feedback(False, hint)
        return Feedback(False, f"Not yet: {_shown(guess)} is not what the model finds. Try once more, or read on.")

    def solved_by(self, answer: Value) -> Feedback:
        """What is said to a right answer; NotYet, with the hint, for any other."""
        return settled(self.check(answer))


def settled(feedback: Feedback) -> Feedback:
    """The feedback, if it says that the answer is right; NotYet otherwise."""
    if not feedback:
        raise NotYet(feedback.text)
    return feedback


def wrapped(text: str) -> str:
    """`text` in lines as wide as a notebook's output."""
    return "\n".join(fill(line, _WIDTH, break_long_words=False) for line in text.splitlines())


def _same_kind(typed: str, value: Value) -> Value | None:
    """What was typed, as the kind of thing that the answer is: a number, or a word in lower case."""
    return number(typed) if isinstance(value, int) else typed.strip().strip(".'\"").casefold()


def _shown(value: Value) -> str:
    return f"{value} ({value:#x})" if isinstance(value, int) and value >= _HEX_FROM else str(value)
