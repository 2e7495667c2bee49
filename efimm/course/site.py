"""The whole series as a folder of web pages that opens from the file system: no Python, no server, no network.

Beside the notebooks and their solutions there are an index, the table of which kernel survives what, and the reference
of the package's names, which pdoc makes from the docstrings.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

from nbformat.v4 import new_markdown_cell, new_notebook

from ..files import own_folder, write_text
from ..maps.errors import printable
from ..show.drawing.styles import STATIC
from ..trials import SupportTable, support_table
from .export import Kernels, page
from .lite import make_lite
from .series import chapters, notebooks_folder, shipped

REFERENCE = "api"
LITE = "lite"
_BODY = re.compile(r"<body[^>]*>")


def make_site(folder: Path, *, run: Callable[[Path], Any] | None = None, lite: bool = True) -> Iterator[Path]:
    """Write all pages to `folder`, and give the path of each when it is written.

    `run`, where it is given, makes an executed notebook from a notebook's path.  With `lite` the notebooks that run in
    the browser are there, too, and each page leads to its own.  Raises ValueError, before anything is written, where
    pdoc is not installed, and for a folder that is neither ours nor empty.
    """
    _must_have_pdoc()
    own_folder(folder)
    notebooks = notebooks_folder()
    paths = shipped()
    with Kernels() as kernels:
        for path, notebook in zip(paths, map(run, paths) if run else kernels.executed(paths), strict=True):
            place = path.relative_to(notebooks)
            yield _write(folder / place.with_suffix(".html"), notebook, _run_it_live(place) if lite else "")
    yield _write(folder / "index.html", _of_text(contents()))
    yield _write(folder / "support.html", _of_text(support(support_table(progress=False))))
    yield reference(folder / REFERENCE)
    if lite:
        yield make_lite(folder / LITE)


def contents() -> str:
    """The index of the site, in Markdown."""
    rows = [
        f"| [{chapter.title}]({chapter.path.name}) | {chapter.goals} | {chapter.time} | {_solutions(chapter.path)} |\n"
        for chapter in chapters()
    ]
    return f"""# efimm

Watch a real Linux/UEFI page-table bug happen, understand it, and try fixes on it.

These pages are the notebooks, run once. Sliders move, and everything answers that the browser was sent once. To change
a cell, or to have an answer checked, install efimm and open the notebooks in JupyterLab.

{public()}
| notebook | afterwards you can | time | |
|---|---|---|---|
{"".join(rows)}
Also here: the [glossary](glossary.ipynb), and the [table of kernels](support.ipynb) (which survives what).

## Reference

Every name in the package, with what it does and its source:

| | |
|---|---|
{"".join(f"| [{name}](./{REFERENCE}/{name.replace('.', '/')}.html) | {said} |" + chr(10) for name, said in packages())}
"""


def public(urls: Mapping[str, str] | None = None) -> str:
    """A line of links to where efimm is published ([project.urls]); "" while it is not."""
    if urls is None:
        entries = importlib.metadata.metadata("efimm").get_all("Project-URL") or ()
        urls = dict(entry.split(", ", 1) for entry in entries)
    links = ", ".join(f"[{name}]({url})" for name, url in urls.items())
    return f"Published: {links}.\n" if links else ""


def packages() -> list[tuple[str, str]]:
    """The package and what stands directly in it: its name, and the first sentence of its docstring."""
    found = [name for name in modules() if name.count(".") < 2]
    said = (inspect.getdoc(importlib.import_module(name)) or "" for name in found)
    return [(name, text.split("\n\n")[0].replace("\n", " ")) for name, text in zip(found, said, strict=True)]


def support(table: SupportTable) -> str:
    """The support table in Markdown, with the reason wherever a trial failed."""
    kernels = [_literally(report.kernel) for report in table.reports]
    rows = []
    for row in zip(*(report.trials for report in table.reports), strict=True):
        cells = ["ok" if trial.passed else f"**{trial.verdict}**: {_literally(trial.reason)}" for trial in row]
        rows.append(f"| {_literally(row[0].scenario)} | {' | '.join(cells)} |\n")
    return f"""# Which kernel survives what

Each row is a machine, a place for the array or a kind of firmware; each column is a kernel. *ok*: the firmware was
switched, and worked afterwards. All else says what happened. Every cell is a run of the model, made when this page was
written; the same in a terminal: `efimm gauntlet --all`.

| scenario | {" | ".join(kernels)} |
{"|---" * (len(kernels) + 1)}|
{"".join(rows)}| passed | {" | ".join(str(report.passed) for report in table.reports)} |

[Back to the notebooks](index.ipynb)
"""


def reference(folder: Path) -> Path:
    """Every public name with its docstring, as pages in `folder`; the path of the first one."""
    _must_have_pdoc()
    import pdoc  # noqa: PLC0415 - installed with the extra "site" only

    pdoc.render.configure(template_directory=STATIC / "reference", footer_text="efimm", show_source=False)
    with warnings.catch_warnings():
        # It warns of names that are imported when they are first asked for, of types that only a checker imports, and
        # of modules that it had found by itself.
        warnings.filterwarnings("ignore", module=r"pdoc\.")
        pdoc.pdoc(*modules(), output_directory=folder)
    return folder / "efimm.html"


def modules() -> list[str]:
    """The names of all public modules, the package's own first."""
    found = (module.name for module in walk_packages([str(Path(__file__).parent.parent)], "efimm."))
    return ["efimm", *sorted(name for name in found if "._" not in name)]


def _must_have_pdoc() -> None:
    if importlib.util.find_spec("pdoc") is None:
        raise ValueError("pdoc is not installed: pip install 'efimm[site]'")


def _solutions(path: Path) -> str:
    solutions = path.parent / "solutions" / f"{path.name[:2]}-solutions.ipynb"
    return f"[solutions](solutions/{solutions.name})" if solutions.exists() else ""


def _literally(words: str) -> str:
    """`words` so that Markdown, and the HTML in it, show them as they are, on one line."""
    line = printable(" ".join(words.split()))
    return "".join(char if char.isalnum() or char in " ,.:;=" else f"&#{ord(char)};" for char in line)


def _of_text(markdown: str) -> Any:
    return new_notebook(cells=[new_markdown_cell(markdown)])  # type: ignore[no-untyped-call]  # nbformat has no types


def _run_it_live(notebook: Path) -> str:
    """A line that leads from the page of a notebook to the same one in Lite, which no browser opens from a disk."""
    address = f"{'../' * (len(notebook.parts) - 1)}{LITE}/notebooks/index.html?path={notebook.as_posix()}"
    return f"""<p style="margin: 8px 24px; text-align: right; font-family: sans-serif">
<a href="{address}">Run it live</a><script>if (location.protocol === "file:") document.currentScript
.previousElementSibling.replaceWith("To run it live, open these pages from a server: efimm room")</script></p>"""


def _write(path: Path, notebook: Any, above: str = "") -> Path:
    """Write a page, with `above` before everything else in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_text(path, _BODY.sub(lambda tag: tag[0] + above, page(notebook, path.stem), count=1))
