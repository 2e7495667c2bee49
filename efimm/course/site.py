"""The whole series as a folder of web pages that opens from the file system: no Python, no server, no network.

Beside the notebooks and their solutions there are an index, the table of which kernel survives what, and the reference
of the package's names, which pdoc makes from the docstrings.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from pkgutil import walk_packages
from typing import Any

from ipywidgets import Widget
from nbformat import from_dict
from nbformat.v4 import new_markdown_cell, new_notebook

from ..files import own_folder, write_text
from ..machines import installed
from ..maps.errors import printable
from ..show.drawing import styles
from ..show.ram.slider import ram_slider
from ..trials import SupportTable, support_table
from .export import WIDGET_STATE, WIDGET_VIEW, Kernels, page
from .lite import make_lite
from .navigation import PREVIEW, STATIC, Leaf, entries, framed, search_script, urls
from .series import chapter, chapters, notebooks_folder, shipped

REFERENCE = "api"
LITE = "lite"


def make_site(folder: Path, *, run: Callable[[Path], Any] | None = None, lite: bool = True) -> Iterator[Path]:
    """Write all pages to `folder`, and give the path of each when it is written.

    `run`, where it is given, makes an executed notebook from a notebook's path.  With `lite` the notebooks that run in
    the browser are there, too, each page leads to its own, and there is a page that reads logs.  Raises ValueError,
    before anything is written, where pdoc is not installed, and for a folder that is neither ours nor empty.
    """
    _must_have_pdoc()
    own_folder(folder)
    site, paths = Site(folder), shipped()
    leaves = [_leaf(path, lite=lite) for path in paths]
    shutil.copy(installed("docs") / PREVIEW, folder)
    with Kernels() as kernels:
        ran = map(run, paths) if run else kernels.executed(paths)
        around = (None, *leaves[:-1]), (*leaves[1:], None)
        for path, leaf, notebook, before, after in zip(paths, leaves, ran, *around, strict=True):
            yield site.write(leaf, notebook, before, after)
            shutil.copy(path, folder / leaf.place.with_suffix(".ipynb"))
    yield site.write(_other("support", "Which kernel survives what"), _of_text(support(support_table(progress=False))))
    if lite:
        yield your_log(site)
    yield site.write(_other("index", "efimm: watch a page-table bug happen"), front(lite=lite))
    yield search(site)
    yield reference(folder / REFERENCE)
    if lite:
        yield make_lite(folder / LITE)


class Site:
    """The pages as they are written, and what of them the search is to know."""

    def __init__(self, folder: Path) -> None:
        self.known: list[list[str]] = []
        self._folder = folder

    def write(
        self,
        leaf: Leaf,
        notebook: Any,
        before: Leaf | None = None,
        after: Leaf | None = None,
        *,
        script: str = "",
        python: bool = False,
    ) -> Path:
        """Write a page; its path."""
        style = (STATIC / "site.css").read_text(encoding="utf-8")
        html = page(notebook, f"{leaf.title} · efimm", style=style, script=_script("site") + script, python=python)
        if leaf.place.parent.name != "solutions":
            self.known += entries(leaf, html)
        path = self._folder / leaf.place
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_text(path, framed(html, leaf, before, after))


def _script(name: str) -> str:
    return (STATIC / f"{name}.js").read_text(encoding="utf-8")


def _leaf(path: Path, *, lite: bool) -> Leaf:
    """The page of a notebook."""
    place, head = PurePosixPath(path.relative_to(notebooks_folder()).as_posix()), chapter(path)
    about = f"Afterwards you can {head.goals}".replace("`", "") if head.goals else ABOUT
    leaf = Leaf(place.with_suffix(".html"), head.title, about, of_notebook=True)
    return replace(leaf, live=f"{leaf.up}{LITE}/notebooks/index.html?path={place}") if lite else leaf


def _other(name: str, title: str) -> Leaf:
    """A page that is no notebook's."""
    return Leaf(PurePosixPath(f"{name}.html"), title, ABOUT)


ABOUT = "A Linux/UEFI page-table bug of 2012, rebuilt in bytes: drag a slider past 512 GiB and see the firmware fault."


def search(site: Site) -> Path:
    """Write the page that finds sections of all those that were written before it."""
    words = (STATIC / "search.md").read_text(encoding="utf-8")
    return site.write(_other("search", "Search"), _of_text(words), script=search_script(site.known))


def your_log(site: Site) -> Path:
    """Write the page on which `efimm check` answers in the browser, by the Python that lies in the site's LITE."""
    words = (STATIC / "your_log.md").read_text(encoding="utf-8")
    return site.write(_other("your-log", "Your log"), _of_text(words), script=_script("your_log"), python=True)


def front(*, lite: bool) -> Any:
    """The first page as a notebook that was run: five sentences, the slider, and the series."""
    slider = ram_slider("1T")
    slider.complete()
    view = {WIDGET_VIEW: {"model_id": slider.model_id}, "text/plain": repr(slider)}
    shown = {"output_type": "display_data", "data": view, "metadata": {}}
    folded = {"jupyter": {"source_hidden": True}}
    code = {"id": "slider", "cell_type": "code", "source": "", "metadata": folded, "execution_count": None}
    above, below = (STATIC / "front.md").read_text(encoding="utf-8").split("<!-- the slider -->")
    notebook = _of_text(above, f"{below}\n{contents(lite=lite)}")
    notebook.cells.insert(1, from_dict({**code, "outputs": [shown]}))  # type: ignore[no-untyped-call]  # as below
    notebook.metadata["widgets"] = {WIDGET_STATE: Widget.get_manager_state(widgets=[slider])}
    return notebook


def contents(*, lite: bool) -> str:
    """The series and what else is here, in Markdown."""
    rows = [
        f"| [{chapter.title}]({chapter.path.name}) | {chapter.goals} | {chapter.time} | {_solutions(chapter.path)} |\n"
        for chapter in chapters()
    ]
    your_log = "- [Your log](your-log.html): would your own machine have been hit? Nothing leaves it.\n" if lite else ""
    return f"""## The notebooks

Each page is a notebook, run once. Sliders move, and everything answers that the browser was sent once. To change a
cell, or to have an answer checked, {"follow *Run it live*, or " if lite else ""}install efimm and use JupyterLab.

{public()}
| notebook | afterwards you can | time | |
|---|---|---|---|
{"".join(rows)}
## Also here

{your_log}- the [table of kernels](support.ipynb): which survives what
- the [glossary](glossary.ipynb)
- [search](./search.html)

## Reference

Every name in the package, with what it does and its source:

| | |
|---|---|
{"".join(f"| [{name}](./{REFERENCE}/{name.replace('.', '/')}.html) | {said} |" + chr(10) for name, said in packages())}
"""


def public(known: Mapping[str, str] | None = None) -> str:
    """A line of links to where efimm is published; "" while it is not."""
    links = ", ".join(f"[{name}]({url})" for name, url in (urls() if known is None else known).items())
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

    pdoc.render.configure(template_directory=styles.STATIC / "reference", footer_text="efimm", show_source=False)
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


def _of_text(*texts: str) -> Any:
    cells = [new_markdown_cell(text) for text in texts]  # type: ignore[no-untyped-call]  # nbformat has no types
    return new_notebook(cells=cells)  # type: ignore[no-untyped-call]  # as above
