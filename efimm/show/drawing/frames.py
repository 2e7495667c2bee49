"""What all our widgets share, and the simplest of them: scenes that a browser turns the pages of.

The scenes are computed once in Python and sent once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import anywidget
import traitlets

from .pack import Packer, packed
from .shapes import Scene
from .styles import STATIC, css


def script(*own: str) -> str:
    """The JavaScript of a widget: what all pictures share, and its own files."""
    return "\n".join((STATIC / f"{name}.js").read_text(encoding="utf-8") for name in ("picture", *own))


class Widget(anywidget.AnyWidget):
    """A widget with the style sheet of all pictures, whose `repr` stands in where widgets cannot be shown."""

    _css = css()

    def _repr_mimebundle_(self, **arguments: Any) -> Any:
        bundle = super()._repr_mimebundle_(**arguments)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is not None:
            data["text/plain"] = repr(self)
        return bundle


def one_of(what: str, value: Any, allowed: Collection[Any], error: type[ValueError] = ValueError) -> Any:
    """`value`, or an error that says what else there is."""
    if value not in allowed:
        raise error(f"{what} {value!r}: expected one of {', '.join(map(str, allowed))}")
    return value


@dataclass(frozen=True, slots=True)
class Frame:
    """A scene, its text twin, and the sentence above it; not `good`: the sentence is marked as trouble."""

    scene: Scene
    twin: str
    words: str
    good: bool


class Frames(Widget):
    """Scenes one at a time, with beads or arrow keys to choose by.

    Set: `moment`, the number of the scene that is shown, from 0 on.
    Read: `shown`, all frames: each has `scene`, `twin` (its text), `words` (the sentence above it) and `good`.
    Observe: `moment`, which the beads, the slider and the buttons change.

    `print(view)` gives the text of the scene that is shown; `figure(view.shown[0].scene)` prints one on paper.  With
    `playable` there are buttons to play, step and rewind, and a slider.  `frames` is what the browser gets.
    """

    _esm = script("frames")

    kind = traitlets.Unicode("frames").tag(sync=True)
    frames = traitlets.Bytes().tag(sync=True)
    moment = traitlets.Int(0).tag(sync=True)
    playable = traitlets.Bool(False).tag(sync=True)

    def __init__(self, frames: Sequence[Frame], moment: int = 0, *, playable: bool = False) -> None:
        self.shown = tuple(frames)
        super().__init__(frames=packed(pack(frames)), moment=moment, playable=playable)

    def __repr__(self) -> str:
        return self.shown[self.moment].twin

    @traitlets.validate("moment")
    def _a_moment(self, proposal: Any) -> Any:
        if not 0 <= proposal["value"] < len(self.shown):
            raise ValueError(f"moment {proposal['value']}: expected a number from 0 to {len(self.shown) - 1}")
        return proposal["value"]


def pack(frames: Sequence[Frame]) -> dict[str, Any]:
    """The frames as JSON-ready data, what is alike among them only once."""
    packer = Packer()
    scenes = [packer.pack(frame.scene, frame.twin, frame.words, frame.good) for frame in frames]
    return {**packer.pools(frames[0].scene.width), "scenes": scenes}
