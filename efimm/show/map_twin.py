"""A machine's memory map as text of at most 72 columns: its blocks, and every area in them."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from ..linux.layout import PGDIR_SHIFT
from ..text import COLUMNS, map_title
from .map_scene import LARGEST, amount, area_line, block_name, words
from .map_state import KINDS, NOTHING, MapState


def describe(state: MapState) -> str:
    """A map as lines: one sentence, the kinds, the blocks of 512 GiB with their areas, and the largest areas."""
    return "\n".join(line for part in _parts(state) for line in part)


def _parts(state: MapState) -> Iterator[list[str]]:
    yield wrap(map_title(state.map), COLUMNS)
    yield wrap(words(state), COLUMNS)
    for kind in KINDS:
        count = sum(area.kind == kind for area in state.areas)
        if count:
            yield [f"  {kind:<13}{amount(state.total(kind)):>10} in {count} area{'s' * (count > 1)}"]
    for row in state.blocks:
        filled = {NOTHING: ": nothing", "": ""}.get(row.whole, f": all {row.whole}")
        many = len(row.runtime)
        runtime = f", {many} runtime region{'s' * (many > 1)}" if many else ""
        yield ["", f"{block_name(row)}, from {row.first << PGDIR_SHIFT:#x}{filled}{runtime}"]
        yield [f"  {area_line(area)}" for area in row.areas] if not row.whole else []
    yield ["", "the largest areas"]
    yield [f"  {area_line(area)}" for area in state.largest(LARGEST)]
