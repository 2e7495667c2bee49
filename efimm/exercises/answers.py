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
_UNREAD = ("Not yet: please type a word.", "Not yet: please type a number, such as 272, 0x110, 4K or 512G.")
_OTHER = "Not yet: {} is not what the model finds. Try once more, or read on."


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
        guess, value = _same_kind(str(typed), self.value), self.value
        if guess is None or guess == "":
            return Feedback(False, _UNREAD[isinstance(value, int)])
        if guess == _same_kind(str(value), value):
            return Feedback(True, self._told("Yes"))
        return Feedback(False, self._meanings().get(guess) or _OTHER.format(_shown(guess)))

    def told(self) -> str:
        """The answer, for who asks for it."""
        return self._told("The answer")

    def _told(self, what: str) -> str:
        return f"{what}: {_shown(self.value)}. {self.why}".rstrip()

    def sealed(self) -> dict[str, Any]:
        """What `check` knows as JSON-ready data, for a judge without Python (show/drawing/static/predict.js)."""
        return {
            "number": isinstance(self.value, int),
            "right": str(_same_kind(str(self.value), self.value)),
            "yes": self._told("Yes"),
            "answer": self.told(),
            "hints": {str(wrong): hint for wrong, hint in self._meanings().items()},
            "unread": _UNREAD[isinstance(self.value, int)],
            "other": _OTHER,
        }

    def _meanings(self) -> dict[Value, str]:
        """What is said to wrong answers: the question's own hints, and to a number those for slips of every kind."""
        value = self.value
        own = {_same_kind(str(wrong), value): hint for wrong, hint in self.hints.items()}
        slips = _slips(value) if isinstance(value, int) else {}
        return {wrong: hint for wrong, hint in (slips | own).items() if wrong is not None and wrong != value}

    def solved_by(self, answer: Value) -> Feedback:
        """What is said to a right answer; NotYet, with the hint, for any other."""
        return settled(self.check(answer))


def _slips(value: int) -> dict[Value | None, str]:
    """What wrong numbers mean that people come to for any question; the likelier ones last."""
    digits, hexadecimal = str(value), f"{value:x}"
    return {
        value * 1024: "That would be right in a unit 1024 times smaller.",
        value // 1024: "That would be right in a unit 1024 times larger.",
        value << 9: "That is right in steps of 512 times less: GiB, say, where slots of 512 GiB are asked for.",
        value << 39: "That is where it begins, as an address. Asked for is the number: how many times 512 GiB?",
        int(digits, 16): "The digits are right, as a decimal number: leave the 0x away.",
        number(hexadecimal): "The digits are right, as a hexadecimal number: write 0x in front of them.",
        0: "0 would mean: none, or the very first. It is neither.",
        value - 1: "One too small. Are the first and the last one counted?",
        value + 1: "One too large. Is one counted that does not belong, or counted from 1 instead of 0?",
    }


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
