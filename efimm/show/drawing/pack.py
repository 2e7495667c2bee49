"""Scenes as a browser gets them: all at once, what is alike among them only once, compressed.

Most shapes and lines of text stand in many scenes.  Each is sent once, in a pool, and a packed scene is a list:
[height, title, description, places of its shapes, places of its text's lines, and what a view adds].
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import Any

from .shapes import PATTERNS, Plain, Scene, Shape


@dataclass
class Packer:
    """Pools of shapes and lines, and the places of each in them."""

    shapes: dict[Shape, int] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def pack(self, scene: Scene, twin: str, *more: Any) -> Plain:
        """A scene and its text as places in the pools, with `more` behind them."""
        shapes = [self.shapes.setdefault(shape, len(self.shapes)) for shape in (*scene.shapes, *scene.far)]
        lines = [self.lines.setdefault(line, len(self.lines)) for line in twin.splitlines()]
        return [scene.height, scene.title, scene.description, shapes, lines, *more]

    def pools(self, width: int) -> dict[str, Any]:
        """The pools, and what every scene needs, as JSON-ready data."""
        return {
            "width": width,
            "patterns": {role: list(pattern) for role, pattern in PATTERNS.items()},
            "shapes": [shape.plain() for shape in self.shapes],
            "lines": list(self.lines),
        }


def packed(data: dict[str, Any]) -> bytes:
    """`data` as compressed JSON (RFC 1950), which a browser unpacks by itself."""
    return zlib.compress(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())


def unpacked(data: bytes) -> dict[str, Any]:
    """What was packed."""
    found: dict[str, Any] = json.loads(zlib.decompress(data))
    return found
