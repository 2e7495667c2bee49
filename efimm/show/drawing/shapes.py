"""The few shapes that a picture is made of, as plain data: what Python writes as SVG text and the browser as SVG nodes.

Coordinates are in units of the picture's own size; `role` is one or more CSS classes (see styles.py), and a
role that begins with "hatch" is filled with the pattern of that name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Plain = list[Any]

# Hatching by name: the side of the square that repeats, and the lines in it.
PATTERNS: dict[str, tuple[int, str]] = {
    "identity": (6, "M0 6L6 0M-1 1L1 -1M5 7L7 5"),
    "direct": (5, "M0 2.5L5 2.5"),
    "reserved": (6, "M0 0L6 6M-1 5L1 7M5 -1L7 1"),
    "acpi": (6, "M1.5 3L4.5 3M3 1.5L3 4.5"),
    "mmio": (5, "M2.5 0L2.5 5"),
    "runtime": (6, "M0 6L6 0M-1 1L1 -1M5 7L7 5"),
}


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle; `tip` is shown when the mouse rests on it."""

    x: float
    y: float
    width: float
    height: float
    role: str
    tip: str = ""

    def plain(self) -> Plain:
        """The shape as JSON: its letter, its numbers, its role, its tip."""
        return ["r", *map(_short, (self.x, self.y, self.width, self.height)), self.role, self.tip]


@dataclass(frozen=True, slots=True)
class Path:
    """A line or an area; `d` as in SVG."""

    d: str
    role: str
    tip: str = ""

    def plain(self) -> Plain:
        """The shape as JSON."""
        return ["p", self.d, self.role, self.tip]


@dataclass(frozen=True, slots=True)
class Circle:
    """A circle.  `moment` is the number of the moment that a click on it asks for, -1 for none."""

    x: float
    y: float
    radius: float
    role: str
    tip: str = ""
    moment: int = -1

    def plain(self) -> Plain:
        """The shape as JSON."""
        return ["c", *map(_short, (self.x, self.y, self.radius)), self.role, self.tip, self.moment]


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text that begins at x; the roles "end" and "middle" anchor it otherwise.  y is its baseline."""

    x: float
    y: float
    text: str
    role: str

    def plain(self) -> Plain:
        """The shape as JSON."""
        return ["t", *map(_short, (self.x, self.y)), self.text, self.role]


Shape = Rect | Path | Circle | Text


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture: its size, a title and a description for those who do not see it, and its shapes from back to front.

    `far` are the few words, in large letters, that take the place of all others at the back of a room.
    """

    width: int
    height: int
    title: str
    description: str
    shapes: tuple[Shape, ...]
    far: tuple[Text, ...] = ()

    def plain(self) -> dict[str, Any]:
        """The scene as JSON-ready data."""
        shapes = [shape.plain() for shape in self.shapes]
        return {"w": self.width, "h": self.height, "t": self.title, "d": self.description, "s": shapes}


def points(*pairs: tuple[float, float]) -> str:
    """A path of straight lines through the points."""
    return "M" + "L".join(f"{_short(x)} {_short(y)}" for x, y in pairs)


def curve(x0: float, y0: float, x1: float, y1: float, *, first: bool = True) -> str:
    """An S-shaped path that leaves and arrives level; not `first`: continued from (x0, y0), where the path is."""
    middle = (x0 + x1) / 2
    start = f"M{_short(x0)} {_short(y0)}" if first else ""
    c = " ".join(str(_short(v)) for v in (middle, y0, middle, y1, x1, y1))
    return f"{start}C{c}"


def _short(value: float) -> float | int:
    rounded = round(value, 1)
    return int(rounded) if rounded == int(rounded) else rounded
