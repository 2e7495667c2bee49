"""The notebooks in the reader's own browser: JupyterLite and Pyodide as a folder of files, with nothing to install.

What runs in the browser is pinned and compared by hash: `pinned/` for what pip fetches, `PYODIDE` here for the runtime.
Every wheel lies beside Pyodide and stands in its lock, so a page asks nobody else.  Only what is compiled (numpy,
matplotlib) stays in the lock with the address of Pyodide's CDN, and is asked for when a cell imports it; wheels of them
in a folder of the builder's are taken in, too.

Not done: no service worker is needed, and no package is installed at run time (`%pip` finds nothing).
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..files import MARK, making, own_folder, refuse_foreign
from .series import notebooks_folder, shipped

PYODIDE = "314.0.6"
PYODIDE_HASH = "sha512-BKDTJyIqFxC4BExLqeRS3f5xvXZIjOt8C3zGLN/Cc7tFxSwvKVhVkchQQ2AGLOtR4YrVOIFxbV8poyDOOmWwxQ=="
PYTHON = "3.14"  # Pyodide's
CDN = f"https://cdn.jsdelivr.net/pyodide/v{PYODIDE}/full/"
PACKAGE = Path(__file__).parent.parent
PINNED = Path(__file__).parent / "pinned"
WORK = Path(__file__).parent / "static" / "work.js"
APPS = ("lab", "notebooks", "tree")
_RUNTIME = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
_KERNEL = Path("share/jupyter/labextensions/@jupyterlite/pyodide-kernel-extension")
_NOT_SHIPPED = {"__pycache__", "notebooks", ".ipynb_checkpoints"}


class LiteError(ValueError):
    """Lite cannot be built here: one line that says what is in the way."""


def make_lite(folder: Path, *, wheels: Path | None = None) -> Path:
    """Lite with every notebook of the series in `folder`, which is made anew; the path of its first page.

    ValueError where the folder is somebody's.
    `wheels` is a folder with wheels of Pyodide's own set (numpy, matplotlib and what they need).
    Asks the network only for what the user's cache has not.  LiteError where something cannot be had, or is not what
    it was.
    """
    refuse_foreign(folder)
    parts, place = fetched(), folder.resolve()
    with making(place.parent), tempfile.TemporaryDirectory(dir=place.parent) as temporary:
        source = Path(temporary)
        for path in shipped():
            _copy(path, source / "contents" / path.relative_to(notebooks_folder()))
        ours = _pyodide(parts, source / "static" / "pyodide", wheels)
        _settings(source, ours)
        _build(parts / "builder", source, source / "built")
        for app in APPS:
            _add_work(source / "built" / app / "index.html")
        shutil.copy(WORK, source / "built")
        shutil.copy(own_folder(place) / MARK, source / "built")
        _exchange(source / "built", place, source / "before")
    return folder / "index.html"


def _exchange(new: Path, place: Path, old: Path) -> None:
    """Put the folder `new` in the place of one that becomes `old`; one of them is there, whatever comes between."""
    try:
        place.rename(old)
        new.rename(place)
    finally:
        if not place.exists():
            old.rename(place)


def digest() -> str:
    """A short hash of the package and its notebooks: equal where the pages made of them are."""
    with tempfile.TemporaryDirectory() as temporary:
        content = own_wheel(Path(temporary)).read_bytes()
    return hashlib.sha256(content + b"".join(path.read_bytes() for path in shipped())).hexdigest()[:16]


def cache_folder() -> Path:
    """Where things lie that can be fetched or made again.  It exists."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "efimm"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fetched() -> Path:
    """A folder with everything from elsewhere: builder/, wheels/, pyodide/.  Fetched once, then kept."""
    pins = [PYODIDE_HASH, *(path.read_text(encoding="utf-8") for path in sorted(PINNED.glob("*.txt")))]
    kept = cache_folder() / f"lite-{hashlib.sha256(''.join(pins).encode()).hexdigest()[:16]}"
    if not kept.is_dir():
        with tempfile.TemporaryDirectory(dir=kept.parent) as temporary:
            new = Path(temporary) / "new"
            _pip("install", "--no-compile", "--target", str(new / "builder"), "-r", str(PINNED / "builder.txt"))
            _pip("download", *_FOR_THE_BROWSER, "--dest", str(new / "wheels"), "-r", str(PINNED / "browser.txt"))
            _fetch_pyodide(new)
            new.rename(kept)
    return kept


