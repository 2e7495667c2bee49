"""The hub's configuration, loaded by a real JupyterHub with the simple spawner: who comes in, and which limits hold.

Needs JupyterHub, its culler and its proxy, which nothing else here does; CONTRIBUTING says how to have them.
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager, suppress
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HUB = ROOT / "docs" / "hub"
PROXY = "configurable-http-proxy"
MISSING = [
    name for name in ("jupyterhub", "jupyterhub_idle_culler", "jupyterlab") if not importlib.util.find_spec(name)
]
MISSING += [] if shutil.which(PROXY) else [PROXY]
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(sys.platform != "linux", reason="reads a server's environment in /proc"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (CONTRIBUTING says how)"),
]
FIRST, SECOND, THIRD = "person01", "person02", "person03"


def drawn(number):
    """What `people.py` prints, and the password of each name in it."""
    command = [sys.executable, HUB / "people.py", str(number)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return text, dict(line.split() for line in text.splitlines())


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def command(folder, people, ports=(8000, 8001, 8081), home="home"):
    """What the README says, on ports and in folders that are the test's own."""
    (folder / "people.txt").write_text(people, encoding="utf-8")
    port, api, hub = ports
    line = [sys.executable, "-m", "jupyterhub", "-f", str(HUB / "jupyterhub_config.py"), "--ip=127.0.0.1"]
    line += [
        f"--port={port}",
        f"--JupyterHub.hub_port={hub}",
        f"--ConfigurableHTTPProxy.api_url=http://127.0.0.1:{api}",
    ]
    return [*line, f"--SimpleLocalProcessSpawner.home_dir_template={folder}/{home}/{{username}}"]


def environment(folder, mark):
    names = {"SPAWNER": "simple", "NOTEBOOKS": str(folder / "notebooks"), "ADDRESS": "127.0.0.1"}
    names |= {"PEOPLE": "people.txt", "SERVERS": "2", "TEST_MARK": mark}
    return os.environ | {f"EFIMM_HUB_{name}": value for name, value in names.items()}


def processes(mark):
    """What a hub has started, by its mark or its folder of homes: the environment of each process, by its number."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in (text := path.read_bytes()):
                found[int(path.parent.name)] = text.decode(errors="replace").split("\0")
    return found


@contextmanager
def hub(folder, people):
    """The address of a hub, its log and its mark; all of its processes have ended after the block."""
    ports, mark = free_ports(3), f"home-{time.monotonic_ns()}"
    log = folder / f"log-{ports[0]}"
    with log.open("w") as said:
        line, given = command(folder, people, ports, mark), environment(folder, mark)
        process = subprocess.Popen(line, cwd=folder, env=given, stdout=said, stderr=said)
    try:
        waited(lambda: "JupyterHub is now running" in log.read_text() or process.poll() is not None, 90)
        assert process.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{ports[0]}", log, mark
    finally:
        process.terminate()
        process.wait(60)
        left = ended(mark)
    assert left == {}, "the hub has ended, and these have not"


def ended(mark):
    """What has not ended within 20 s; it is killed then."""
    end = time.monotonic() + 20
    while processes(mark) and time.monotonic() < end:
        time.sleep(0.2)
    left = {number: Path(f"/proc/{number}/cmdline").read_text() for number in processes(mark)}
    for number in left:
        with suppress(OSError):
            os.kill(number, signal.SIGKILL)
    return left


def waited(ready, seconds):
    """What `ready` says in the end; it is asked until it says something, for `seconds` at most."""
    end = time.monotonic() + seconds
    while not (found := ready()) and time.monotonic() < end:
        time.sleep(0.2)
    assert found, "nothing came of it in time"
    return found


class Person:
    """A browser: it keeps cookies, and follows where it is sent."""

    def __init__(self, address):
        self.address, self.jar, self.token = address, CookieJar(), ""
        cookies = urllib.request.HTTPCookieProcessor(self.jar)
        self.opener = urllib.request.build_opener(cookies, urllib.request.ProxyHandler({}))

    def ask(self, path, method="GET", data=None, token=""):
        """Status, text, address and headers of the answer."""
        headers = {"Authorization": f"token {token}"} if token else {}
        headers |= {"Content-Type": "application/json"} if "/api/" in path else {}
        request = urllib.request.Request(f"{self.address}{path}", data, headers, method=method)
        try:
            answer = self.opener.open(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.read().decode(), answer.url.removeprefix(self.address), answer.headers

    def xsrf(self):
        return next(cookie.value for cookie in self.jar if cookie.name == "_xsrf" and cookie.path == "/hub/")

    def log_in(self, name, password):
        """The status of the answer, and where it led."""
        self.ask("/hub/login")
        form = {"username": name, "password": password, "_xsrf": self.xsrf()}
        status, _, where, _ = self.ask("/hub/login?next=/hub/home", "POST", urllib.parse.urlencode(form).encode())
        return status, where

    def take_token(self, name):
        """A token, as the page *Token* of the hub gives it."""
        self.ask("/hub/home")
        path = f"/hub/api/users/{name}/tokens?_xsrf={urllib.parse.quote(self.xsrf())}"
        self.token = json.loads(self.ask(path, "POST", b"{}")[1])["token"]

    def start(self, name):
        """Ask for a server, and wait until it is there: the status of the request."""
        status = self.ask(f"/hub/api/users/{name}/server", "POST", b"", self.token)[0]
        if status < 400:
            waited(lambda: json.loads(self.ask(f"/hub/api/users/{name}", token=self.token)[1])["server"], 90)
        return status


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A hub of three people with room for two servers; the first two have come in and have one each."""
    folder = tmp_path_factory.mktemp("hub")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    people, passwords = drawn(3)
    with hub(folder, people) as (address, log, mark):
        came = {}
        for name in (FIRST, SECOND):
            settings = folder / mark / name / ".jupyter" / "jupyter_server_config.json"
            settings.parent.mkdir(parents=True)
            settings.write_text('{"ServerApp": {"allow_root": true}}')  # who tests in a container is often root
            came[name] = Person(address)
            assert came[name].log_in(name, passwords[name]) == (200, "/hub/home")
            came[name].take_token(name)
            assert came[name].start(name) < 400
        yield folder, address, log, mark, passwords, came


