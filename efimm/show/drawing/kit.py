"""What the views draw alike: parts joined to a scene, heads, boxes with hatching, legends, marks of runtime regions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from .shapes import Path, Rect, Scene, Shape, Text, points

WIDTH, MARGIN = 960, 16

Region = tuple[int, int]
Mark = Callable[[float, float], Iterable[Shape]]
_LETTER = 7.2  # width of a letter of a legend, at most


def joined(
    height: float, title: str, description: str, *parts: Iterable[Shape], width: int = WIDTH, far: Iterable[Text] = ()
) -> Scene:
    """The scene, of the usual width if no other is given, that has all these parts, from back to front."""
    return Scene(width, int(height), title, description, tuple(shape for part in parts for shape in part), tuple(far))


def heads(title: str, below: str, x: float = MARGIN) -> Iterator[Shape]:
    """The name of a picture or of a part of it, and a line below it."""
    yield Text(x, 22, title, "head")
    yield Text(x, 41, below, "small")


def fitted(words: str, room: float, letter: float = 1) -> str:
    """`words`, with an ellipsis where they are longer than `room`, which is in letters of width `letter`."""
    most = int(room / letter)
    return words if len(words) <= most else f"{words[: most - 1]}…"


def filled(box: Rect, hatch: str = "", *, strip: float = 0, swatch: str = "") -> Iterator[Shape]:
    """A box and its hatching, which covers all of it, or with `strip` as much at its left; below it a `swatch`."""
    yield box
    for role in (f"swatch {swatch}" if swatch else "", f"hatch {hatch}" if hatch else ""):
        if role:
            yield Rect(box.x, box.y, strip or box.width, box.height, role)


def boxed(width: float, height: float, role: str, hatch: str = "", *, strip: float = 0, swatch: str = "") -> Mark:
    """A legend's mark: the box as it stands in the picture, around the place it is given."""

    def mark(x: float, y: float) -> Iterator[Shape]:
        yield from filled(Rect(x - width / 2, y - height / 2, width, height, role), hatch, strip=strip, swatch=swatch)

    return mark


def legend(
    keys: Iterable[tuple[Mark, str]],
    x: float,
    y: float,
    words_at: float,
    *,
    across: float = 0,
    down: float = 0,
    role: str = "small",
) -> Iterator[Shape]:
    """Marks around (x, y) with their meaning, `words_at` from there; the next key stands `across` and `down` from it.

    Without a step the keys stand in a row, each as wide as its words.
    """
    for mark, words in keys:
        yield from mark(x, y)
        yield Text(x + words_at, y + 4, words, role)
        x += across if across or down else 11 + words_at + _LETTER * len(words) + 20
        y += down


def tick(x: float, y: float, role: str = "tick", tip: str = "") -> Iterator[Shape]:
    """The mark of a runtime region, around (x, y)."""
    yield Path(points((x - 4, y - 5), (x + 4, y - 5), (x, y + 4)) + "Z", role, tip)


def ticks(
    regions: Sequence[Region], y: float, place: Callable[[int], float], bounds: tuple[float, float], role: str = "tick"
) -> Iterator[Shape]:
    """A mark at height `y` for each group of runtime regions that lie too close to be told apart, inside `bounds`."""
    groups: list[list[Region]] = []
    for region in regions:
        if groups and place(region[0]) - place(groups[-1][0][0]) < _TICK_EVERY:
            groups[-1].append(region)
        else:
            groups.append([region])
    for group in groups:
        x = min(max(place(group[0][0]), bounds[0] + 4), bounds[1] - 4)
        many = f"{len(group)} runtime regions, from" if len(group) > 1 else "runtime region"
        yield from tick(x, y, role, f"{many} {group[0][0]:#x} to {group[-1][1]:#x}")


_TICK_EVERY = 9.0
