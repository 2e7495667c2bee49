"""Names that a package gives on demand, so that importing the package costs nothing.

`import efimm` is to be cheap, and `efimm.run` is the function, whoever has imported the module of that name before.
The import system hangs each module on its package under the module's name; a facade keeps the names it has promised.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


class Facade(ModuleType):
    """A package whose `__all__` comes from the modules in `_places`, each imported when a name of it is asked for."""

    _places: Mapping[str, str]

    def __getattr__(self, name: str) -> Any:
        if name not in self._places:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        module = import_module(f".{self._places[name]}", self.__name__)
        value = getattr(module, name, module)  # a module that is promised itself has no such name in it
        super().__setattr__(name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in self._places):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._places})


def promise(package: str, places: Mapping[str, tuple[str, ...]]) -> None:
    """Let `package` give the names in `places`, listed by the module of the package that has them."""
    module = sys.modules[package]
    module.__class__ = Facade
    vars(module)["_places"] = {name: place for place, names in places.items() for name in names}
