"""Notebooks as web pages whose pictures still move: one file each, no kernel, no network.

A widget's state, which the notebook saved, is put into the page together with the JavaScript that draws it in
JupyterLab.  Whatever the browser was sent once, such as the stops of the RAM slider, answers here too; what asks Python
says that there is none.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from ..show.drawing.styles import STATIC, css

_WIDGET_VIEW, _WIDGET_STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
_FROM_ELSEWHERE = re.compile(r"<(script|link)\b[^>]*\b(?:src|href)=\"https?://[^>]*>(?:\s*</script>)?", re.IGNORECASE)
_SCRIPTS_FROM_ELSEWHERE = re.compile(
    r"<script\b[^>]*>(?:(?!</script>).)*https?://cdn(?:(?!</script>).)*</script>", re.DOTALL
)
_LINK = re.compile(r'href="((?:\.\./|solutions/)?[\w.-]+)\.ipynb(#[^"]*)?"')
_TIMEOUT = 300
_READABLE = """
.jp-RenderedHTMLCommon a:any-link { text-decoration: underline !important; }
.jp-InputPrompt, .jp-OutputPrompt { color: #595959 !important; opacity: 1 !important; }
:root { --jp-mirror-editor-comment-color: #2c6060; --jp-mirror-editor-operator-color: #8414d1;
  --jp-mirror-editor-number-color: #0a5d2a; --jp-mirror-editor-keyword-color: #006400; }
"""


def executed(path: Path) -> Any:
    """The notebook `path`, run from top to bottom beside its file, with the state of its widgets.

    Raises what nbclient raises for a cell that fails.
    """
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # nbformat has no types
    quiet = ["--log-level=ERROR"]  # a kernel's warnings about itself are nothing to the one who wants a page
    resources = {"metadata": {"path": str(path.parent)}}
    return NotebookClient(notebook, timeout=_TIMEOUT, resources=resources, extra_arguments=quiet).execute()


def page(notebook: Any, title: str) -> str:
    """An executed notebook as one HTML page that asks nothing of the network."""
    exporter = HTMLExporter(template_name="lab", embed_images=True)  # type: ignore[no-untyped-call]  # nbconvert has no types
    return standalone(notebook, title, exporter)


def standalone(notebook: Any, title: str, exporter: HTMLExporter) -> str:
    """What `exporter` makes of an executed notebook, with nothing from elsewhere, and with our widgets alive."""
    models = _take_widgets(notebook)
    for cell in notebook.cells:
        if cell.metadata.get("jupyter", {}).get("source_hidden"):  # a question's code, folded in JupyterLab
            cell.metadata["transient"] = {"remove_source": True}
    html, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    html = _SCRIPTS_FROM_ELSEWHERE.sub("", _FROM_ELSEWHERE.sub("", html))
    html = _LINK.sub(lambda link: f'href="{link[1]}.html{link[2] or ""}"', html)
    html = html.replace("</head>", f"<style>{_READABLE}</style></head>", 1)
    return html.replace("</body>", f"{_live(models)}</body>")


def _take_widgets(notebook: Any) -> dict[str, Any]:
    """The states of our widgets by their model's number; each one's output becomes the place where it is drawn."""
    states = notebook.metadata.pop("widgets", {}).get(_WIDGET_STATE, {}).get("state", {})
    models = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).pop(_WIDGET_VIEW, None)
            if view and "kind" in states.get(view["model_id"], {}).get("state", {}):
                name = view["model_id"]
                models[name] = _model(states[name])
                output.data["text/html"] = f'<div class="efimm-live" data-model="{name}"></div>'
    return models


def _model(saved: Any) -> dict[str, Any]:
    """A widget's own traits, and the binary ones among them with the place they belong to."""
    traits = {name: value for name, value in saved["state"].items() if not name.startswith("_") and name != "layout"}
    return {"traits": traits, "buffers": [[buffer["path"], buffer["data"]] for buffer in saved.get("buffers", [])]}


def _live(models: dict[str, Any]) -> str:
    """The styles, the widgets' JavaScript, and their states."""
    names = [
        "picture",
        *sorted(path.stem for path in STATIC.glob("*.js") if path.stem not in ("picture", "page")),
        "page",
    ]
    script = "\n".join((STATIC / f"{name}.js").read_text(encoding="utf-8") for name in names)
    data = json.dumps(models, ensure_ascii=False).replace("</", "<\\/")
    return (
        f"<style>{css()}</style>\n"
        f'<script type="application/json" id="efimm-models">{data}</script>\n'
        f'<script type="module">{script}</script>\n'
    )
