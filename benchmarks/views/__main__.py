"""`python -m benchmarks.views`: drag the RAM slider in JupyterLab and say how soon its picture follows."""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from .lab import FLAGS, chromium_path, jupyterlab, run_all, write_notebook

CELL = "from efimm.show import ram_slider\nram_slider()"
_STEP = 1000 / 60  # milliseconds between two moves of the mouse
_DRAGS, _SECONDS = 200, 10
_PAUSE = 150  # milliseconds between two choices, as a quick reader makes them
_MENUS = ".efimm select"
_NO_QUESTION = 8  # a picture that comes sooner was not asked for: the browser had it


def main() -> int:
    """Measure and print; 0 whatever the times are, 1 where the picture is not that of the slider."""
    playwright: Any = import_module("playwright.sync_api")  # a development package
    with tempfile.TemporaryDirectory() as name, playwright.sync_playwright() as browsers:
        folder = Path(name)
        write_notebook(folder / "view.ipynb", CELL)
        with jupyterlab(folder) as address:
            page = _open(browsers, f"{address}/doc/tree/view.ipynb")
            right = _drags(page)
            right &= _long_drag(page)
            _choices(page)
            _questions(page)
    return 0 if right else 1


def _open(browsers: Any, address: str) -> Any:
    browser = browsers.chromium.launch(executable_path=chromium_path(), args=FLAGS)
    page = browser.new_page(viewport={"width": 1366, "height": 900})
    page.goto(address)
    run_all(page)
    page.locator(".efimm svg.picture").first.wait_for(timeout=120_000)
    page.wait_for_timeout(1500)
    page.add_script_tag(content=(Path(__file__).parent / "probe.js").read_text(encoding="utf-8"))
    return page


def _drags(page: Any) -> bool:
    """Drag from end to end and back until there are enough events."""
    events = _drag(page, lambda events, _: len(events) < _DRAGS)
    _report("RAM slider, a stop (drawn)", [event["drawn"] for event in events], "p50 <= 8 ms, p95 <= 16 ms")
    _report("RAM slider, a stop (painted)", [event["painted"] for event in events if "painted" in event], "")
    return _in_step(page)


def _long_drag(page: Any) -> bool:
    """Ten seconds without a pause: the last frames are to be as quick as the first ones."""
    events = _drag(page, lambda _, moves: moves * _STEP < _SECONDS * 1000)
    tenth = max(len(events) // 10, 1)
    first, last = ([event["drawn"] for event in part] for part in (events[:tenth], events[-tenth:]))
    print(f"  {'10 s of dragging, first and last tenth':42} p50 {median(first):5.1f} ms, {median(last):5.1f} ms")
    return _in_step(page)


def _drag(page: Any, going: Any) -> list[dict[str, Any]]:
    """What the probe noted while the mouse went to and fro over the slider."""
    box = page.locator(".efimm input[type=range]").bounding_box()
    left, width, y = box["x"] + 8, box["width"] - 16, box["y"] + box["height"] / 2
    share = float(page.locator(".efimm input[type=range]").evaluate("(node) => node.value / node.max"))
    page.evaluate("efimmEvents.length = 0")
    page.mouse.move(left + share * width, y)
    page.mouse.down()
    moves, direction = 0, 1
    events: list[dict[str, Any]] = []
    while going(events, moves):
        share += direction / 60
        direction = -1 if share >= 1 else 1 if share <= 0 else direction
        page.mouse.move(left + min(max(share, 0), 1) * width, y)
        page.wait_for_timeout(_STEP)
        moves += 1
        events = page.evaluate("efimmEvents") if moves % 20 == 0 else events
    page.mouse.up()
    page.wait_for_timeout(200)
    found: list[dict[str, Any]] = page.evaluate("efimmEvents")
    return found


def _in_step(page: Any) -> bool:
    """True when the picture is that of the value at which the slider stands."""
    size, title = page.evaluate(
        "[document.querySelector('.efimm output').innerText, document.querySelector('.efimm svg > title').textContent]"
    )
    number, unit = size.split()
    right = f"with {float(number) * (1024 if unit == 'TiB' else 1):g} GiB" in title
    if not right:
        print(f"  WRONG: the slider says {size}, the picture {title}")
    return right


def _choices(page: Any) -> None:
    """Kernel and firmware, whose strips the browser has once Python had the time."""
    page.wait_for_function(
        f"![...document.querySelectorAll({_MENUS!r})].some((node) => node.innerText.includes('way'))"
    )
    page.evaluate("efimmEvents.length = 0")
    kernels, firmwares = (page.get_by_label(name, exact=True) for name in ("Kernel", "Firmware"))
    for _ in range(4):
        for firmware in ("own-table", "checks-pointer", "page-0", "edk2"):
            firmwares.select_option(firmware)
            page.wait_for_timeout(_PAUSE)
            for kernel in ("va-patch", "hpa-sync", "3.5"):
                kernels.select_option(kernel)
                page.wait_for_timeout(_PAUSE)
    chosen = [event["drawn"] for event in page.evaluate("efimmEvents") if event["what"] == "select"]
    _report("a choice of kernel or firmware (drawn)", chosen, "p50 <= 16 ms")


def _questions(page: Any) -> None:
    """Choices that the browser has no scene for: each asks Python once."""
    page.locator(".efimm input[type=range]").first.press("End")  # where RAM ends low, no array lies above the line
    page.evaluate("efimmEvents.length = 0")
    names = ("Kernel", "Array", "Largest page")
    kernels, placements, sizes = (page.get_by_label(name, exact=True) for name in names)
    for kernel in ("3.5", "va-patch", "hpa-sync"):
        for size in ("2M", "4K"):
            sizes.select_option(size)
            for name in ("low", "below", "auto"):
                placements.select_option(name)
                kernels.select_option(kernel)
                page.wait_for_timeout(_PAUSE)
    events = [event for event in page.evaluate("efimmEvents") if event["what"] == "select"]
    asked = [event["drawn"] for event in events if event["drawn"] > _NO_QUESTION]
    _report("a choice that asks Python (drawn)", asked, "p50 <= 80 ms")


def _report(what: str, times: list[float], target: str) -> None:
    cuts = quantiles(times, n=20) if len(times) > 1 else times * 19
    print(f"  {what:42} n {len(times):4}  p50 {median(times):5.1f} ms  p95 {cuts[18]:5.1f} ms  {target}")


if __name__ == "__main__":
    sys.exit(main())
