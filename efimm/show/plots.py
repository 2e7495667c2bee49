"""Pictures for print: a scene as a matplotlib figure, in the colours of the light theme.

The still form of what the browser draws: the same shapes at the same places, in the styles of the same table.
Tips are left out, since paper has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle as Disc
from matplotlib.patches import Patch, PathPatch, Rectangle
from matplotlib.path import Path as Outline

from .drawing.shapes import PATTERNS, Circle, Path, Rect, Scene, Shape, Text
from .drawing.styles import look

_PER_INCH = 96
_POINTS = 72 / _PER_INCH
_TAGS: dict[type, str] = {Rect: "rect", Path: "path", Circle: "circle", Text: "text"}
_STEP = re.compile(r"([MLCZ])([^MLCZ]*)")
_CODES = {"M": Outline.MOVETO, "L": Outline.LINETO, "C": Outline.CURVE4}


def figure(scene: Scene) -> Figure:
    """`scene` as a figure of its own size at 96 units an inch; `figure(scene).savefig("x.pdf")` writes it.

    Needs no display and leaves pyplot alone.
    """
    drawn = Figure(figsize=(scene.width / _PER_INCH, scene.height / _PER_INCH), dpi=_PER_INCH, facecolor="white")
    axes = drawn.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, scene.width), ylim=(scene.height, 0))
    axes.set_axis_off()
    for place, shape in enumerate(scene.shapes):
        _draw(axes, shape, place)
    return drawn


def _draw(axes: Axes, shape: Shape, place: int) -> None:
    if isinstance(shape, Text):
        _write(axes, shape, place)
        return
    patch = _patch(shape)
    if shape.role.startswith("hatch "):
        patch.set(facecolor="none", edgecolor="none", zorder=place)
        lines = _hatching(patch, shape.role.split()[1], place)
        axes.add_patch(patch)
        axes.add_patch(lines)
        lines.set_clip_path(patch)  # adding it has set another one: the axes'
        return
    patch.set(zorder=place, **_looks(shape))
    axes.add_patch(patch)


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
