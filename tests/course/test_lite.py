"""Lite in a real Chromium that reaches no other host: every notebook runs, and what the reader changed can be kept.

`make test` runs notebook 06, which needs most of a browser; `make nightly` runs all of them.
"""

import functools
import hashlib
import io
import json
import lzma
import os
import shutil
import threading
import zipfile
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from test_browser import CHROMIUM, FLAGS

from efimm.check import check, checked
from efimm.course import browser, lite
from efimm.course.series import notebooks_folder, shipped
from efimm.course.site import Site, your_log
from efimm.files import refuse_foreign

ALL = [path.relative_to(notebooks_folder()).as_posix() for path in shipped()]
EVERY_TIME = ("06-pgd-list.ipynb",)
WHEELS = os.environ.get("EFIMM_PYODIDE_WHEELS")  # a folder with Pyodide's numpy and matplotlib, to run 13 whole
CUT_OFF = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
PATIENCE = 800_000  # milliseconds, for one notebook: Python starts in the browser each time
NO_STACKS = "--js-flags=--no-experimental-wasm-jspi --no-wasm-jspi"
# What needs numpy or matplotlib; `smallest` is a function of notebook 13, made with numpy.
COMPILED = ("numpy", "np.", "matplotlib", "plt.", "plots", "batch", "arrays", "figure(", "smallest(")

OPEN = """() => window.jupyterapp?.shell.currentWidget?.content?.model?.cells.length &&
  jupyterapp.shell.currentWidget.sessionContext?.session?.kernel"""
RUN = """async () => {
  await jupyterapp.commands.execute("notebook:run-all-cells");
  const cells = jupyterapp.shell.currentWidget.content.model.toJSON().cells.filter((cell) => cell.cell_type === "code");
  return cells.map(({ source, outputs }) => ({ source: [source].flat().join(""), outputs }));
}"""


class Types(SimpleHTTPRequestHandler):
    """Files with the types that a browser insists on."""

    extensions_map = {  # noqa: RUF012 - as the class has it
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Lite, built."""
    folder = tmp_path_factory.mktemp("site") / "lite"
    try:
        lite.make_lite(folder, wheels=Path(WHEELS) if WHEELS else None)
    except lite.LiteError as error:
        if "cannot be had" in str(error):
            pytest.skip(str(error))
        raise
    return folder


@contextmanager
def served(folder):
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Types, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def chromium(*flags):
    """A Chromium with flags of its own, which knows no name of any other host."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, CUT_OFF, *flags])
        yield browser
        browser.close()


def opened(page, address, notebook, app="notebooks"):
    page.set_default_timeout(PATIENCE)
    page.goto(f"{address}{app}/index.html?path={notebook}")
    page.wait_for_function(OPEN)


def texts(cell):
    """What a cell printed or showed, in one string."""
    found = []
    for output in cell["outputs"]:
        found.append(output.get("text", ""))
        found.append(output.get("data", {}).get("text/plain", ""))
    return "".join("".join(text) for text in found)


def errors(cells):
    """The cells that ended in an error, with its last line."""
    return [
        (cell["source"].splitlines()[0], output["evalue"])
        for cell in cells
        for output in cell["outputs"]
        if output["output_type"] == "error"
    ]


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "notebook", [pytest.param(name, marks=() if name in EVERY_TIME else pytest.mark.nightly) for name in ALL]
)
def test_a_notebook_runs_in_the_browser_and_asks_nobody_else(site, notebook):
    elsewhere, broken = [], []
    with served(site) as address, chromium() as browser:
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.on("request", lambda request: elsewhere.append(request.url) if address not in request.url else None)
        page.on("pageerror", lambda error: broken.append(str(error)))
        opened(page, address, notebook)
        cells = page.evaluate(RUN)

    lacking = [cell["source"] for cell in cells if " is not here: " in texts(cell)]
    assert errors(cells) == []
    assert [error for error in broken if "PythonError" in error or "fatal" in error] == []
    assert [url for url in elsewhere if url.startswith("http") and not url.startswith(lite.CDN)] == []
    assert all(any(word in source for word in COMPILED) for source in lacking)
    assert not lacking or not WHEELS
    if notebook.startswith("06"):
        assert "DEADLOCK" in "".join(map(texts, cells))
        assert "recorded" not in "".join(map(texts, cells))


