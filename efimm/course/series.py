"""The notebooks as a series: where they lie, and what their heads promise."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from ..machines import installed

_WIDTH = 88  # of a notebook's output
_HEAD = re.compile(r"^# (?P<title>.+)$", re.MULTILINE)
_GOALS = re.compile(r"\*\*You will be able to:\*\* (.+?)\n\*\*", re.DOTALL)
_TIME = re.compile(r"\*\*Time:\*\* (.+?)(?:\n\n|\Z)", re.DOTALL)
# What the series is made of.  Copies and trials that somebody left beside them ("Untitled", "-Copy1") are not.
_OF_THE_SERIES = re.compile(r"[0-9]{2}-[a-z0-9-]+\.ipynb|glossary\.ipynb")


@dataclass(frozen=True)
class Chapter:
    """A notebook, with the title, the goals and the time that its first cell names; "" for what it does not name."""

    path: Path
    title: str
    goals: str
    time: str


def notebooks_folder() -> Path:
    """Where the notebooks are: in a checkout beside the package, in an installation within it.

    Raises ValueError where there are none.
    """
    folder = installed("notebooks")
    if not folder.is_dir():
        raise ValueError("the notebooks are not installed: run this in a checkout of efimm")
    return folder


def chapters(folder: Path | None = None) -> list[Chapter]:
    """The numbered notebooks of the series, in order."""
    return [chapter(path) for path in shipped(folder) if path.name[0].isdigit() and path.parent.name != "solutions"]


def shipped(folder: Path | None = None) -> list[Path]:
    """Every notebook that belongs to efimm: the numbered ones, the glossary, the solutions."""
    folder = folder or notebooks_folder()
    there = [*sorted(folder.glob("*.ipynb")), *sorted(folder.glob("solutions/*.ipynb"))]
    return [path for path in there if _OF_THE_SERIES.fullmatch(path.name)]


def solution(name: str) -> tuple[str, str]:
    """How exercise `name` is solved: the words and the code of its solution; "" where the solutions are not at hand.

    Emphasis and links are taken off the words.
    """
    path = installed("notebooks") / "solutions" / f"{name[:2]}-solutions.ipynb"
    if not path.is_file():
        return "", ""
    words, code = "", []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            if words:
                break
            words = _plain(text.removeprefix(f"**{name}**")) if text.startswith(f"**{name}**") else ""
        elif words:
            code.append(text)
    return words, "\n\n".join(code)


def show_me(name: str) -> None:
    """Print how exercise `name`, such as "11.4", is solved: words, and code that can be run.

    Raises ValueError where there is no such solution, or the solutions are not installed.
    """
    words, code = solution(name)
    if not words:
        raise ValueError(f"no solution of exercise {name!r} is at hand")
    print(fill(words, _WIDTH), code, sep="\n\n")  # noqa: T201 - a cell's output


def _plain(markdown: str) -> str:
    return _line(re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", markdown).replace("*", ""))


def chapter(path: Path) -> Chapter:
    """What the head of a notebook promises."""
    head = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    title, goals, time = _HEAD.search(head), _GOALS.search(head), _TIME.search(head)
    return Chapter(
        path, title["title"] if title else path.stem, *(_line(found[1]) if found else "" for found in (goals, time))
    )


def _line(text: str) -> str:
    return " ".join(text.split())
