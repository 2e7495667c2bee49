"""For people: the same facts as pictures and as controls to move; all that a notebook needs is here by its name.

A name brings its view when it is first asked for, and nothing else: `from efimm.show import ram_slider, map_view`.
"""

from typing import TYPE_CHECKING

from ..facade import promise

if TYPE_CHECKING:
    from .explorer.widget import CODE, DATA, LARGE, READ_ONLY, WRONG, Explorer, explorer, sample_tables
    from .grid_view import grid_view
    from .map_view import map_view
    from .plots import figure
    from .ram.moments import moments
    from .ram.scene import picture
    from .ram.slider import RamSlider, ram_slider
    from .tables_view import tables_view
    from .timeline_view import timeline_view

__all__ = [
    "CODE",
    "DATA",
    "LARGE",
    "READ_ONLY",
    "WRONG",
    "Explorer",
    "RamSlider",
    "explorer",
    "figure",
    "grid_view",
    "map_view",
    "moments",
    "picture",
    "ram_slider",
    "sample_tables",
    "tables_view",
    "timeline_view",
]

promise(
    __name__,
    {
        "explorer.widget": ("CODE", "DATA", "LARGE", "READ_ONLY", "WRONG", "Explorer", "explorer", "sample_tables"),
        "grid_view": ("grid_view",),
        "map_view": ("map_view",),
        "plots": ("figure",),
        "ram.moments": ("moments",),
        "ram.scene": ("picture",),
        "ram.slider": ("RamSlider", "ram_slider"),
        "tables_view": ("tables_view",),
        "timeline_view": ("timeline_view",),
    },
)