LOG = """[    0.000000] Linux version 3.5.0
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] usable
[    0.000000] BIOS-e820: [mem 0x0000000100000000-0x000000ffffffffff] usable
[    0.000000] efi: EFI v2.31 by someone
"""
# A worker as the page makes its own, which tells another server something.
TELL = """(address) => new Promise((resolve) => {
  const code = `fetch("${address}", { mode: "no-cors" })
    .then(() => postMessage("told"), () => postMessage("not told"))`;
  new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" }).onmessage =
    ({ data }) => resolve(data);
})"""


@pytest.mark.browser
@pytest.mark.timeout(900)
def test_your_log_is_read_in_the_browser_and_told_to_nobody(site, tmp_path):
    your_log(Site(site.parent))
    (tmp_path / "boot.log.xz").write_bytes(lzma.compress(LOG.encode()))
    asked, broken = [], []
    with served(site.parent) as address, served(tmp_path) as another, chromium() as browser:
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: asked.append((request.method, request.url)))
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.goto(f"{address}your-log.html")
        page.locator("#ask").click()
        nothing = page.locator("#said").inner_text()
        page.locator("#pasted").fill(LOG)
        page.locator("#ask").click()
        page.locator("#answer").wait_for()
        pasted = page.locator("#answer").inner_text()
        page.set_input_files("#file", tmp_path / "boot.log.xz")
        page.locator("#answer").filter(has_text="boot.log.xz").wait_for()
        packed = page.locator("#answer").inner_text()
        page.locator("#pasted").fill("nothing of the kind")
        page.locator("#ask").click()
        page.locator("#answer").filter(has_text="efimm: ").wait_for()
        told = [page.evaluate(TELL, f"{where}?secret") for where in (another, address)]

    found = check(io.BytesIO(LOG.encode()))
    assert "no log yet" in nothing
    assert pasted == checked(found, "your-log.txt")
    assert packed == checked(found, "boot.log.xz")
    assert broken == []
    assert {method for method, _ in asked} == {"GET"}
    assert [url for _, url in asked if not url.removeprefix("blob:").startswith(address)] == []
    assert told == ["not told", "told"]  # by the page's policy: the other server would have listened


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.nightly
def test_without_stack_switching_06_shows_recorded_searches_and_goes_on(site):
    with served(site) as address, chromium(NO_STACKS) as browser:
        page = browser.new_page()
        opened(page, address, "06-pgd-list.ipynb")
        if page.evaluate("'Suspending' in WebAssembly"):
            pytest.skip("this Chromium cannot be told to do without stack switching")
        cells = page.evaluate(RUN)

    assert errors(cells) == []
    assert "recorded, since this browser" in "".join(map(texts, cells))


@pytest.mark.browser
@pytest.mark.timeout(900)
@pytest.mark.parametrize("app", ["notebooks", pytest.param("lab", marks=pytest.mark.nightly)])
def test_download_my_work_gives_what_was_changed(site, tmp_path, app):
    with served(site) as address, chromium() as browser:
        page = browser.new_context(accept_downloads=True).new_page()
        opened(page, address, "04-the-bug.ipynb", app)
        page.evaluate("jupyterapp.shell.currentWidget.content.model.cells.get(0).sharedModel.setSource('# Mine: é')")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download my work").click()
        download.value.save_as(tmp_path / "work.zip")
        with zipfile.ZipFile(tmp_path / "work.zip") as work:
            assert work.testzip() is None
            assert json.loads(work.read("04-the-bug.ipynb"))["cells"][0]["source"] == "# Mine: é"
        page.close()


def test_every_page_has_the_notebooks_and_the_download(site):
    listed = json.loads((site / "api" / "contents" / "all.json").read_text(encoding="utf-8"))["content"]

    assert {entry["path"] for entry in listed} == {path for path in ALL if "/" not in path} | {"solutions"}
    for app in lite.APPS:
        assert "work.js" in (site / app / "index.html").read_text(encoding="utf-8")


def test_what_it_has_made_it_may_make_anew(site):
    refuse_foreign(site)


