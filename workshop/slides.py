"""The slides as one page: reveal.js and the sliders inside, nothing asked of any network.  `make slides` runs it."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import SlidesExporter
from picks import cells_of, slides
from reveal import reveal

from efimm.course import notebooks_folder, standalone
from efimm.course.export import NOWHERE, Kernels
from efimm.files import own_folder, write_text

ROOT = Path(__file__).resolve().parent.parent
STYLE = Path(__file__).resolve().parent / "slides.css"
WIDTH, HEIGHT = 1280, 720
_STARTER = re.compile(r"<script>\s*require\(.*?</script>", re.DOTALL)
_WIDGETS = "application/vnd.jupyter.widget-state+json"
_OPTIONS = {
    "width": WIDTH,
    "height": HEIGHT,
    "hash": True,
    "transition": "none",
    "slideNumber": "c/t",
    "margin": 0,
    "controlsTutorial": False,
}


def deck() -> str:
    """The page with all slides; the notebooks that they are taken from are run."""
    chosen = slides()
    names = sorted({slide.notebook for slide in chosen if slide.notebook})
    with Kernels() as kernels:
        ran = kernels.executed(notebooks_folder() / f"{name}.ipynb" for name in names)
        notebooks = dict(zip(names, ran, strict=True))
    together = nbformat.v4.new_notebook(  # type: ignore[no-untyped-call]  # nbformat has no types
        cells=[cell for slide in chosen for cell in cells_of(slide, notebooks)]
    )
    together.metadata["widgets"] = {_WIDGETS: {"state": _widget_states(notebooks.values())}}
    exporter = SlidesExporter(embed_images=True, extra_template_basedirs=NOWHERE)  # type: ignore[no-untyped-call]  # nor has nbconvert
    files = reveal()
    style = files["dist/reset.css"] + files["dist/reveal.css"] + STYLE.read_text(encoding="utf-8")
    script = f"/* {files['LICENSE']} */\n{files['dist/reveal.js']}\nReveal.initialize({json.dumps(_OPTIONS)});"
    page = standalone(together, "efimm", exporter, style=style, script=script)
    return _STARTER.sub("", page)  # which would ask for reveal.js elsewhere


def _widget_states(notebooks: Any) -> dict[str, Any]:
    """The states of the widgets of all notebooks; their numbers are unique."""
    states: dict[str, Any] = {}
    for notebook in notebooks:
        states |= notebook.metadata.get("widgets", {}).get(_WIDGETS, {}).get("state", {})
    return states


def main() -> None:
    """Write the page, and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "site" / "slides.html", help="where to write it")
    output = parser.parse_args().output
    own_folder(output.parent)
    write_text(output, deck())
    print(f"{output}: {output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
