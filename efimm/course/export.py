"""Notebooks as web pages whose pictures still move: one file each, no kernel, no network.

A widget's state, which the notebook saved, is put into the page together with the JavaScript that draws it in
JupyterLab.  Whatever the browser was sent once, such as the stops of the RAM slider, answers here too; what asks Python
says that there is none.
"""

from __future__ import annotations

import atexit
import base64
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from time import sleep
from typing import Any

import nbformat
import zmq
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbclient.output_widget import OutputWidget
from nbconvert import HTMLExporter

from ..show.drawing.styles import STATIC, css
from ..show.drawing.svg import SAVED_BESIDE
from ..show.ram.strips import WHOLE
from ..workers import kill_session

WIDGET_VIEW, WIDGET_STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
_FROM_ELSEWHERE = re.compile(r"<(script|link)\b[^>]*\b(?:src|href)=\"https?://[^>]*>(?:\s*</script>)?", re.IGNORECASE)
_SCRIPTS_FROM_ELSEWHERE = re.compile(
    r"<script\b[^>]*>(?:(?!</script>).)*https?://cdn(?:(?!</script>).)*</script>", re.DOTALL
)
# No policy stops these.
_TO_ELSEWHERE = re.compile(r"<meta\b[^>]*\bhttp-equiv\s*=\s*[\"']?\s*refresh\b[^>]*>", re.IGNORECASE)
_LINK = re.compile(r'href="((?:\.\./|solutions/)?[\w.-]+)\.ipynb(#[^"]*)?"')
_NO_WORDS = 'alt="No description has been provided for this image"'  # nbconvert's, for an image without any
_TIMEOUT = 300  # seconds for one cell
_MOMENT = 0.05  # seconds, after which kernels that must end are looked for again
NOWHERE: list[str] = []  # else nbconvert executes a template that lies in the current folder
AT_ONCE = 2  # kernels: each takes some 150 MB
_READABLE = """
.jp-RenderedHTMLCommon a:any-link { text-decoration: underline !important; }
.jp-InputPrompt, .jp-OutputPrompt { color: #595959 !important; opacity: 1 !important; }
:root { --jp-mirror-editor-comment-color: #2c6060; --jp-mirror-editor-operator-color: #8414d1;
  --jp-mirror-editor-number-color: #0a5d2a; --jp-mirror-editor-keyword-color: #006400; }
"""
_IN_THE_DARK = """
.jp-InputPrompt, .jp-OutputPrompt { color: #b0b0b0 !important; }
:root { --jp-mirror-editor-comment-color: #8fb5b5; --jp-mirror-editor-operator-color: #d6a5ff; }
"""
_THEME = ' data-jp-theme-light="true" data-jp-theme-name="JupyterLab Light"'


class NotebookError(ValueError):
    """A notebook that cannot be run to its end: one line that names the file, and says what was in the way."""


class Kernels:
    """Notebooks run with a kernel each, a few at a time; a context, after which no kernel remains.

    An interrupt is obeyed at once, whatever a cell does: the notebooks run in threads, and their kernels are killed.
    `timeout` are the seconds that a cell may take.
    """

    def __init__(self, timeout: int = _TIMEOUT) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._timeout = timeout
        self._clients: set[Client] = set()
        self._closed = False

    def __enter__(self) -> Kernels:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        while self._clients:  # again: a kernel that is being started can be killed only once it runs
            for client in list(self._clients):
                client.kill()
            sleep(_MOMENT)
        self._pool.shutdown()

    def executed(self, paths: Iterable[Path]) -> Iterator[Any]:
        """The notebooks `paths` in their order, each run from top to bottom beside its file, with its widgets' state.

        NotebookError for one that cannot be read, or whose run fails.
        """
        return self._pool.map(self._run, paths)

    def _run(self, path: Path) -> Any:
        try:
            notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # nbformat has no types
            nbformat.validate(notebook)
            quiet = ["--log-level=ERROR"]  # a kernel's warnings about itself are nothing to the one who wants a page
            resources = {"metadata": {"path": str(path.parent)}}
            client = Client(notebook, timeout=self._timeout, resources=resources, extra_arguments=quiet)
            self._clients.add(client)
            try:
                if self._closed:
                    raise NotebookError("told to stop")
                # Nothing that happens to lie beside the notebook is taken for the program that runs it.
                return client.execute(env=os.environ | {"PYTHONSAFEPATH": "1", WHOLE: "1"})
            finally:
                client.kill()
                self._clients.discard(client)
                atexit.unregister(client._cleanup_kernel)  # left there by a kernel that died while it started
        except OSError as error:
            raise NotebookError(f"{path}: {error.strerror or error}") from error
        except CellExecutionError as error:
            raise NotebookError(
                f"{path}: a cell fails: {error.ename}: {' '.join(error.evalue.split())[:400]}"
            ) from error
        except (
            Exception
        ) as error:  # no notebook, no such kernel, a kernel that dies: each package has its own exceptions
            words = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise NotebookError(f"{path}: cannot be run: {words[:400]}") from error


