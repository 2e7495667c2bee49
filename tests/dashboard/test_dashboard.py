"""`efimm dashboard`: a Voila page that loads nothing from elsewhere, and a server that answers nobody else."""

import contextlib
import importlib.util
import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_browser import chromium, pytestmark

__all__ = ["chromium", "pytestmark"]  # a fixture and the marks of this module: pytest finds them by name


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def served(folder, *options):
    """The address of a dashboard with its token."""
    if importlib.util.find_spec("voila") is None:
        pytest.skip("voila is not installed")
    log = folder / "log"
    command = [sys.executable, "-m", "efimm", "dashboard", "--port", str(free_port()), "--no-browser", *options]
    with log.open("w") as said:
        server = subprocess.Popen(command, stdout=said, stderr=said, cwd=folder)
    try:
        for _ in range(400):
            if found := re.search(r"http://localhost:(\d+)/\?token=(\w+)", log.read_text()):
                yield f"http://127.0.0.1:{found[1]}/", found[2]
                break
            time.sleep(0.1)
        else:
            pytest.fail(log.read_text())
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory):
    with served(tmp_path_factory.mktemp("dashboard")) as address:
        yield address


@pytest.fixture(scope="module")
def visit(chromium, dashboard):
    """A page of the dashboard that stays open, with its kernel; what came, and what was refused."""
    address, token = dashboard
    page = chromium.new_page(viewport={"width": 1600, "height": 1000})
    came, refused = [], []
    page.on("response", lambda answer: came.append(answer.url))
    page.on("console", lambda said: refused.append(said.text) if "Content Security Policy" in said.text else None)
    page.goto(f"{address}?token={token}", timeout=240_000)  # Voila runs the notebook before it answers
    yield page, came, refused
    page.close()


@pytest.mark.slow
def test_the_dashboard_shows_the_pictures_and_asks_nobody_else(dashboard, visit):
    address, _token = dashboard
    page, came, refused = visit
    page.locator("svg.walk").wait_for(timeout=60_000)
    page.get_by_role("img", name="hpa-sync, 1G of RAM").wait_for(timeout=60_000)
    page.locator("svg.picture").nth(4).wait_for(timeout=60_000)
    slider = page.locator("input[type=range]").first
    slider.focus()
    page.keyboard.press("Home")
    verdict = page.locator(".efimm:has(input[type=range]) p.verdict").first.inner_text()
    page.get_by_role("button", name="one step on").click()
    step = page.locator(".efimm:has(.play) p.verdict").inner_text()
    pictures = page.locator("svg.picture").count()
    kernels = page.locator(".efimm:has(input[type=range]) select").first.locator("option").all_inner_texts()

    assert verdict.startswith("Success")
    assert step.startswith("Step 2 of ")
    assert pictures == 5
    assert {"3.5", "hpa-sync", "6.1"} <= set(kernels)
    assert [url for url in came if not url.startswith((address, "data:", "blob:"))] == []
    assert [text for text in refused if "https://cdn." not in text] == []  # what Voila's template asks of others


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def asked(address, **headers):
    """The status and the headers of an answer, whatever it is."""
    opener = urllib.request.build_opener(_Stay, urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(address, headers=headers), timeout=60) as answer:
            answer.read()
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


def test_nobody_without_the_token_is_answered(dashboard):
    address, _token = dashboard
    assert asked(address)[0] == 302  # to the form that asks for it
    assert asked(f"{address}?token=wrong")[0] == 302
    assert asked(f"{address}api/kernels/00000000-0000-0000-0000-000000000000")[0] in (302, 403)


def test_a_foreign_name_that_leads_here_is_refused(dashboard):
    address, token = dashboard
    status, _ = asked(f"{address}?token={token}", Host="rebound.example:8866")
    assert status == 403
    assert asked(f"{address}login", Host="rebound.example")[0] == 403


def test_every_answer_forbids_frames_and_guesses(dashboard):
    address, _token = dashboard
    for path in ("", "login", "?token=wrong"):
        headers = asked(f"{address}{path}")[1]
        assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


def websocket(address, kernel, **headers):
    """The status with which a websocket to a kernel is answered."""
    host, port = re.fullmatch(r"http://([\d.]+):(\d+)/", address).groups()
    given = {
        "Host": f"{host}:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version": "13",
    } | headers
    with socket.create_connection((host, int(port)), timeout=30) as line:
        lines = [f"GET /api/kernels/{kernel}/channels HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
        line.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(line.recv(100).split()[1])


@pytest.mark.nightly
def test_kernels_are_few(tmp_path):
    with served(tmp_path, "--FewKernels.most=2") as (address, token):
        with ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(lambda _: asked(f"{address}?token={token}")[0], range(5)))
        assert sorted(answers) == [200, 200, 503, 503, 503]
        assert asked(f"{address}?token={token}")[0] == 503  # the two are kept for ten minutes


def test_who_comes_when_the_room_is_full_is_told_so_and_the_token_is_not_logged(tmp_path):
    with served(tmp_path, "--FewKernels.most=0") as (address, token):
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{address}?token={token}", timeout=60)
        assert b"0 pages are open: close one" in refused.value.read()
        asked(f"{address}?token={token}", Host="rebound.example")
    log = (tmp_path / "log").read_text()

    assert {"503 GET /?token=...", "403 GET /?token=..."} <= set(re.findall(r"^\d+ GET /\S+", log, re.MULTILINE))
    assert log.count(token) == 1  # where the address is told


@pytest.mark.slow
def test_a_websocket_needs_the_cookie_the_host_and_the_origin(dashboard, visit):
    address, _token = dashboard
    page, *_ = visit
    kernel = json.loads(page.locator("#jupyter-config-data").text_content())["kernelId"]
    cookies = page.context.cookies()  # what a browser sends by itself
    known = {"Cookie": "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in cookies)}
    assert websocket(address, kernel, **known, Origin=address.rstrip("/")) == 101
    assert websocket(address, kernel, Origin=address.rstrip("/")) == 403
    assert websocket(address, kernel, **known, Origin="http://evil.example") == 403
    assert websocket(address, kernel, **known, Host="rebound.example", Origin="http://rebound.example") == 403


def test_what_is_set_is_what_the_issue_asks_for():
    if importlib.util.find_spec("voila") is None:
        pytest.skip("voila is not installed")
    from efimm.dashboard.server import settings

    made = settings()
    assert made.Voila.tornado_settings["allow_remote_access"] is False
    assert 0 < made.MappingKernelManager.cull_idle_timeout <= 3600
    json.dumps(made.Voila.tornado_settings)
