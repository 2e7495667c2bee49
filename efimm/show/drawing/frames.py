"""What all our widgets share, and the simplest of them: scenes that a browser turns the pages of.

The scenes are computed once in Python and sent once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import anywidget
import traitlets
from IPython import get_ipython
from IPython.display import publish_display_data

from .pack import Packer, packed
from .shapes import Scene
from .styles import STATIC, css
from .svg import SAVED_BESIDE, Picture


def script(*own: str) -> str:
    """The JavaScript of a widget: what all pictures share, and its own files."""
    return "\n".join((STATIC / f"{name}.js").read_text(encoding="utf-8") for name in ("picture", *own))


# What was saved beside a widget is seen in JupyterLab where that finds no model of the widget, and instead of that.
_LOST = ".jp-OutputArea-child > .jp-OutputArea-output.jupyter-widgets"
_SAVED = "efimm-saved"
_SAVED_STYLE = f"""
.{_SAVED} {{ display: none; }}
.jp-OutputArea-child:has(+ {_LOST}) .{_SAVED} {{ display: block; }}
.jp-OutputArea-child:has(.{_SAVED}):not(:has(+ {_LOST})) {{ display: none; }}
.jp-OutputArea-child:has(.{_SAVED}) + {_LOST} {{ display: none; }}
"""


class Widget(anywidget.AnyWidget):
    """A widget with the style sheet of all pictures, whose `repr` stands in where widgets cannot be shown.

    In a notebook, `saved` is written beside it, for whoever opens the file when its kernel is gone.
    """

    _css = css()

    def saved(self) -> str:
        """HTML of what is shown, without the widget: a picture, or as here its text."""
        return f"<pre>{escape(repr(self))}</pre>"

    def _ipython_display_(self) -> None:
        """What IPython calls to show the widget; NotImplementedError leaves it to the usual way."""
        if not hasattr(get_ipython(), "kernel"):
            raise NotImplementedError
        beside = f'<div class="{_SAVED}"><style>{_SAVED_STYLE}</style>{self.saved()}</div>'
        show: Any = publish_display_data  # IPython gives it no types
        show({"text/html": beside, "text/plain": repr(self)}, metadata=SAVED_BESIDE)
        bundle = self._repr_mimebundle_()
        show(*bundle if isinstance(bundle, tuple) else (bundle,))

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

    `print(view)` gives the text of the scene that is shown, and `figure(view)` prints it on paper.  With `playable`
    there are buttons to play, step and rewind, and a slider.  `frames` is what the browser gets; `heads`, (top, bottom)
    in the scene, a strip of words that stays in sight while what is below it scrolls.
    """

    _esm = script("frames")

    kind = traitlets.Unicode("frames").tag(sync=True)
    frames = traitlets.Bytes().tag(sync=True)
    moment = traitlets.Int(0).tag(sync=True)
    playable = traitlets.Bool(False).tag(sync=True)
    heads: Any = traitlets.Tuple().tag(sync=True)

    def __init__(
        self, frames: Sequence[Frame], moment: int = 0, *, playable: bool = False, heads: tuple[int, ...] = ()
    ) -> None:
        self.shown = tuple(frames)
        super().__init__(frames=packed(pack(frames)), moment=moment, playable=playable, heads=heads)

    def __repr__(self) -> str:
        return self.shown[self.moment].twin

    def saved(self) -> str:
        """The scene that is shown, as a picture."""
        frame = self.shown[self.moment]
        return Picture(frame.scene, frame.twin, frame.words, good=frame.good).still()

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
