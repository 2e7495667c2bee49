"""Pictures as SVG: text for a file, and an object that a notebook shows, with the text twin folded below it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from html import escape
from typing import Any

from .shapes import PATTERNS, Circle, Path, Rect, Scene, Shape, Text
from .styles import css

SAVED_BESIDE = {"efimm": "saved"}  # the metadata of an output that a notebook keeps for when its kernel is gone


class Picture:
    """A scene that shows itself: as SVG in a notebook (`_repr_mimebundle_`), as its text twin with `print`."""

    def __init__(self, scene: Scene, twin: str, verdict: str, *, good: bool) -> None:
        self.scene, self.twin, self.verdict, self.good = scene, twin, verdict, good

    @property
    def svg(self) -> str:
        """The picture as a complete SVG document, styles included."""
        return svg(self.scene)

    def __str__(self) -> str:
        return self.twin

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": self.twin, "text/html": self._html()}

    def still(self) -> str:
        """The picture for a page on which the living one may stand, too: an image, which shares no name with it."""
        image = b64encode(self.svg.encode("utf-8")).decode()
        return (
            f"<p><strong>{escape(self.verdict)}</strong></p>"
            f'<img alt="{escape(self.scene.title)}" src="data:image/svg+xml;base64,{image}">'
            f"<details><summary>The same as text</summary><pre>{escape(self.twin)}</pre></details>"
        )

    def _html(self) -> str:
        looks = "verdict" if self.good else "verdict bad"
        return beside_its_twin(inline_svg(self.scene), self.twin, f'<p class="{looks}">{escape(self.verdict)}</p>')


def beside_its_twin(drawn: str, twin: str, above: str = "") -> str:
    """An SVG element as HTML that needs nothing else, with its text twin folded below it, and `above` above it."""
    return (
        f'<div class="efimm"><style>{css()}</style>{above}<div class="scroll">{drawn}</div>'
        f"<details><summary>The same as text</summary><pre>{escape(twin)}</pre></details></div>"
    )


def svg(scene: Scene) -> str:
    """`scene` as an SVG document that needs nothing else: a file to open, or an image for a page."""
    # The styles are written for things inside an element of the class "efimm"; here that is a group.
    body = f'<rect class="hole" width="{scene.width}" height="{scene.height}"/>{_inside(scene)}'
    style = f"<style>{escape(css(), quote=False)}</style>"
    return f'{_open(scene)}{_words(scene)}{style}<g class="efimm">{body}</g></svg>'


def inline_svg(scene: Scene) -> str:
    """`scene` as an SVG element for a page that has the styles already."""
    return framed(scene, _inside(scene))


def framed(scene: Scene, inside: str) -> str:
    """An SVG element of the scene's size, with its words for those who do not see it, around `inside`."""
    return f"{_open(scene)}{_words(scene)}{inside}</svg>"


def _open(scene: Scene) -> str:
    name = _name(scene)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="picture" viewBox="0 0 {scene.width} {scene.height}" '
        f'width="{scene.width}" height="{scene.height}" role="img" aria-labelledby="{name}-t {name}-d">'
    )


def _words(scene: Scene) -> str:
    name = _name(scene)
    return f'<title id="{name}-t">{escape(scene.title)}</title><desc id="{name}-d">{escape(scene.description)}</desc>'


def _inside(scene: Scene) -> str:
    name = _name(scene)
    return _patterns(name) + "".join(part for shape in scene.shapes for part in _element(shape, name))


@lru_cache(maxsize=8)
def _name(scene: Scene) -> str:
    """An id for this picture: two pictures on one page must not share ids, equal ones may."""
    return "efimm-" + sha256(repr(scene).encode()).hexdigest()[:8]


def _patterns(name: str) -> str:
    drawn = (
        f'<pattern id="{name}-{role}" width="{side}" height="{side}" patternUnits="userSpaceOnUse">'
        f'<path d="{d}" class="hatch-{role}"/></pattern>'
        for role, (side, d) in PATTERNS.items()
    )
    return f"<defs>{''.join(drawn)}</defs>"


def _element(shape: Shape, name: str) -> Iterator[str]:
    if isinstance(shape, Text):
        _, x, y, words, role = shape.plain()
        yield f'<text x="{x}" y="{y}" class="{role}">{escape(words)}</text>'
        return
    fill = f' fill="url(#{name}-{shape.role.split()[1]})"' if shape.role.startswith("hatch ") else ""
    tip = f"<title>{escape(shape.tip)}</title>" if shape.tip else ""
    yield f'<{_geometry(shape)} class="{shape.role}"{fill}' + (f">{tip}</{_TAGS[type(shape)]}>" if tip else "/>")


_TAGS: dict[type, str] = {Rect: "rect", Path: "path", Circle: "circle"}


def _geometry(shape: Rect | Path | Circle) -> str:
    if isinstance(shape, Path):
        return f'path d="{shape.d}"'
    _, *numbers = shape.plain()
    names = ("x", "y", "width", "height") if isinstance(shape, Rect) else ("cx", "cy", "r")
    pairs = " ".join(f'{key}="{value}"' for key, value in zip(names, numbers, strict=False))
    return f"{_TAGS[type(shape)]} {pairs}"