class Client(NotebookClient):
    """nbclient's client, which also hears the end of a cell in which an `Output` widget was filled."""

    def __init__(self, notebook: Any, *args: Any, **options: Any) -> None:
        super().__init__(notebook, *args, **options)
        self.widget_registry = {"@jupyter-widgets/output": {"OutputModel": Output}}
        self._process: subprocess.Popen[bytes] | None = None

    async def async_start_new_kernel(self, **options: Any) -> None:
        """Start the kernel, and remember its process: nbclient forgets one that has died."""
        await super().async_start_new_kernel(**options)
        self._process = self.km.provisioner.process  # type: ignore[union-attr]  # a kernel has just been started

    def kill(self) -> None:
        """End the kernel, if it has been started, and what its cells have started."""
        if self._process is not None:
            kill_session(self._process)  # Jupyter gives each kernel one of its own


class Output(OutputWidget):
    """nbclient's output widget, which takes nobody's wake-up.

    It tells the kernel what it was filled with, on the socket at which the client waits for the end of the cell.  What
    has come there meanwhile is then no news any more, and the client waits for its whole time limit with the answer in
    its hands (https://github.com/jupyter/nbclient/issues/312).  Asked for its events, the socket looks anew.
    """

    def send(self, *args: Any, **options: Any) -> None:
        """Send a message, and see to it that what came meanwhile is noticed."""
        super().send(*args, **options)
        self.kernel_client.shell_channel.socket.get(zmq.EVENTS)


def executed(path: Path, timeout: int = _TIMEOUT) -> Any:
    """One notebook, as `Kernels.executed` gives it."""
    with Kernels(timeout) as kernels:
        return next(kernels.executed([path]))


def page(notebook: Any, title: str, *, style: str = "", script: str = "", python: bool = False) -> str:
    """An executed notebook as one HTML page that asks nothing of the network, light or dark as the reader's system.

    `style`, `script` and `python` are those of `standalone`.
    """
    exporter = _exporter()
    html = standalone(notebook, title, exporter, style=_dark(exporter) + style, script=script, python=python)
    return html.replace(_THEME, "", 1)  # our pictures then ask the system, too


@cache
def _exporter() -> HTMLExporter:
    """What makes pages; one for all of them, since it reads its templates anew for each of its own."""
    return HTMLExporter(template_name="lab", embed_images=True, extra_template_basedirs=NOWHERE)  # type: ignore[no-untyped-call]  # nbconvert has no types


def _dark(exporter: HTMLExporter) -> str:
    """JupyterLab's dark theme, for those who have asked their system for one."""
    loader = exporter.environment.loader
    theme, *_ = loader.get_source(exporter.environment, "static/theme-dark.css") if loader else ("",)
    return f":root {{ color-scheme: light dark; }} @media (prefers-color-scheme: dark) {{ {theme}{_IN_THE_DARK} }}"


def standalone(
    notebook: Any, title: str, exporter: HTMLExporter, *, style: str = "", script: str = "", python: bool = False
) -> str:
    """What `exporter` makes of an executed notebook, with nothing from elsewhere, and with our widgets alive.

    `style` and `script` are put in beside them.  Browsers run no other script than these two, wherever in the notebook
    one stands, and load nothing: the page says so in a Content-Security-Policy.  With `python` they may also load
    Python from the server that the page came from, and run it; of any other server they still ask nothing.
    """
    models = _take_widgets(notebook)
    for cell in notebook.cells:
        if cell.metadata.get("jupyter", {}).get("source_hidden"):  # a question's code, folded in JupyterLab
            cell.metadata["transient"] = {"remove_source": True}
    html, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    html = _SCRIPTS_FROM_ELSEWHERE.sub("", _FROM_ELSEWHERE.sub("", _TO_ELSEWHERE.sub("", html)))
    html = _LINK.sub(lambda link: f'href="{link[1]}.html{link[2] or ""}"', html)
    html = html.replace(_NO_WORDS, 'alt="A plot; the text below it says what it shows."')
    html = html.replace("</head>", f"<style>{_READABLE}{style}</style></head>", 1)
    drawing = _drawing()
    inside = f"{_live(models, drawing)}<script>{script}</script>" if script else _live(models, drawing)
    before, end, after = html.rpartition("</body>")  # outputs may hold pages of their own
    return _guarded(f"{before}{inside}{end}{after}", [drawing, script], python=python)


