"""The room's server: pages of the course for everybody, and votes; it runs nothing for those who visit.

Files are compressed once, when the room opens.  Two secrets in addresses tell who may do what: the instructor's page
reveals, clears and saves; the projector's only shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import logging
import mimetypes
import re
import secrets
import socket
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import segno
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler, StaticFileHandler

from ..maps.errors import printable
from .votes import RoomFullError, Votes

STATIC = Path(__file__).parent / "static"
ROOM_JS = '<script src="/-/room.js" defer></script>'
BACKLOG = 1024  # connections that wait to be taken: sixty laptops with six each come at once
LONGEST_BODY = 1024
# So few files are sent at a time: between two votes the loop looks at each of them.  Who takes longer over a piece than
# PATIENCE (seconds) is slow by himself, keeps nobody waiting, and no longer counts.
FILES_AT_A_TIME, PATIENCE = 16, 0.5
VOTES_AT_ONCE, VOTES_PER_SECOND = 20, 2  # of one participant
# New participants from one address: a lecture hall may stand behind one, and a participant costs nothing to invent.
NEW_AT_ONCE, NEW_PER_SECOND = 200, 2
MOST_BUCKETS = 20_000
FILES_BESIDE = 64  # that the process needs open beside its connections and what it sends over them
FILES_WITHOUT_LIMIT = 65_536, 10_240, 4_096  # asked for where the system names no number; macOS takes 10,240
# Not asked of the system: on Windows the registry may say anything of .js.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ipynb": "application/json",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".md": "text/plain; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".whl": "application/zip",
    ".woff2": "font/woff2",
    ".zip": "application/zip",
}
_COMPRESSED_ALREADY = {".whl", ".zip", ".png", ".woff2", ".woff", ".pdf", ".gz", ".jpg"}
_NO_FRAMES = "frame-ancestors 'self'"
_OURS_ONLY = f"default-src 'self'; style-src 'self' 'unsafe-inline'; {_NO_FRAMES}"
_POLICY = re.compile(rb'(<head><meta http-equiv="Content-Security-Policy" content=")([^"]*)')


class Buckets:
    """How much each visitor may still do: so much at once, and again so much a second; the oldest are forgotten."""

    def __init__(self, at_once: int, per_second: int) -> None:
        self.at_once, self.per_second = at_once, per_second
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __contains__(self, who: str) -> bool:
        return who in self._left

    def take(self, who: str) -> bool:
        """Whether `who` may do one thing more, which is then counted."""
        now = time.monotonic()
        left, then = self._left.pop(who, (float(self.at_once), now))
        left = min(self.at_once, left + (now - then) * self.per_second)
        self._left[who] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > MOST_BUCKETS:
            self._left.popitem(last=False)
        return left >= 1


@dataclass
class Room:
    """A room that is open: its pages, its votes, and the secrets of its two pages."""

    site: Path
    packed: Path
    votes: Votes
    address: str = ""
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FILES_AT_A_TIME))
    participants: Buckets = field(default_factory=lambda: Buckets(VOTES_AT_ONCE, VOTES_PER_SECOND))
    addresses: Buckets = field(default_factory=lambda: Buckets(NEW_AT_ONCE, NEW_PER_SECOND))
    hidden: bool = False  # the answers stay covered until the reveal
    instructor: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    projector: str = field(default_factory=lambda: secrets.token_urlsafe(12))

    @property
    def instructors_page(self) -> str:
        """Where the one who leads the room looks."""
        return f"{self.address}-/{self.instructor}/"

    @property
    def projectors_page(self) -> str:
        """What everybody sees; its address gives nobody a right to change anything."""
        return f"{self.address}-/{self.projector}/"


def pack(site: Path, folder: Path) -> None:
    """Compressed copies of the files of `site` in `folder`; every page gets the script that sends votes."""
    with ThreadPoolExecutor() as pool:  # zlib lets other threads run
        for _ in pool.map(lambda path: _pack(path, folder / path.relative_to(site)), sorted(site.rglob("*"))):
            pass


def _pack(path: Path, to: Path) -> None:
    if path.is_dir() or path.suffix in _COMPRESSED_ALREADY:
        return
    content = path.read_bytes()
    to.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".html":
        content = _POLICY.sub(_with_votes, content, count=1)
        content = content.replace(b"</head>", f"{ROOM_JS}</head>".encode(), 1)
        to.write_bytes(content)
    to.with_name(f"{to.name}.gz").write_bytes(gzip.compress(content, 9, mtime=0))


def _with_votes(policy: re.Match[bytes]) -> bytes:
    """A page's own policy, by which it may also load the room's script, and send votes."""
    allowed = {words[0]: words[1:] for words in map(bytes.split, policy[2].split(b";")) if words}
    for kind in (b"script-src", b"connect-src"):
        allowed[kind] = [*dict.fromkeys([*allowed.get(kind, []), b"'self'"])]
    return policy[1] + b"; ".join(b" ".join([kind, *sources]) for kind, sources in allowed.items())


class Guarded(RequestHandler):
    """What all answers have in common: whom they are for, what a browser may do with them, and how an error is told."""

    def set_default_headers(self) -> None:
        """No guesses and no frames elsewhere; the address, which may have a secret, is told to nobody."""
        self.set_header("Content-Security-Policy", _NO_FRAMES)
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("X-Content-Type-Options", "nosniff")

    def prepare(self) -> None:
        """403 for a foreign name that leads here (DNS rebinding), and for what a page of another site asks."""
        if not _is_ours(self.request.host_name):
            raise HTTPError(403, "ask for the room by its number, as on the projector")
        if self.request.headers.get("Origin") not in (None, f"http://{self.request.host}"):
            raise HTTPError(403, "a page of another site asks")

    def write_error(self, status_code: int, **details: Any) -> None:  # noqa: ARG002 - tornado's signature
        """One line of text, without anything that was sent to us."""
        error = details.get("exc_info", (None, None))[1]
        ours = error.log_message if isinstance(error, HTTPError) and not error.args else None
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(ours or self._reason)

    def log_exception(self, kind: Any, error: Any, traceback: Any) -> None:
        """Nothing for what a visitor did wrong: the terminal belongs to the one who leads the room."""
        if not isinstance(error, HTTPError):
            super().log_exception(kind, error, traceback)


def _is_ours(name: str) -> bool:
    """Whether a Host header without its port is nobody's name: the room's own address is a number."""
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return name == "localhost"
    return True


class Pages(Guarded, StaticFileHandler):
    """The files of the site, from their compressed copies where the browser takes these."""

    def initialize(self, room: Room) -> None:  # type: ignore[override]  # what a route of ours passes
        """Serve `room`."""
        super().initialize(str(room.site), default_filename="index.html")
        self.packed, self.suffix, self.zipped = room.packed, "", False
        self.turns, self.has_turn = room.turns, False

    async def get(self, path: str, include_body: bool = True) -> None:
        """Send a file when it is its turn."""
        if "\0" in path:  # the system would not even look for it
            raise HTTPError(404)
        await self.turns.acquire()
        self.has_turn = True
        try:
            await super().get(path, include_body)
        finally:
            self._give_the_turn_back()

    def flush(self, include_footers: bool = False) -> asyncio.Future[None]:
        """One piece of the file; whoever is slow to take it loses the turn, and is sent the rest all the same."""
        sent = super().flush(include_footers)
        return sent if include_footers else asyncio.ensure_future(self._taken(sent))

    async def _taken(self, sent: asyncio.Future[None]) -> None:
        """Wait until a piece was taken, and let others have the loop even where that was at once."""
        late = asyncio.get_running_loop().call_later(PATIENCE, self._give_the_turn_back)
        await asyncio.sleep(0)
        try:
            await sent
        finally:
            late.cancel()

    def _give_the_turn_back(self) -> None:
        if self.has_turn:
            self.has_turn = False
            self.turns.release()

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        """The file to send; tornado has seen to it that it lies within the site."""
        path = super().validate_absolute_path(root, absolute_path)
        if path is None:
            return None
        self.suffix = Path(path).suffix
        copy = self.packed / Path(path).relative_to(Path(root).resolve())
        zipped = copy.with_name(f"{copy.name}.gz")
        self.zipped = zipped.is_file()
        if self.zipped and "gzip" in self.request.headers.get("Accept-Encoding", ""):
            self.set_header("Content-Encoding", "gzip")
            return str(zipped)
        return str(copy) if copy.is_file() else path

    @classmethod
    def get_absolute_path(cls, root: str, path: str) -> str:
        """Where `path` would lie; resolved, since validation compares it with the root."""
        return str(Path(root).resolve() / path)

    def get_content_size(self) -> int:
        """Of what is sent, which may be the compressed copy."""
        return Path(self.absolute_path or "").stat().st_size

    def get_content_type(self) -> str:
        """By the name of the file, as it is before compression."""
        return TYPES.get(self.suffix) or mimetypes.guess_type(f"x{self.suffix}")[0] or "application/octet-stream"

    def set_extra_headers(self, path: str) -> None:  # noqa: ARG002 - tornado's signature
        """Caches keep the two forms of a file apart."""
        if self.zipped:
            self.set_header("Vary", "Accept-Encoding")


class Answer(Guarded):
    """What is no file: a vote, or one of the two pages."""

    def initialize(self, room: Room) -> None:
        """Serve `room`."""
        self.room = room

    def set_default_headers(self) -> None:
        """Nothing is kept, and nothing comes from elsewhere."""
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", _OURS_ONLY)

    def sent(self) -> dict[str, str]:
        """The body: a flat JSON object of texts.  A form of another web site cannot send this type."""
        if not self.request.headers.get("Content-Type", "").startswith("application/json"):
            raise HTTPError(415, "expected application/json")
        if len(self.request.body) > LONGEST_BODY:
            raise HTTPError(413, f"expected at most {LONGEST_BODY} bytes")
        try:
            body = json.loads(self.request.body)
        except (ValueError, RecursionError):
            raise HTTPError(400, "expected JSON") from None
        if not isinstance(body, dict) or not all(isinstance(value, str) for value in body.values()):
            raise HTTPError(400, "expected an object of texts")
        return body


class Vote(Answer):
    """POST /-/vote: question, answer, participant."""

    def post(self) -> None:
        """Count one vote: 204, or a line that says why not."""
        body = self.sent()
        question, answer, who = (body.get(name, "") for name in ("question", "answer", "participant"))
        if not self._may(who[:64]):
            raise HTTPError(429, "too many votes at once; the last one counted")
        try:
            self.room.votes.vote(question, answer, who)
        except ValueError as error:
            raise HTTPError(400, str(error).replace("%", "%%")) from None
        except RoomFullError as error:
            raise HTTPError(503, str(error)) from None
        self.set_status(204)

    def _may(self, who: str) -> bool:
        """Whether a vote is not one too many of its participant, nor he one too many from his address."""
        participants, addresses = self.room.participants, self.room.addresses
        known = who in participants or addresses.take(self.request.remote_ip or "")
        return known and participants.take(who)


class Page(Answer):
    """The instructor's page and the projector's: /-/SECRET/ and what stands below it."""

    def prepare(self) -> None:
        """404 for everybody who does not know the secret: there is nothing to be guessed at."""
        super().prepare()
        key = self.path_args[0]
        self.leads = secrets.compare_digest(key, self.room.instructor)
        if not self.leads and not secrets.compare_digest(key, self.room.projector):
            raise HTTPError(404)

    def get(self, _key: str, what: str) -> None:
        """The page, the board, the address as a picture, the votes as a table."""
        room = self.room
        if what == "":
            self.set_header("Content-Type", TYPES[".html"])
            self.finish((STATIC / ("instructor.html" if self.leads else "projector.html")).read_bytes())
        elif what == "board":
            state = room.votes.board() | {"address": room.address, "hidden": room.hidden}
            self.finish(state | {"projector": room.projectors_page} if self.leads else state)
        elif what == "qr.svg":
            self.set_header("Content-Type", TYPES[".svg"])
            picture = io.BytesIO()
            segno.make(room.address, error="m").save(picture, kind="svg", scale=8)
            self.finish(picture.getvalue())
        elif what == "votes.csv" and self.leads:
            self.set_header("Content-Type", "text/csv; charset=utf-8")
            self.set_header("Content-Disposition", 'attachment; filename="votes.csv"')
            self.finish(room.votes.csv())
        else:
            raise HTTPError(404)

    def post(self, _key: str, what: str) -> None:
        """What only the instructor does: show, reveal, clear, hide."""
        if not self.leads:
            raise HTTPError(404)
        body, votes = self.sent(), self.room.votes
        try:
            match what:
                case "show":
                    votes.show(body.get("question", ""))
                case "reveal":
                    votes.reveal(body.get("question", ""))
                case "clear":
                    votes.clear()
                case "hide":
                    self.room.hidden = body.get("hidden") == "yes"
                case _:
                    raise HTTPError(404)
        except ValueError as error:
            raise HTTPError(400, str(error)) from None
        self.set_status(204)


class Shared(Answer):
    """The scripts and styles of the room's own pages."""

    NAMES = ("room.js", "board.js", "board.css")

    def get(self, name: str) -> None:
        """One of NAMES."""
        self.set_header("Content-Type", TYPES[Path(name).suffix])
        self.finish((STATIC / name).read_bytes())