def test_nobody_comes_in_under_anothers_name(room):
    _, address, _, _, passwords, came = room
    for name, password in (
        (SECOND, passwords[FIRST]),
        (SECOND, ""),
        (SECOND.upper(), passwords[FIRST]),
        ("person99", passwords[FIRST]),
        ("person99", ""),
        ("", ""),
    ):
        stranger = Person(address)
        assert stranger.log_in(name, password)[0] == 403, (name, password)
        assert stranger.ask("/hub/home")[2].startswith("/hub/login")
    first, second = came[FIRST], came[SECOND]
    assert first.ask(f"/user/{SECOND}/api/contents", token=first.token)[0] == 403
    assert first.ask(f"/hub/api/users/{SECOND}", token=first.token)[0] == 404  # the hub does not say who there is
    assert first.ask(f"/user/{SECOND}/lab")[0] == 403  # with the cookies of a browser
    assert second.ask(f"/user/{SECOND}/lab")[0] == 200
    assert Person(address).ask(f"/user/{SECOND}/lab")[2].startswith("/hub/login")


def test_a_third_server_is_one_too_many(room):
    _, address, _, _, passwords, _ = room
    third = Person(address)
    assert third.log_in(THIRD, passwords[THIRD]) == (200, "/hub/home")
    third.take_token(THIRD)
    assert third.start(THIRD) == 429


def test_a_server_has_the_limits_of_the_configuration(room):
    _, _, log, mark, _, came = room
    first = came[FIRST]
    assert first.ask(f"/user/{FIRST}/")[2] == f"/user/{FIRST}/lab/tree/00-start-here.ipynb"
    assert first.ask(f"/user/{FIRST}/api/contents/00-start-here.ipynb", token=first.token)[0] == 200
    assert first.ask(f"/user/{FIRST}/api/terminals", "POST", b"", first.token)[0] == 404
    assert first.ask(f"/user/{FIRST}/api/kernels", "POST", b"{}", first.token)[0] == 201
    said = log.read_text()
    assert "Culling kernels with idle durations > 1800 seconds at 120 second intervals" in said
    assert "Culling kernels even with connected clients" in said
    limits = [sorted(line for line in given if "_LIMIT=" in line) for given in processes(mark).values()]
    assert limits.count(["CPU_LIMIT=1.0", "MEM_LIMIT=1073741824"]) >= 3  # two servers and a kernel


def test_no_page_can_be_framed(room):
    first = room[-1][FIRST]
    for path in ("/hub/login", "/hub/home", "/hub/api/", f"/user/{FIRST}/lab"):
        assert "frame-ancestors 'none'" in first.ask(path)[3]["Content-Security-Policy"], path


def test_the_culler_of_servers_may_do_its_work(room):
    log = room[2]
    waited(lambda: re.search(r"200 GET /hub/api/users\S* \(idle-culler@", log.read_text()), 30)
    assert not re.search(r"\b4\d\d \w+ \S+ \(idle-culler@", log.read_text())


def test_a_list_drawn_anew_knows_no_cookie_and_no_token_of_the_old_one(tmp_path):
    (people, passwords), (anew, _) = drawn(1), drawn(1)
    with hub(tmp_path, people) as (address, _, _):
        old = Person(address)
        assert old.log_in(FIRST, passwords[FIRST]) == (200, "/hub/home")
        old.take_token(FIRST)
    with hub(tmp_path, people) as (old.address, _, _):  # the same list: the hub was started again, in the middle
        assert old.ask("/hub/home")[2] == "/hub/home"
        assert old.ask(f"/hub/api/users/{FIRST}", token=old.token)[0] == 200
    with hub(tmp_path, anew) as (old.address, _, _):
        assert old.ask(f"/hub/api/users/{FIRST}", token=old.token)[0] == 403
        assert old.ask("/hub/home")[2].startswith("/hub/login")
        assert old.log_in(FIRST, passwords[FIRST])[0] == 403


@pytest.mark.parametrize(
    ("people", "expected"),
    [
        ("", "people.txt: expected people, one 'name password' a line"),
        ("anna a-good-long-password\nbert short\n", "people.txt:2: expected a password of at least 12 characters"),
        ("anna\n", "people.txt:1: expected a password of at least 12 characters"),
        ("../anna a-good-long-password\n", "people.txt:1: expected a name of small letters, digits and hyphens"),
        ("anna a-good-long-password\n\nanna another-password\n", "people.txt:3: anna stands there twice"),
    ],
)
def test_a_list_with_a_fault_starts_no_hub(tmp_path, people, expected):
    line, given = command(tmp_path, people), environment(tmp_path, "fault")
    done = subprocess.run(line, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == expected
    assert "Traceback" not in done.stderr
