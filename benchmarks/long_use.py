"""`python -m benchmarks.long_use`: a slider moved 5,000 times, and forty kernels at once; what memory they take.

The memory of a process is its PSS, in which what several processes share is divided among them; the page's is what its
JavaScript has after a collection of garbage.  Both are to be flat within 10 % from the 500th move to the 5,000th.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from .views.lab import FLAGS, ROOT, chromium_path, jupyterlab, run_all, write_notebook

CELL = "from efimm.show import ram_slider\nram_slider()"
NOTEBOOK = ROOT / "notebooks" / "04-the-bug.ipynb"
MOVES, EARLY = 5_000, 500  # in all, and until the first look at the memory
DRAG, DRAGS = 10, 9  # stops in one drag; drags before Python is asked again
KERNELS = 40
FLAT = 1.1
_STEP = 1000 / 60  # milliseconds between two moves of the mouse
_MENUS, _USUAL = ("Kernel", "Firmware", "Array", "Largest page"), {"Array": "auto", "Largest page": "1G"}
_PATIENCE = 240_000  # milliseconds in which Python has made what it makes in the background
_COUNT = """
window.moves = window.asked = 0;
document.addEventListener("input", (event) => { moves += event.target.type === "range"; }, true);
new MutationObserver(() => { asked += document.querySelector(".efimm").hasAttribute("aria-busy"); })
  .observe(document.querySelector(".efimm"), { attributeFilter: ["aria-busy"] });
"""
_ALL_HERE = "![...document.querySelectorAll('.efimm select')].some((node) => node.innerText.includes('way'))"
_ANSWERED = "!document.querySelector('.efimm').hasAttribute('aria-busy')"


def pss(process: int) -> float:
    """MB of a process, what it shares with others divided among them; Linux only."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


def kernels() -> list[int]:
    """The processes of this user's notebook kernels that descend from this one."""
    return [process for process in _below(os.getpid()) if b"ipykernel_launcher" in _command(process)]


def _command(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


def _below(process: int) -> Iterator[int]:
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            yield int(child)
            yield from _below(int(child))


def page_memory(page: Any) -> dict[str, float]:
    """What the page's JavaScript has after a collection of garbage: MB, nodes, listeners."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    session.send("HeapProfiler.collectGarbage")
    found = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    return {"heap": found["JSHeapUsedSize"] / 1e6, "nodes": found["Nodes"], "listeners": found["JSEventListeners"]}


def slider() -> bool:
    """Move the slider of a notebook in JupyterLab; whether the memory was flat."""
    playwright: Any = import_module("playwright.sync_api")  # a development package
    with tempfile.TemporaryDirectory() as name, playwright.sync_playwright() as browsers:
        write_notebook(Path(name) / "view.ipynb", CELL)
        with jupyterlab(Path(name)) as address:
            browser = browsers.chromium.launch(executable_path=chromium_path(), args=FLAGS)
            page = browser.new_page(viewport={"width": 1366, "height": 900})
            page.goto(f"{address}/doc/tree/view.ipynb")
            run_all(page)
            page.locator(".efimm svg.picture").first.wait_for(timeout=120_000)
            page.wait_for_function(_ALL_HERE, timeout=_PATIENCE)
            page.evaluate(_COUNT)
            choices = Random(15)
            early = _moved(page, choices, EARLY)
            late = _moved(page, choices, MOVES)
            browser.close()
    flat = [_is_flat(what, early[what], late[what]) for what in early]
    return all(flat)


def _moved(page: Any, choices: Random, moves: int) -> dict[str, float]:
    """Go on to drag and to choose until the slider was moved so often; the memory then."""
    start = time.monotonic()
    while (count := page.evaluate("moves")) < moves:
        for menu in _MENUS:
            _choose(page, menu, choices)
        _drag(page)
        for menu, usual in _USUAL.items():
            page.get_by_label(menu, exact=True).select_option(usual)
        for _ in range(DRAGS):
            _drag(page)
    asked = page.evaluate("asked")
    page.wait_for_timeout(3000)
    (kernel,) = kernels()
    found = {"kernel, MB": pss(kernel)} | {f"page, {what}": value for what, value in page_memory(page).items()}
    print(f"after {count} moves and {asked} questions ({time.monotonic() - start:.0f} s): ", end="")
    print(", ".join(f"{what} {value:.1f}" for what, value in found.items()), flush=True)
    return found


def _drag(page: Any) -> None:
    """Ten stops with the mouse held down, from where the slider stands and back at its ends."""
    box = page.locator(".efimm input[type=range]").bounding_box()
    value, most = page.evaluate(
        "(({ value, max }) => [+value, +max])(document.querySelector('.efimm input[type=range]'))"
    )
    left, width, y = box["x"] + 8, box["width"] - 16, box["y"] + box["height"] / 2
    page.mouse.move(left + value / most * width, y)
    page.mouse.down()
    direction = 1 if value < most / 2 else -1
    for step in range(1, DRAG + 1):
        page.mouse.move(left + (value + direction * step) / most * width, y)
        page.wait_for_timeout(_STEP)
    page.mouse.up()


def _choose(page: Any, menu: str, choices: Random) -> None:
    """One of the choices that a menu has now, and Python's answer where it is asked."""
    select = page.get_by_label(menu, exact=True)
    there = select.evaluate("(node) => [...node.options].filter((one) => !one.disabled).map((one) => one.value)")
    select.select_option(choices.choice(there))
    page.wait_for_function(_ANSWERED, timeout=_PATIENCE)


def _is_flat(what: str, early: float, late: float) -> bool:
    flat = late <= early * FLAT
    print(f"  {what:20} {late / early:5.2f} of what it was  {'met' if flat else 'missed'}")
    return flat


def first_slider() -> str:
    """The code of notebook 04 up to its first cell with a slider."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    number = next(number for number, source in enumerate(sources) if "ram_slider(" in source)
    return "\n".join(sources[: number + 1])


def many_kernels() -> None:
    """Forty kernels that run the first slider of a notebook at once: seconds, and the memory of each."""
    manager: Any = import_module("jupyter_client.manager")
    code, start = first_slider(), time.monotonic()
    with ExitStack() as started, ThreadPoolExecutor(KERNELS) as threads:

        def run(_number: int) -> float:
            kernel, client = manager.start_new_kernel(
                600, cwd=str(ROOT / "notebooks"), extra_arguments=["--log-level=ERROR"]
            )
            started.callback(kernel.shutdown_kernel, now=True)
            started.callback(client.stop_channels)
            reply = client.execute_interactive(code, timeout=600, output_hook=lambda _message: None)
            if reply["content"]["status"] != "ok":
                raise RuntimeError(reply["content"])
            return time.monotonic() - start

        seconds = sorted(threads.map(run, range(KERNELS)))
        memory = sorted(map(pss, kernels()))
    print(
        f"{len(memory)} kernels with the first slider of {NOTEBOOK.name}: the first after {seconds[0]:.0f} s, ", end=""
    )
    print(
        f"the last after {seconds[-1]:.0f} s; {memory[0]:.0f} to {memory[-1]:.0f} MB each, {sum(memory):.0f} MB in all"
    )


def main() -> int:
    """Measure one or both; 0 however much memory it is, 1 where it grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("slider", "kernels"))
    what = parser.parse_args().what
    flat = what == "kernels" or slider()
    if what != "slider":
        many_kernels()
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