def application(room: Room) -> Application:
    """The room as tornado serves it."""
    passed = {"room": room}
    return Application(
        [
            (r"/-/vote", Vote, passed),
            (rf"/-/({'|'.join(Shared.NAMES)})", Shared, passed),
            (r"/-/([\w-]{8,64})/([\w.]*)", Page, passed),
            (r"/?(.*)", Pages, passed),  # whatever it is: tornado's own handler of what is nowhere is not guarded
        ],
        log_function=lambda _: None,
    )


class Server(HTTPServer):
    """A server that ends at once the connections for which the process has no files left, and keeps serving others."""

    most = sys.maxsize

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Serve one connection more."""
        if len(self._connections) < self.most:
            super().handle_stream(stream, address)
        else:
            stream.close()


@contextlib.contextmanager
def opened(site: Path, votes: Votes, *, lan: bool = False, port: int = 0) -> Iterator[Room]:
    """A room whose server takes connections while asyncio's loop of this thread runs.

    Port 0 is any free one.  OSError where the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="efimm-room-") as packed, _clean_terminal():
        pack(site, Path(packed))
        sockets = bind_sockets(port, "" if lan else "127.0.0.1", family=socket.AF_INET, backlog=BACKLOG)
        host = own_address() if lan else "127.0.0.1"
        room = Room(site, Path(packed), votes, f"http://{host}:{sockets[0].getsockname()[1]}/")
        server = Server(
            application(room),
            max_body_size=4 * LONGEST_BODY,
            max_header_size=16 << 10,
            idle_connection_timeout=60,
            body_timeout=10,
        )
        server.most = (_files_allowed() - FILES_BESIDE) // 2  # each may be sent a file, which is then open
        server.add_sockets(sockets)
        try:
            yield room
        finally:
            server.stop()