def _guarded(html: str, scripts: Iterable[str], *, python: bool = False) -> str:
    """`html` with a policy, in front of all that it is for, that lets these scripts run and nothing else.

    With `python` WebAssembly may run, too, and files of the page's own server be loaded: from a worker, so that the
    page answers meanwhile.  A worker made of a blob obeys the policy of its page.
    """
    digests = [hashlib.sha256(script.encode("utf-8")).digest() for script in scripts if script]
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    if python:
        allowed += " 'self' 'wasm-unsafe-eval'"
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {allowed}",
            "style-src 'unsafe-inline'",  # nbconvert's theme, and the colours of its code, stand in the page
            "img-src data:",
            "font-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            *(("connect-src 'self'", "worker-src blob:") if python else ()),
        )
    )
    return html.replace("<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{policy}">', 1)


def _take_widgets(notebook: Any) -> dict[str, Any]:
    """The states of our widgets by their model's number; each view becomes what a page can show of it."""
    states = notebook.metadata.pop("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    models: dict[str, Any] = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            kept = [output for output in cell.outputs if output.get("metadata") != SAVED_BESIDE]  # here it is alive
            cell.outputs = [shown for output in kept for shown in _without_python(output, states, models)]
    return models


def _without_python(output: Any, states: dict[str, Any], models: dict[str, Any]) -> Iterator[Any]:
    """An output as it stands, or what takes the place of a widget; `models` gets the states of ours."""
    view = output.get("data", {}).pop(WIDGET_VIEW, None)
    name = view.get("model_id") if isinstance(view, dict) else None
    if not isinstance(name, str) or name not in states:
        yield output
    elif _is_ours(states[name]["state"]):
        models[name] = _model(states[name])
        output.data["text/html"] = f'<div class="efimm-live" data-model="{name}"></div>'
        yield output
    else:
        output.data = {"text/html": _CONTROLS}
        yield output
        yield from _inside(states[name]["state"], states, models, {name})


def _is_ours(state: Any) -> bool:
    """Whether a widget with this state is of a class of efimm: a reader's may have a trait `kind`, too."""
    return str(state.get("_anywidget_id")).startswith("efimm.")


_CONTROLS = (
    "<p>(Controls of ipywidgets stand here in a notebook. They need Python; this is what they show at first.)</p>"
)


def _inside(state: Any, states: dict[str, Any], models: dict[str, Any], around: set[str]) -> Iterator[Any]:
    """What a box of widgets shows: outputs that were caught, words, widgets of ours; `around` are it and its boxes."""
    yield from (nbformat.from_dict(output) for output in state.get("outputs", ()))  # type: ignore[no-untyped-call]  # as above
    for child in state.get("children", ()):
        name = child.removeprefix("IPY_MODEL_")
        known = states.get(name, {}).get("state", {})
        if known.get("_model_name") == "HTMLModel":
            yield _html(known["value"])
        elif _is_ours(known):
            yield from _without_python(_html("", {WIDGET_VIEW: {"model_id": name}}), states, models)
        elif name not in around:
            yield from _inside(known, states, models, around | {name})


def _html(words: str, more: dict[str, Any] | None = None) -> Any:
    data = {"text/html": words} | (more or {})
    return nbformat.from_dict({"output_type": "display_data", "metadata": {}, "data": data})  # type: ignore[no-untyped-call]  # as above


def _model(saved: Any) -> dict[str, Any]:
    """A widget's own traits, and the binary ones among them with the place they belong to."""
    traits = {name: value for name, value in saved["state"].items() if not name.startswith("_") and name != "layout"}
    return {"traits": traits, "buffers": [[buffer["path"], buffer["data"]] for buffer in saved.get("buffers", [])]}


def _drawing() -> str:
    """The widgets' JavaScript."""
    names = [
        "picture",
        *sorted(path.stem for path in STATIC.glob("*.js") if path.stem not in ("picture", "page")),
        "page",
    ]
    return "\n".join((STATIC / f"{name}.js").read_text(encoding="utf-8") for name in names)


def _live(models: dict[str, Any], drawing: str | None = None) -> str:
    """The styles, the states of the widgets, and what draws them."""
    data = json.dumps(models, ensure_ascii=False).replace("<", "\\u003c")  # "<!--<script" would open a comment
    return (
        f"<style>{css()}</style>\n"
        f'<script type="application/json" id="efimm-models">{data}</script>\n'
        f'<script type="module">{_drawing() if drawing is None else drawing}</script>\n'
    )
