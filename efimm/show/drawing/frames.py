"""Scenes that a browser turns the pages of: all are computed once in Python and sent once.

The packed form is that of efimm/show/ram/slider.py: shapes and lines in pools, each scene a list of places in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anywidget
import traitlets

from ..ram.slider import packed
from .shapes import PATTERNS, Scene
from .svg import STATIC, script, with_text


@dataclass(frozen=True, slots=True)
class Frame:
    """A scene, its text twin, and the sentence above it; not `good`: the sentence is marked as trouble."""

    scene: Scene
    twin: str
    words: str
    good: bool


class Frames(anywidget.AnyWidget):
    """Scenes one at a time, with beads or arrow keys to choose by; `moment` is the number of the one shown.

    With `playable` there are buttons to play, step and rewind, and a slider.
    """

    _esm = script("frames")
    _css = STATIC / "picture.css"

    kind = traitlets.Unicode("frames").tag(sync=True)
    frames = traitlets.Bytes().tag(sync=True)
    moment = traitlets.Int(0).tag(sync=True)
    playable = traitlets.Bool(False).tag(sync=True)

    def __init__(self, frames: Sequence[Frame], moment: int = 0, *, playable: bool = False) -> None:
        self.shown = tuple(frames)
        super().__init__(frames=packed(pack(frames)), moment=moment, playable=playable)

    def __repr__(self) -> str:
        return self.shown[self.moment].twin

    def _repr_mimebundle_(self, **arguments: Any) -> Any:
        return with_text(super()._repr_mimebundle_(**arguments), repr(self))

    @traitlets.validate("moment")
    def _a_moment(self, proposal: Any) -> Any:
        if not 0 <= proposal["value"] < len(self.shown):
            raise ValueError(f"moment {proposal['value']}: expected a number from 0 to {len(self.shown) - 1}")
        return proposal["value"]


def pack(frames: Sequence[Frame]) -> dict[str, Any]:
    """The frames as JSON-ready data, what is alike among them only once."""
    shapes: dict[str, int] = {}
    plain: list[Any] = []
    lines: dict[str, int] = {}

    def place(shape: Any) -> int:
        key = repr(shape)
        if key not in shapes:
            shapes[key] = len(plain)
            plain.append(shape)
        return shapes[key]

    scenes = [
        [
            *(frame.scene.height, frame.scene.title, frame.scene.description),
            [place(shape.plain()) for shape in frame.scene.shapes],
            [lines.setdefault(line, len(lines)) for line in frame.twin.splitlines()],
            *(frame.words, frame.good),
        ]
        for frame in frames
    ]
    patterns = {role: list(pattern) for role, pattern in PATTERNS.items()}
    pools = {"width": frames[0].scene.width, "patterns": patterns, "shapes": plain, "lines": list(lines)}
    return {**pools, "scenes": scenes}