def own_address() -> str:
    """Where the local network finds this computer.  Nothing is sent: the system only chooses the way it would take."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            way.connect(("192.0.2.1", 9))  # an address that belongs to nobody (RFC 5737)
            return str(way.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _files_allowed() -> int:
    """How many files this process may have open, once it has asked for as many as it can get."""
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return 2 * 512  # its select() takes 512 connections, and files do not count
    files, infinity = resource.RLIMIT_NOFILE, resource.RLIM_INFINITY
    now, most = resource.getrlimit(files)
    for wanted in (most, *FILES_WITHOUT_LIMIT):
        with contextlib.suppress(ValueError, OSError):  # more than it may be, or than this system counts
            resource.setrlimit(files, (max(now, wanted), most))
            break
    now, _ = resource.getrlimit(files)
    return min(FILES_WITHOUT_LIMIT) if now == infinity else now


class _Printable(logging.Formatter):
    """Lines without anything that drives a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as usual, what is not printable as an escape."""
        return "\n".join(map(printable, super().format(record).split("\n")))


@contextlib.contextmanager
def _clean_terminal() -> Iterator[None]:
    """Faults of the server are told in printable characters meanwhile; what visitors do wrong is not told at all."""
    said = logging.StreamHandler()
    said.setFormatter(_Printable())
    said.addFilter(lambda record: record.name != "tornado.general")  # about requests that are none
    loggers = [logging.getLogger(name) for name in ("tornado", "asyncio")]
    for logger in loggers:
        logger.addHandler(said)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(said)


def terminal_qr(address: str) -> str:
    """The address as a QR code in block characters."""
    out = io.StringIO()
    segno.make(address, error="l").terminal(out, compact=True)
    return out.getvalue()
