"""volatility3: its layer for 64-bit tables, on a layer that holds the image."""

from __future__ import annotations

from importlib import import_module

from ..image import Image
from .peer import Peer, Translate


def load(image: Image) -> Translate:
    """An `Intel32e` layer on the image."""
    layers = "volatility3.framework.layers"
    physical, intel = import_module(f"{layers}.physical"), import_module(f"{layers}.intel")
    framework = import_module("volatility3.framework")
    context = import_module("volatility3.framework.contexts").Context()
    context.add_layer(physical.BufferDataLayer(context, "memory", "memory", image.memory))
    context.config["kernel.memory_layer"] = "memory"
    context.config["kernel.page_map_offset"] = image.root
    layer = intel.Intel32e(context, "kernel", "kernel")
    context.add_layer(layer)
    no_page = framework.exceptions.InvalidAddressException

    def translate(vas: list[int]) -> list[int | None]:
        found: list[int | None] = []
        for va in vas:
            try:
                found.append(layer._translate(va)[0])
            except no_page:
                found.append(None)
        return found

    return translate


PEER = Peer("volatility3", "Intel32e._translate", 300, load)
