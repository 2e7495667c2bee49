"""`python -m benchmarks.room --site DIR`: sixty laptops open Lite at once in one room, and ten thousand people vote.

The room is a process of its own, the clients are another, and both are on this computer (Linux, where all of 127/8
leads to it): what it says of the network is nothing.  A browser opens a notebook once, so that the addresses of a
session are those a session asks for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from importlib import import_module
from itertools import cycle
from multiprocessing import Manager, get_context
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

from .views.lab import FLAGS, chromium_path

CLIENTS, AT_ONCE = 60, 6  # laptops, and connections of each, as browsers make them
VOTERS, LINES = 10_000, 100
_OPEN = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
_READY = "async () => { await jupyterapp.shell.currentWidget.sessionContext.session.kernel.info; }"


def session(address: str) -> tuple[list[str], float]:
    """What a browser asks for until its Python runs, and how many seconds that takes."""
    playwright: Any = import_module("playwright.sync_api")  # a development package
    with playwright.sync_playwright() as browsers:
        page = browsers.chromium.launch(executable_path=chromium_path(), args=FLAGS).new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if request.method == "GET" else None)
        page.set_default_timeout(180_000)
        began = time.perf_counter()
        page.goto(f"{address}lite/notebooks/index.html?path=00-start-here.ipynb")
        page.wait_for_function(_OPEN)
        page.evaluate(_READY)
        paths = (urlsplit(url) for url in asked if url.startswith(address))
        return [f"{parts.path}?{parts.query}" for parts in paths], time.perf_counter() - began


async def ask(line: tuple[Any, Any], method: str, path: str, body: bytes = b"") -> tuple[int, int]:
    """One question on an open connection: status, and bytes of the body."""
    reader, writer = line
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n"
    if method == "POST":
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"\r\n" + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = re.search(r"content-length: (\d+)", answer, re.IGNORECASE)
    left = size = int(length[1]) if length else 0
    while left:
        left -= len(await reader.read(min(left, 1 << 16))) or left
    return int(answer.split(" ", 2)[1]), size


def vote(question: str, answer: str, participant: str) -> bytes:
    """The body of a vote."""
    return json.dumps({"question": question, "answer": answer, "participant": participant}).encode()


async def laptop(host: str, port: int, paths: Iterable[str]) -> tuple[int, int]:
    """Fetch a whole session over six connections: bytes that came, and how many answers were no file."""
    queue, sizes, bad = list(paths), 0, 0

    async def one_line() -> None:
        nonlocal sizes, bad
        line = await asyncio.open_connection(host, port)
        while queue:
            status, size = await ask(line, "GET", queue.pop())
            sizes, bad = sizes + size, bad + (status not in {200, 404})  # Lite asks for files of the reader's own, too
        line[1].close()

    await asyncio.gather(*(one_line() for _ in range(AT_ONCE)))
    return sizes, bad


async def burst(host: str, port: int, bodies: list[bytes]) -> list[int]:
    """Send all votes over a hundred connections, each from an address of its own; the statuses."""
    found: list[int] = []

    async def one_line(mine: list[bytes], sender: str) -> None:
        line = await asyncio.open_connection(host, port, local_addr=(sender, 0))
        found.extend([(await ask(line, "POST", "/-/vote", body))[0] for body in mine])
        line[1].close()

    await asyncio.gather(*(one_line(bodies[start::LINES], f"127.0.1.{start + 1}") for start in range(LINES)))
    return found


async def measure(address: str, projector: str, paths: list[str], question: str) -> None:
    """Sixty sessions with votes meanwhile, then the two bursts; prints what was found."""
    host, port = urlsplit(address).hostname or "", urlsplit(address).port or 0
    began = time.perf_counter()
    with ProcessPoolExecutor(1, get_context("spawn")) as others:  # who downloads would measure its own waiting
        done = Manager().Event()
        voter = others.submit(vote_until, done, host, port, question)
        found = await asyncio.gather(*(laptop(host, port, paths) for _ in range(CLIENTS)))
        done.set()
        waits = voter.result()
    failures = sum(bad for _, bad in found)
    print(f"{CLIENTS} sessions of {len(paths)} addresses: {time.perf_counter() - began:.1f} s, failures {failures}")
    print(f"sent to each: {max(size for size, _ in found) / 1e6:.1f} MB")
    print(f"a vote meanwhile: median {median(waits) * 1e3:.0f} ms, p95 {quantiles(waits, n=20)[-1] * 1e3:.0f} ms")

    before = await _participants(host, port, projector)
    began = time.perf_counter()
    statuses = await burst(host, port, [vote(question, str(n % 7), f"{n:032x}") for n in range(VOTERS)])
    took, counted = time.perf_counter() - began, await _participants(host, port, projector) - before
    print(f"{VOTERS} participants: {took:.1f} s, {statuses.count(204)} accepted, {counted} counted")
    statuses = await burst(host, port, [vote(question, str(n % 7), "f" * 32) for n in range(VOTERS)])
    counted = await _participants(host, port, projector) - before - counted
    print(
        f"one participant's {VOTERS}: {statuses.count(204)} accepted, {statuses.count(429)} refused, {counted} counted"
    )


def vote_until(done: Any, host: str, port: int, question: str) -> list[float]:
    """Vote again and again until `done` is set: how many seconds each took."""

    async def votes() -> list[float]:
        waits, line = [], await asyncio.open_connection(host, port)
        voters = cycle([secrets.token_hex(16) for _ in range(100)])  # nobody comes too often
        while not done.is_set():
            sent = time.perf_counter()
            await ask(line, "POST", "/-/vote", vote(question, "1", next(voters)))
            waits.append(time.perf_counter() - sent)
            await asyncio.sleep(0.02)
        return waits

    return asyncio.run(votes())


async def _participants(host: str, port: int, projector: str) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {projector}board HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    board = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
    writer.close()
    return int(board["participants"])


def main() -> None:
    """Open a room, measure, and close it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site", required=True, type=Path, help="what `efimm site` wrote")
    command = [sys.executable, "-m", "efimm", "room", "--port", "0", "--site", str(parser.parse_args().site)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as room:
        try:
            said = {}
            for line in room.stdout or ():
                if match := re.match(r"(the room|the projector) +(\S+)", line):
                    said[match[1]] = match[2]
                if "projector" in line:
                    break
            from efimm.room.votes import questions  # noqa: PLC0415 - beside the room, which has its own

            paths, seconds = session(said["the room"])
            print(f"a browser alone: Python runs after {seconds:.1f} s")
            asked = questions()[0].text
            asyncio.run(measure(said["the room"], urlsplit(said["the projector"]).path, paths, asked))
            with suppress(OSError):
                peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{room.pid}/status").read_text(encoding="utf-8"))
                print(f"the room's memory at most: {int(peak[1]) / 1024:.0f} MiB" if peak else "")
        finally:
            room.terminate()


if __name__ == "__main__":
    main()
