"""The kernels of the story, one file each, found by themselves: every module here with a `KERNEL` is one."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from ..linux.state import Kernel


def _find() -> dict[str, Kernel]:
    modules = (import_module(f".{found.name}", __name__) for found in pkgutil.iter_modules(__path__))
    kernels = [module.KERNEL for module in modules]
    return {kernel.name: kernel for kernel in sorted(kernels, key=lambda kernel: kernel.order)}


KERNELS: Mapping[str, Kernel] = MappingProxyType(_find())
