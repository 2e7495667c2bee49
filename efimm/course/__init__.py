"""What makes a course of the notebooks: boxes to answer in, the series, its pages and its site.

A box needs widgets and a page needs nbconvert: each name brings its module when it is first asked for.
"""

from typing import TYPE_CHECKING

from ..facade import promise

if TYPE_CHECKING:
    from .boxes import ExerciseBox, Predict, exercise, predict
    from .export import executed, page, standalone
    from .series import Chapter, chapters, notebooks_folder, show_me
    from .site import make_site

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
    "show_me",
    "standalone",
]

promise(
    __name__,
    {
        "boxes": ("ExerciseBox", "Predict", "exercise", "predict"),
        "export": ("executed", "page", "standalone"),
        "series": ("Chapter", "chapters", "notebooks_folder", "show_me"),
        "site": ("make_site",),
    },
)
