"""What makes a course of the notebooks: boxes to answer in, the series, its pages and its site."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .boxes import ExerciseBox, Predict, exercise, predict
    from .export import executed, page, standalone
    from .series import Chapter, chapters, notebooks_folder
    from .site import make_site

_WHERE = {
    **dict.fromkeys(("ExerciseBox", "Predict", "exercise", "predict"), "boxes"),
    **dict.fromkeys(("executed", "page", "standalone"), "export"),
    **dict.fromkeys(("Chapter", "chapters", "notebooks_folder"), "series"),
    "make_site": "site",
}

__all__ = [
    "Chapter",
    "ExerciseBox",
    "Predict",
    "chapters",
    "executed",
    "exercise",
    "make_site",
    "notebooks_folder",
    "page",
    "predict",
    "standalone",
]


def __getattr__(name: str) -> Any:
    """A box needs widgets, a page needs nbconvert: each is imported when it is first asked for."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
