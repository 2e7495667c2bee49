"""What stands on each slide: parts of the notebooks, chosen in slides.toml by the words they begin with."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

LIST = Path(__file__).resolve().parent / "slides.toml"
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


class PickError(ValueError):
    """A slide asks for something that its notebook does not have."""


@dataclass(frozen=True)
class Slide:
    """A slide: its title, the notebook and the section that it is taken from, and what of it.

    `paragraphs` are those of the section's text that begin so; `code` are code cells that contain the words, shown with
    their output; of the cells in `outputs` only the output is shown.
    """

    title: str
    notebook: str = ""
    section: str = ""
    text: str = ""
    paragraphs: Sequence[str] = ()
    code: Sequence[str] = ()
    outputs: Sequence[str] = ()


def slides() -> list[Slide]:
    """The slides of the list, in order."""
    listed: list[dict[str, Any]] = tomllib.loads(LIST.read_text(encoding="utf-8"))["slide"]
    return [Slide(**slide) for slide in listed]


def cells_of(slide: Slide, notebooks: Mapping[str, Any]) -> list[Any]:
    """The cells of a slide, with nbconvert's marks; PickError for a missing part.

    `notebooks` are executed ones, by name.
    """
    section = list(_section(slide, notebooks[slide.notebook])) if slide.notebook else []
    paragraphs = [_paragraph(slide, section, start) for start in slide.paragraphs]
    words = "\n\n".join(filter(None, [f"## {slide.title}", slide.text, *paragraphs]))
    first = nbformat.v4.new_markdown_cell(words)  # type: ignore[no-untyped-call]  # nbformat has no types
    cells = [first]
    for words in (*slide.code, *slide.outputs):
        cell = deepcopy(_code(slide, section, words))
        cell.metadata["transient"] = {"remove_source": words in slide.outputs}
        cell.metadata.pop("jupyter", None)
        cells.append(cell)
    for number, cell in enumerate(cells):
        cell.metadata["slideshow"] = {"slide_type": "-" if number else "slide"}
    return cells


def _section(slide: Slide, notebook: Any) -> Iterator[Any]:
    """The cells from the section's heading on, up to the next heading."""
    inside = found = False
    for cell in notebook.cells:
        heading = _HEADING.search(cell.source) if cell.cell_type == "markdown" else None
        if heading:
            inside = heading[1].strip() == slide.section
            found = found or inside
        if inside:
            yield cell
    if not found:
        raise PickError(f"slide {slide.title!r}: {slide.notebook} has no section {slide.section!r}")


def _paragraph(slide: Slide, section: list[Any], start: str) -> str:
    for cell in section:
        for paragraph in cell.source.split("\n\n") if cell.cell_type == "markdown" else ():
            if paragraph.startswith(start):
                return str(paragraph)
    raise PickError(f"slide {slide.title!r}: no paragraph of {slide.section!r} begins with {start!r}")


def _code(slide: Slide, section: list[Any], words: str) -> Any:
    for cell in section:
        if cell.cell_type == "code" and words in cell.source:
            return cell
    raise PickError(f"slide {slide.title!r}: no code of {slide.section!r} has {words!r}")
