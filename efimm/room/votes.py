"""What a room predicts, counted: one vote for each participant and question, before and after the reveal.

A participant is a random number that a page made for itself; there are no names and no addresses here.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..course.series import chapters

LONGEST_ANSWER = 40
MOST_PARTICIPANTS = 12_000
MOST_VOTES = 300_000  # some 100 MB
MOST_SHOWN = 12  # different answers on the board; the rest is summed up
_PARTICIPANT = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True)
class Question:
    """A prediction that a notebook asks for."""

    notebook: str
    text: str


class RoomFullError(RuntimeError):
    """More participants or votes than a room can have."""


def questions(notebooks: Iterable[Path] | None = None) -> list[Question]:
    """Every prediction of the numbered notebooks, in the order in which they come."""
    paths = [chapter.path for chapter in chapters()] if notebooks is None else notebooks
    return [Question(path.stem, text) for path in paths for text in _asked(path)]


def _asked(notebook: Path) -> Iterator[str]:
    """The first arguments of the calls of `predict` in a notebook."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if "predict" in cell["metadata"].get("tags", ()):
            for node in ast.walk(ast.parse("".join(cell["source"]))):
                match node:
                    case ast.Call(func=ast.Name("predict"), args=[ast.Constant(str(text)), *_]):
                        yield text


class Votes:
    """The votes of a room, for the questions it was made with."""

    def __init__(self, asked: Iterable[Question]) -> None:
        self.asked = {question.text: question for question in asked}
        self.shown = next(iter(self.asked), "")  # the question on the projector: the last that was voted on or chosen
        self.revealed: set[str] = set()
        self._answers: dict[tuple[str, bool], dict[str, str]] = {}
        self._participants: set[str] = set()
        self._count = 0

    def vote(self, question: str, answer: str, participant: str) -> None:
        """Count `answer`; an earlier one of the same participant, before the reveal or after it, is forgotten.

        ValueError for what is no vote, RoomFullError for one too many.
        """
        if question not in self.asked:
            raise ValueError("no such question")
        if not _PARTICIPANT.fullmatch(participant):
            raise ValueError("a participant is 16 to 64 digits of hex")
        answer = " ".join(answer.split()).casefold()
        if not answer.isprintable() or not 0 < len(answer) <= LONGEST_ANSWER:
            raise ValueError(f"an answer has 1 to {LONGEST_ANSWER} printable characters")
        self._keep(self._answers.setdefault((question, question in self.revealed), {}), answer, participant)
        self.shown = question

    def _keep(self, answers: dict[str, str], answer: str, participant: str) -> None:
        if participant not in self._participants and len(self._participants) >= MOST_PARTICIPANTS:
            raise RoomFullError("the room is full")
        if participant not in answers:
            if self._count >= MOST_VOTES:
                raise RoomFullError("the room has no place for more votes")
            self._count += 1
        self._participants.add(participant)
        answers[participant] = answer

    def show(self, question: str) -> None:
        """Put `question` on the projector; ValueError where there is none of this name."""
        if question not in self.asked:
            raise ValueError("no such question")
        self.shown = question

    def reveal(self, question: str) -> None:
        """From here on votes for `question` are counted as those after the reveal."""
        self.show(question)
        self.revealed.add(question)

    def clear(self) -> None:
        """Forget every vote and every reveal."""
        self.__init__(self.asked.values())  # type: ignore[misc]  # a cleared room is a new one

    def counts(self, question: str, *, after: bool) -> Counter[str]:
        """How often each answer was given, before or after the reveal."""
        return Counter(self._answers.get((question, after), {}).values())

    def board(self) -> dict[str, Any]:
        """What the projector shows, as JSON has it."""
        return {
            "participants": len(self._participants),
            "shown": self.shown,
            "revealed": self.shown in self.revealed,
            "before": _most(self.counts(self.shown, after=False)),
            "after": _most(self.counts(self.shown, after=True)),
            "progress": self._progress(),
            "questions": [
                {"notebook": question.notebook, "text": question.text, "answered": self._answered(question.text)}
                for question in self.asked.values()
            ],
        }

    def _answered(self, question: str) -> int:
        """How many have answered, before the reveal or after it."""
        return len({who for after in (False, True) for who in self._answers.get((question, after), {})})

    def _progress(self) -> list[dict[str, Any]]:
        """For each notebook: how many have answered something in it."""
        there: dict[str, set[str]] = {question.notebook: set() for question in self.asked.values()}
        for (question, _), answers in self._answers.items():
            there[self.asked[question].notebook].update(answers)
        return [{"notebook": notebook, "participants": len(who)} for notebook, who in there.items()]

    def csv(self) -> str:
        """The counts as a table: notebook, question, before or after the reveal, answer, count.

        An answer that a spreadsheet would take for a formula gets an apostrophe before it.
        """
        out = io.StringIO()
        table = csv.writer(out)
        table.writerow(["notebook", "question", "reveal", "answer", "count"])
        for question in self.asked.values():
            for after in (False, True):
                for answer, count in self.counts(question.text, after=after).most_common():
                    plain = f"'{answer}" if answer[0] in "=+-@" else answer
                    row = question.notebook, question.text, "after" if after else "before", plain, count
                    table.writerow(row)
        return out.getvalue()


def _most(counts: Counter[str]) -> dict[str, Any]:
    """The answers that were given most, and how many others there are."""
    shown = counts.most_common(MOST_SHOWN)
    return {"answered": counts.total(), "answers": shown, "others": counts.total() - sum(n for _, n in shown)}