_FOR_THE_BROWSER = ("--python-version", PYTHON, "--platform", "any", "--only-binary", ":all:")


def _pip(*arguments: str) -> None:
    """Run pip, which compares the hashes; LiteError with its last line where it fails."""
    command = [sys.executable, "-m", "pip", *arguments[:1], "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*command, "--require-hashes", *arguments[1:]], check=False, capture_output=True, text=True)
    if done.returncode:
        raise LiteError(f"Lite's packages cannot be had: {(done.stderr.strip().splitlines() or ['pip failed'])[-1]}")


def _fetch_pyodide(folder: Path) -> None:
    """Pyodide's runtime from npm's registry, in folder/pyodide."""
    archive = folder / f"pyodide-{PYODIDE}.tgz"
    if npm := shutil.which("npm"):  # knows the proxy and the mirror, if there is one
        command = [npm, "pack", "--silent", f"pyodide@{PYODIDE}"]
        subprocess.run(command, cwd=folder, check=False, capture_output=True)
    try:
        if not archive.exists():
            urllib.request.urlretrieve(f"https://registry.npmjs.org/pyodide/-/{archive.name}", archive)
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    except OSError as error:
        raise LiteError(f"Pyodide cannot be had from npm's registry: {error}") from error
    if f"sha512-{found}" != PYODIDE_HASH:
        raise LiteError(f"Pyodide {PYODIDE} is not what it was: its sha512 is {found}")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (folder / "package").rename(folder / "pyodide")
    archive.unlink()


def _pyodide(parts: Path, folder: Path, extra: Path | None) -> list[str]:
    """Pyodide with all wheels beside it, in `folder`; the packages that are loaded before the first cell."""
    folder.mkdir(parents=True)
    for name in _RUNTIME:
        shutil.copy(parts / "pyodide" / name, folder)
    lock = json.loads((parts / "pyodide" / "pyodide-lock.json").read_text(encoding="utf-8"))
    for entry in lock["packages"].values():
        _take_in(entry, folder, extra)
    ours = []
    for wheel in (*sorted((parts / "wheels").glob("*.whl")), *_kernel_wheels(parts), own_wheel(folder)):
        entry = _entry(wheel)
        lock["packages"][entry["name"]] = entry
        ours.append(entry["name"])
        if wheel.parent != folder:
            shutil.copy(wheel, folder)
    (folder / "pyodide-lock.json").write_text(json.dumps(lock), encoding="utf-8")
    return ours


def _take_in(entry: dict[str, Any], folder: Path, extra: Path | None) -> None:
    """Put a package of Pyodide's own set beside it where `extra` has it; otherwise name where it is to be had."""
    wheel = extra / entry["file_name"] if extra else None
    if wheel is None or not wheel.is_file():
        entry["file_name"] = CDN + entry["file_name"]
    elif _sha256(wheel) != entry["sha256"]:
        raise LiteError(f"{wheel}: not the wheel that Pyodide {PYODIDE} was published with")
    else:
        shutil.copy(wheel, folder)


def _kernel_wheels(parts: Path) -> Iterator[Path]:
    """The kernel's own wheels; of two that stand in for widgetsnbextension the newer."""
    for wheel in sorted((parts / "builder" / _KERNEL / "static" / "pypi").glob("*.whl")):
        if not wheel.name.startswith("widgetsnbextension-3"):
            yield wheel


def _entry(wheel: Path) -> dict[str, Any]:
    """What Pyodide's lock says of `wheel`.  No `depends`: all of ours are loaded anyway."""
    name, version = wheel.name.split("-")[:2]
    return {
        "name": name.replace("_", "-").lower(),
        "version": version,
        "file_name": wheel.name,
        "install_dir": "site",
        "sha256": _sha256(wheel),
        "package_type": "package",
        "imports": [],
        "depends": [],
        "unvendored_tests": False,
    }


def own_wheel(folder: Path) -> Path:
    """A wheel of efimm in `folder`: the code that is running, with its data and without the notebooks."""
    about = importlib.metadata.distribution("efimm")
    stem = f"efimm-{about.version}"
    files = {f"efimm/{place}": path for place, path in _package_files(PACKAGE)}
    if (PACKAGE.parent / "data").is_dir():  # in a checkout data/ stands beside the package
        files |= {f"efimm/data/{place}": path for place, path in _package_files(PACKAGE.parent / "data")}
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        for place, path in files.items():
            wheel.writestr(_member(place), path.read_bytes())
        wheel.writestr(_member(f"{stem}.dist-info/METADATA"), about.read_text("METADATA") or "")
        tags = "Wheel-Version: 1.0\nGenerator: efimm\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(_member(f"{stem}.dist-info/WHEEL"), tags)
        wheel.writestr(_member(f"{stem}.data/data/etc/ipython/startup/00-efimm.py"), _STARTUP)
    return folder / f"{stem}-py3-none-any.whl"


# IPython runs it when a kernel starts, before the first cell.
_STARTUP = "from efimm.course import browser\nbrowser.begin(get_ipython())\ndel browser\n"


def _package_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not _NOT_SHIPPED & set(path.relative_to(folder).parts):
            yield path.relative_to(folder).as_posix(), path


def _member(place: str) -> zipfile.ZipInfo:
    """An entry of an archive without a date, so that equal files make equal archives."""
    member = zipfile.ZipInfo(place)
    member.compress_type = zipfile.ZIP_DEFLATED
    return member


def _settings(source: Path, packages: list[str]) -> None:
    """What JupyterLite reads when it starts, and when it is built."""
    kernel = {
        "pyodideUrl": "./static/pyodide/pyodide.mjs",
        "disablePyPIFallback": True,
        "loadPyodideOptions": {"packages": packages},
    }
    page = {
        "appName": "efimm",
        "exposeAppInBrowser": True,  # work.js asks it for the reader's notebooks
        "litePluginSettings": {"@jupyterlite/pyodide-kernel-extension:kernel": kernel},
    }
    _json(source / "jupyter-lite.json", {"jupyter-lite-schema-version": 0, "jupyter-config-data": page})
    build = {"apps": APPS, "contents": ["contents"], "no_sourcemaps": True, "no_unused_shared_packages": True}
    _json(source / "jupyter_lite_config.json", {"LiteBuildConfig": {**build, "ignore_sys_prefix": True}})


def _build(builder: Path, source: Path, output: Path) -> None:
    """Run JupyterLite's own builder, which lies in the folder `builder` and finds its extensions only there."""
    extensions = f"--FederatedExtensionAddon.extra_labextensions_path={builder / 'share/jupyter/labextensions'}"
    command = [sys.executable, "-m", "jupyterlite_core", "build", "--output-dir", str(output), extensions]
    paths = os.pathsep.join(filter(None, (str(builder), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": paths, "JUPYTERLITE_DIR": str(source)}
    done = subprocess.run(command, cwd=source, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise LiteError(f"JupyterLite's builder failed: {(done.stderr or done.stdout).strip().splitlines()[-1]}")


def _add_work(page: Path) -> None:
    """Put *Download my work* on one page of Lite."""
    html = page.read_text(encoding="utf-8")
    script = '<script src="../work.js" defer></script>'
    page.write_text(html.replace("</head>", f"{script}</head>", 1), encoding="utf-8")


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, to)


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