def test_all_that_runs_before_the_first_cell_lies_beside_pyodide_with_its_hash(site):
    folder = site / "static" / "pyodide"
    lock = json.loads((folder / "pyodide-lock.json").read_text(encoding="utf-8"))["packages"]
    page = json.loads((site / "jupyter-lite.json").read_text(encoding="utf-8"))["jupyter-config-data"]
    kernel = page["litePluginSettings"]["@jupyterlite/pyodide-kernel-extension:kernel"]

    for name in kernel["loadPyodideOptions"]["packages"]:
        wheel = folder / lock[name]["file_name"]
        assert hashlib.sha256(wheel.read_bytes()).hexdigest() == lock[name]["sha256"], name
    if not WHEELS:
        assert lock["numpy"]["file_name"].startswith(lite.CDN)


def test_our_wheel_is_the_same_twice_and_holds_no_notebook(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        lite.own_wheel(folder)
    (wheel,) = first.iterdir()

    assert wheel.read_bytes() == (second / wheel.name).read_bytes()
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
    assert "efimm/linux/efi.py" in names
    assert "efimm/data/firmware-answers.json" in names
    assert not [name for name in names if name.endswith((".ipynb", ".pyc")) and "dashboard" not in name]


def test_a_runtime_that_was_changed_is_refused(tmp_path, monkeypatch):
    def other(_address, path):
        Path(path).write_bytes(b"something else")

    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(lite.urllib.request, "urlretrieve", other)

    with pytest.raises(lite.LiteError, match="is not what it was"):
        lite._fetch_pyodide(tmp_path)
    assert not (tmp_path / "pyodide").exists()


def test_a_wheel_that_pyodide_was_not_published_with_is_refused(tmp_path):
    (tmp_path / "numpy-1.whl").write_bytes(b"something else")

    with pytest.raises(lite.LiteError, match="not the wheel"):
        lite._take_in({"file_name": "numpy-1.whl", "sha256": "0"}, tmp_path, tmp_path)


def test_packages_that_were_changed_are_refused(tmp_path, monkeypatch):
    pytest.importorskip("pip", reason="pip is not installed")
    (tmp_path / "builder.txt").write_text(f"click==8.1.8 --hash=sha256:{'0' * 64}\n")

    with pytest.raises(lite.LiteError, match="Lite's packages cannot be had"):
        lite._pip("download", "--dest", str(tmp_path), "-r", str(tmp_path / "builder.txt"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'numpy'", name="numpy"), "numpy is not here: "),
        (ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib.pyplot"), "matplotlib is not here: "),
        (NameError("name 'np' is not defined", name="np"), "numpy is not here: "),
        (NameError("name 'mine' is not defined", name="mine"), None),
        (ModuleNotFoundError("No module named 'efi'", name="efi"), None),
    ],
)
def test_what_is_missing_is_said_in_one_line_and_other_errors_as_ever(error, said, capsys):
    class Shell:
        shown = None

        def showtraceback(self, exception, tb_offset):  # noqa: ARG002 - IPython's signature
            self.shown = exception[1]

    shell = Shell()
    browser._in_a_line(shell, type(error), error, None)

    printed = capsys.readouterr().out
    assert (printed.startswith(said) and printed.count("\n") == 1) if said else shell.shown is error


def test_a_folder_that_is_somebodys_is_refused_before_anything_is_fetched(tmp_path, monkeypatch):
    """`efimm lite -o .` emptied the folder one stood in."""
    monkeypatch.setattr(lite, "fetched", lambda: pytest.fail("asked for what is fetched"))
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="expected a new or empty folder"):
        lite.make_lite(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_where_nothing_is_fetched_no_folder_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(lite, "fetched", lambda: (_ for _ in ()).throw(lite.LiteError("no network")))
    with pytest.raises(lite.LiteError):
        lite.make_lite(tmp_path / "site" / "lite")
    assert [*tmp_path.iterdir()] == []


def test_what_cannot_be_exchanged_stays(tmp_path):
    (tmp_path / "place").mkdir()
    with pytest.raises(FileNotFoundError):
        lite._exchange(tmp_path / "new", tmp_path / "place", tmp_path / "old")
    assert (tmp_path / "place").is_dir()
