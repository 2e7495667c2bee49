"""`efimm dashboard` in a browser: a Voila page whose slider moves, and which loads nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from test_browser import chromium, pytestmark

__all__ = ["chromium", "pytestmark"]  # a fixture and the marks of this module: pytest finds them by name


@pytest.fixture(scope="module")
def dashboard():
    if importlib.util.find_spec("voila") is None:
        pytest.skip("voila is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "efimm", "dashboard", "--port", str(port), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/voila/static/", timeout=2).close()
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.25)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.slow
def test_the_dashboard_shows_the_pictures_and_asks_nobody_else(chromium, dashboard):
    page = chromium.new_page(viewport={"width": 1600, "height": 1000})
    came = []
    page.on("response", lambda answer: came.append(answer.url))
    page.goto(dashboard, timeout=60_000)
    page.locator("svg.walk").wait_for(timeout=60_000)
    page.get_by_role("img", name="hpa-sync, 1G of RAM").wait_for(timeout=60_000)
    slider = page.locator("input[type=range]").first
    slider.focus()
    page.keyboard.press("Home")
    verdict = page.locator(".efimm:has(input[type=range]) p.verdict").first.inner_text()
    page.get_by_role("button", name="one step on").click()
    step = page.locator(".efimm:has(.play) p.verdict").inner_text()
    pictures = page.locator("svg.picture").count()
    kernels = page.locator(".efimm:has(input[type=range]) select").first.locator("option").all_inner_texts()
    page.close()

    assert verdict.startswith("Success")
    assert step.startswith("Step 2 of ")
    assert pictures == 5
    assert {"3.5", "hpa-sync", "6.1"} <= set(kernels)
    assert [url for url in came if not url.startswith((dashboard, "data:", "blob:"))] == []
