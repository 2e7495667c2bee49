"""For people: the same facts as pictures and as controls to move; all that a notebook needs is here by its name.

A name brings its view when it is first asked for, and nothing else: `from efimm.show import ram_slider, map_view`.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .explorer.widget import CODE, DATA, LARGE, READ_ONLY, WRONG, Explorer, explorer, sample_tables
    from .grid_view import grid_view
    from .map_view import map_view
    from .plots import figure
    from .ram.moments import moments
    from .ram.scene import picture
    from .ram.slider import RamSlider, ram_slider
    from .tables_view.picture import tables_view
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

_WHERE = dict.fromkeys(__all__, "explorer.widget") | {
    "RamSlider": "ram.slider",
    "figure": "plots",
    "grid_view": "grid_view",
    "map_view": "map_view",
    "moments": "ram.moments",
    "picture": "ram.scene",
    "ram_slider": "ram.slider",
    "tables_view": "tables_view.picture",
    "timeline_view": "timeline_view",
}


class _Facade(ModuleType):
    """The package as a module that keeps its promises.

    Python sets a submodule as an attribute of its package when it is imported.  Where a function of that name is
    promised (`map_view` lives in map_view.py), the function must be found, whichever was imported first.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _WHERE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f".{_WHERE[name]}", __name__), name)
        setattr(self, name, found)
        return found


sys.modules[__name__].__class__ = _Facade
