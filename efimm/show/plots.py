"""Pictures for print: what any view shows as a matplotlib figure, to be saved, or to be drawn on.

The still form of what the browser draws: the same shapes at the same places, in the styles of the same table, in the
colours of the light theme.  Tips are left out, since paper has none.  In a notebook the figure has the reader's theme.
This is the one view that knows the others: it prints them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle as Disc
from matplotlib.patches import Patch, PathPatch, Rectangle
from matplotlib.path import Path as Outline

from ..run import Outcome
from .drawing.shapes import PATTERNS, Circle, Path, Rect, Scene, Shape, Text
from .drawing.styles import COLOURS, look
from .drawing.svg import Picture, beside_its_twin, framed
from .explorer.explained import Explained
from .explorer.scene import draw as draw_walk
from .ram.moments import moments
from .ram.scene import picture

_PER_INCH = 96
_POINTS = 72 / _PER_INCH
_TAGS: dict[type, str] = {Rect: "rect", Path: "path", Circle: "circle", Text: "text"}
_STEP = re.compile(r"([MLCZ])([^MLCZ]*)")
_CODES = {"M": Outline.MOVETO, "L": Outline.LINETO, "C": Outline.CURVE4}


_THEMES = {light: f"light-dark({light}, {dark})" for light, dark in COLOURS.values() if light != dark}
_COLOUR = re.compile(r"(?<=: )#[0-9a-f]{6}\b")


class PrintedFigure(Figure):
    """A matplotlib figure of a scene; a notebook shows it with the scene's words as alt text, and its text twin below.

    `print(figure)` gives the twin.  What is drawn on it later is shown, too; the twin does not tell of that.
    """

    def __init__(self, scene: Scene, twin: str) -> None:
        size = (scene.width / _PER_INCH, scene.height / _PER_INCH)
        super().__init__(figsize=size, dpi=_PER_INCH, facecolor="white")
        self.scene, self.twin = scene, twin

    def __str__(self) -> str:
        return self.twin

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": self.twin, "text/html": beside_its_twin(self._svg(), self.twin)}

    def _svg(self) -> str:
        """The figure as an SVG element in the colours of both themes, which names itself to those who do not see it."""
        written = io.StringIO()
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "efimm"}):
            self.savefig(written, format="svg", metadata={"Date": None})
        drawn = written.getvalue()
        element = drawn[drawn.index("<svg") :]
        return framed(self.scene, _COLOUR.sub(lambda found: _THEMES.get(found[0], found[0]), element))


def figure(what: Any) -> PrintedFigure:
    """What `what` shows as a figure of its own size at 96 units an inch; `figure(what).savefig("x.pdf")` writes it.

    `what` is an outcome, a picture, a scene, or a view in its present state: a slider, an explorer, a map, a timeline.
    Needs no display and leaves pyplot alone.  TypeError for what shows no picture.
    """
    drawn = PrintedFigure(*_shown(what))
    axes = drawn.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, drawn.scene.width), ylim=(drawn.scene.height, 0))
    axes.set_axis_off()
    for place, shape in enumerate(drawn.scene.shapes):
        _draw(axes, shape, place)
    return drawn


def _shown(what: Any) -> tuple[Scene, str]:
    """The scene that `what` shows, and its text."""
    match what:
        case Scene():
            return what, what.description
        case Picture():
            return what.scene, what.twin
        case Outcome():
            return _shown(picture(what))
        case object(outcome=Outcome() as outcome, moment=int(moment)):
            return _shown(picture(outcome, moments(outcome)[moment] if moment >= 0 else None))
        case object(explained=Explained() as explained):
            return draw_walk(explained), repr(what)
        case object(shown=tuple(frames), moment=int(moment)):
            return frames[moment].scene, frames[moment].twin
    raise TypeError(f"figure({what!r:.60}): expected an outcome, a picture, or a view such as ram_slider()")


def _draw(axes: Axes, shape: Shape, place: int) -> None:
    if isinstance(shape, Text):
        _write(axes, shape, place)
        return
    patch = _patch(shape)
    if shape.role.startswith("hatch "):
        patch.set(facecolor="none", edgecolor="none", zorder=place)
        lines = _hatching(patch, shape.role.split()[1], place)
        axes.add_artist(patch)
        axes.add_artist(lines)
        lines.set_clip_path(patch)  # adding it has set another one: the axes'
        return
    patch.set(zorder=place, **_looks(shape))
    axes.add_artist(patch)  # add_patch would measure each curve for the axes' limits, and they are the scene's


def _write(axes: Axes, text: Text, place: int) -> None:
    found = look("text", text.role)
    roles = text.role.split()
    axes.text(
        *(text.x, text.y, text.text),
        color=found.get("fill", "black"),
        fontsize=float(found.get("font-size", "12px").removesuffix("px")) * _POINTS,
        fontweight="bold" if found.get("font-weight") == "700" else "normal",
        family="DejaVu Sans Mono" if "mono" in roles else "DejaVu Sans",
        ha="right" if "end" in roles else "center" if "middle" in roles else "left",
        va="baseline",
        parse_math=False,  # a dollar sign is a dollar sign
        zorder=place,
    )


def _patch(shape: Rect | Path | Circle) -> Patch:
    if isinstance(shape, Rect):
        return Rectangle((shape.x, shape.y), shape.width, shape.height)
    if isinstance(shape, Circle):
        return Disc((shape.x, shape.y), shape.radius)
    return PathPatch(_outline(shape.d))


def _looks(shape: Rect | Path | Circle) -> dict[str, Any]:
    """What matplotlib calls the shape's style; SVG's defaults are a black area without an edge."""
    found = look(_TAGS[type(shape)], shape.role)
    fill, stroke = found.get("fill", "black"), found.get("stroke", "none")
    width = float(found.get("stroke-width", "1")) * _POINTS
    dashes = [float(part) * _POINTS / width for part in found.get("stroke-dasharray", "none").split() if part != "none"]
    return {
        "facecolor": "none" if fill == "none" else (fill, float(found.get("fill-opacity", "1"))),
        "edgecolor": "none" if stroke == "none" else (stroke, float(found.get("stroke-opacity", "1"))),
        "linewidth": width,
        "linestyle": (0, tuple(dashes)) if dashes else "solid",
    }


def _outline(d: str, dx: float = 0, dy: float = 0) -> Outline:
    """The path of an SVG "d" made of M, L, C and Z, moved by (dx, dy)."""
    corners: list[tuple[float, float]] = []
    codes: list[Any] = []
    for letter, numbers in _STEP.findall(d):
        if letter == "Z":
            corners.append(corners[-1])
            codes.append(Outline.CLOSEPOLY)
            continue
        values = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", numbers)]
        pairs = list(zip(values[::2], values[1::2], strict=True))
        corners += [(x + dx, y + dy) for x, y in pairs]
        codes += [_CODES[letter]] * len(pairs)
    return Outline(corners, codes)


def _hatching(patch: Patch, name: str, place: int) -> PathPatch:
    """The pattern's lines over the whole of the patch, whose outline is to clip them."""
    side, d = PATTERNS[name]
    found = look("path", f"hatch-{name}")
    lines = Outline.make_compound_path(*_tiles(patch, side, d))
    width = float(found.get("stroke-width", "1")) * _POINTS
    return PathPatch(lines, facecolor="none", edgecolor=found.get("stroke", "black"), linewidth=width, zorder=place)


def _tiles(patch: Patch, side: int, d: str) -> Iterator[Outline]:
    box = patch.get_path().get_extents(patch.get_patch_transform())
    for row in range(int(box.y0 // side), int(box.y1 // side) + 1):
        for column in range(int(box.x0 // side), int(box.x1 // side) + 1):
            yield _outline(d, column * side, row * side)
