"""The room: votes are counted as they should be, nobody spoils it for the others, and the projector's page moves."""

import asyncio
import contextlib
import gzip
import http.client
import json
import logging
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import nbformat
import pytest
from test_browser import chromium

from efimm.room import server
from efimm.room.votes import MOST_PARTICIPANTS, Question, RoomFullError, Votes, questions

__all__ = ["chromium"]
ASKED = [Question("00-first", "Slots?"), Question("00-first", "Which?"), Question("01-second", "How many?")]
ANN, BEN = "a" * 16, "b" * 16


# Counting


def test_the_last_vote_of_a_participant_counts():
    votes = Votes(ASKED)
    for answer in ("1", "2", " 3 "):
        votes.vote("Slots?", answer, ANN)
    votes.vote("Slots?", "2", BEN)

    assert votes.counts("Slots?", after=False) == {"3": 1, "2": 1}


def test_votes_before_and_after_the_reveal_stand_beside_each_other():
    votes = Votes(ASKED)
    votes.vote("Slots?", "1", ANN)
    votes.reveal("Slots?")
    votes.vote("Slots?", "2", ANN)

    assert votes.counts("Slots?", after=False) == {"1": 1}
    assert votes.counts("Slots?", after=True) == {"2": 1}
    assert votes.board()["questions"][0]["answered"] == 1


@pytest.mark.parametrize(
    ("question", "answer", "who"),
    [
        ("Nobody asked this", "1", ANN),
        ("Slots?", "", ANN),
        ("Slots?", "   ", ANN),
        ("Slots?", "x" * 41, ANN),
        ("Slots?", "a\x00b", ANN),
        ("Slots?", "1", ""),
        ("Slots?", "1", "Ann"),
        ("Slots?", "1", "a" * 65),
    ],
)
def test_what_is_no_vote_is_refused(question, answer, who):
    votes = Votes(ASKED)

    with pytest.raises(ValueError, match=r"no such question|16 to 64|1 to 40"):
        votes.vote(question, answer, who)
    assert votes.board()["participants"] == 0


def test_a_room_has_an_end():
    votes = Votes(ASKED)
    for number in range(MOST_PARTICIPANTS):
        votes.vote("Slots?", "1", f"{number:016x}")

    with pytest.raises(RoomFullError):
        votes.vote("Slots?", "1", "f" * 16)
    votes.vote("Slots?", "2", f"{0:016x}")
    assert votes.counts("Slots?", after=False)["2"] == 1


def test_the_table_has_every_count_and_no_formula():
    votes = Votes(ASKED)
    votes.vote("Slots?", "=1+1", ANN)
    votes.reveal("Slots?")
    votes.vote("Slots?", "2", ANN)

    assert votes.csv().splitlines()[1:] == ["00-first,Slots?,before,'=1+1,1", "00-first,Slots?,after,2,1"]


def test_a_cleared_room_has_nothing():
    votes = Votes(ASKED)
    votes.vote("Slots?", "1", ANN)
    votes.reveal("Slots?")
    votes.clear()

    assert votes.board()["participants"] == 0
    assert votes.revealed == set()


def test_every_prediction_of_the_series_is_a_question_with_a_name_of_its_own():
    found = questions()

    assert len(found) > 50
    assert len({question.text for question in found}) == len(found)


# Serving


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text("<html><head></head><body>" + "page " * 5000 + "</body></html>")
    (folder / "code.mjs").write_text("export default 1;" * 1000)
    (folder / "big.wasm").write_bytes(bytes(range(256)) * 20000)
    (folder / "a.whl").write_bytes(b"PK")
    (folder.parent / "secret.txt").write_text("not yours")
    return folder


@contextmanager
def open_room(site, asked=ASKED):
    """A room with its loop in a thread."""
    loop, there, done = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found = {}

    async def serve():
        with server.opened(site, Votes(asked)) as room:
            found["room"] = room
            there.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert there.wait(60)
    try:
        yield found["room"]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(20)
        loop.close()


@pytest.fixture
def room(site):
    with open_room(site) as opened:
        yield opened


def ask(room, method, path, body=None, sender="127.0.0.1", **headers):
    """Status, headers and body of the answer."""
    host, port = re.fullmatch(r"http://(.*):(\d+)/", room.address).groups()
    line = http.client.HTTPConnection(host, int(port), timeout=20, source_address=(sender, 0))
    line.request(method, path, body, headers)
    answer = line.getresponse()
    result = answer.status, dict(answer.getheaders()), answer.read()
    line.close()
    return result


def vote(room, question="Slots?", answer="1", participant=ANN, sender="127.0.0.1"):
    body = json.dumps({"question": question, "answer": answer, "participant": participant})
    return ask(room, "POST", "/-/vote", body, sender, **{"Content-Type": "application/json"})[0]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/code.mjs", "text/javascript; charset=utf-8"),
        ("/big.wasm", "application/wasm"),
        ("/a.whl", "application/zip"),
    ],
)
def test_files_have_their_types_and_come_compressed_where_that_helps(room, site, path, kind):
    status, headers, body = ask(room, "GET", path, **{"Accept-Encoding": "gzip"})
    plain = ask(room, "GET", path)[2]

    assert (status, headers["Content-Type"]) == (200, kind)
    zipped = path != "/a.whl"
    assert headers.get("Content-Encoding") == ("gzip" if zipped else None)
    assert (gzip.decompress(body) if zipped else body) == plain
    if path == "/":
        assert b"/-/room.js" in plain
    else:
        assert plain == (site / path[1:]).read_bytes()


@pytest.mark.parametrize("path", ["/../secret.txt", "/%2e%2e/secret.txt", "//etc/passwd", "/nothing", "/-/", "/-/vote"])
def test_nothing_outside_the_site_is_served(room, path):
    status, _, body = ask(room, "GET", path)

    assert status in {403, 404, 405}
    assert b"not yours" not in body


def test_this_computer_alone_is_served_unless_the_network_is_asked_for(room):
    assert room.address.startswith("http://127.0.0.1:")


def test_votes_are_counted_and_only_the_two_pages_tell(room):
    assert vote(room) == 204
    for page in (room.instructor, room.projector):
        status, _, body = ask(room, "GET", f"/-/{page}/board")
        assert (status, json.loads(body)["before"]["answers"]) == (200, [["1", 1]])
    assert ask(room, "GET", "/-/another-secret/board")[0] == 404
    assert ask(room, "GET", f"/-/{room.projector}/votes.csv")[0] == 404


@pytest.mark.parametrize("act", ["reveal", "clear", "show", "hide"])
def test_only_the_instructor_acts(room, act):
    body, kind = json.dumps({"question": "Slots?", "hidden": "yes"}), {"Content-Type": "application/json"}
    for key in (room.projector, "another-secret"):
        assert ask(room, "POST", f"/-/{key}/{act}", body, **kind)[0] == 404
    assert ask(room, "POST", f"/-/{room.instructor}/{act}", body, **kind)[0] == 204


def test_a_form_of_another_web_site_cannot_vote(room):
    body = json.dumps({"question": "Slots?", "answer": "1", "participant": ANN})

    assert ask(room, "POST", "/-/vote", body, **{"Content-Type": "text/plain"})[0] == 415


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "7", '{"question": 7}', '{"question": {}}', "[" * 900, '"' + "x" * 1000 + '"', "\xff" * 200]
)
def test_a_malformed_body_is_refused_and_the_next_vote_counts(room, body):
    kind = {"Content-Type": "application/json"}

    assert ask(room, "POST", "/-/vote", body.encode("latin-1"), **kind)[0] in {400, 413}
    assert vote(room) == 204


def test_an_oversized_body_is_refused_before_it_is_read(room):
    host, port = room.address[7:-1].split(":")
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall(
            b"POST /-/vote HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n"
        )
        assert b" 400 " in line.recv(100) or line.recv(100) == b""
    assert vote(room) == 204


def test_slow_clients_disturb_nobody(room):
    host, port = room.address[7:-1].split(":")
    lines = [socket.create_connection((host, int(port)), timeout=20) for _ in range(200)]
    for number, line in enumerate(lines):  # half of them never end their question, half never read the answer
        line.sendall(b"GET /big.wasm HTTP/1.1\r\nHost: localhost\r\n" + (b"" if number % 2 else b"\r\n"))
    try:
        assert vote(room) == 204
        assert ask(room, "GET", "/code.mjs")[0] == 200
    finally:
        for line in lines:
            line.close()


def test_one_participant_who_votes_all_the_time_is_one_and_nobody_else_waits(room):
    found = [vote(room, answer=str(number)) for number in range(60)]

    assert set(found) == {204, 429}
    assert found[:20] == [204] * 20
    assert vote(room, participant=BEN) == 204
    _, _, body = ask(room, "GET", f"/-/{room.projector}/board")
    assert json.loads(body)["participants"] == 2
    assert json.loads(body)["before"]["answered"] == 2


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is another sender here")
def test_who_invents_participants_keeps_out_neither_others_nor_those_who_are_in(room, site):
    room.addresses.per_second = 0
    assert vote(room) == 204
    found = [vote(room, participant=f"{number:016x}") for number in range(300)]

    assert found == [204] * 199 + [429] * 101  # a lecture hall may stand behind one address
    assert vote(room) == 204
    assert vote(room, participant=BEN, sender="127.0.0.2") == 204
    with open_room(site) as another:
        assert vote(another, participant=BEN) == 204


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"},
        {"Host": "localhost.rebound.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "rebound.example", "Origin": "http://rebound.example"},
    ],
)
def test_a_foreign_name_and_a_foreign_page_are_refused(room, headers):
    for path in ("/", "/-/room.js", f"/-/{room.projector}/board"):
        assert ask(room, "GET", path, **headers)[0] == 403


def test_an_address_and_localhost_are_answered(room):
    for host in ("localhost", "LOCALHOST:80", "192.168.1.2:8017", "[::1]:8017"):
        assert ask(room, "GET", "/", Host=host, Origin=f"http://{host}")[0] == 200


def sent_raw(address, path):
    """The first line and the headers of the answer to a path that clients would rewrite."""
    host, port = address[7:-1].split(":")
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return line.recv(4096).decode("latin-1").partition("\r\n\r\n")[0]


@pytest.mark.parametrize(
    ("path", "status"),
    [("//%1b%5b2Jspoilt", 403), ("/%00", 404), ("/a%00b", 404), ("/%1b%5b2J", 404), ("/%ff", 400), ("*", 404)],
)
def test_errors_are_guarded_as_pages_are(room, path, status):
    answer = sent_raw(room.address, path)

    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert "frame-ancestors 'self'" in answer
    assert "X-Content-Type-Options: nosniff" in answer
    assert "Referrer-Policy: no-referrer" in answer


def test_requests_that_are_none_are_not_told_and_faults_in_printable_characters(capsys):
    with server._clean_terminal():
        logging.getLogger("tornado.general").warning("GET \x1b[2J")
        logging.getLogger("tornado.application").error("Uncaught \x1b[2J")

    assert capsys.readouterr().err == "Uncaught \\x1b[2J\n"


def test_the_oldest_of_very_many_visitors_are_forgotten():
    buckets = server.Buckets(2, 1)
    for who in range(20_001):
        buckets.take(str(who))

    assert "0" not in buckets
    assert "1" in buckets


def test_pages_are_shown_in_no_frame_of_others(room):
    assert ask(room, "GET", "/")[1]["Content-Security-Policy"] == "frame-ancestors 'self'"


ROOM_WITH_FEW_FILES = """
import asyncio, os, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from efimm.room import server, votes

async def serve():
    with server.opened(Path(sys.argv[1]), votes.Votes([])) as room:
        print(room.address, len(os.listdir("/dev/fd")), flush=True)
        await asyncio.sleep(600)

asyncio.run(serve())
"""


@contextmanager
def room_of_its_own(site):
    """The address of a room in another process, which may have few files; in the end it has said nothing."""
    command = [sys.executable, "-c", ROOM_WITH_FEW_FILES, str(site)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as room:
        try:
            address, files = room.stdout.readline().split()
            assert int(files) <= server.FILES_BESIDE, "more than is kept free for it"
            yield address
        finally:
            room.kill()
            said = room.communicate()[1]
    assert said == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_what_a_visitor_asks_is_not_written_into_the_terminal(site):
    with room_of_its_own(site) as address:
        for path in ("//%1b%5b2Jspoilt", "/%1b%5b2J", "/%00", "/%ff"):
            assert sent_raw(address, path).startswith("HTTP/1.1 4")


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_more_connections_than_files_disturb_nobody_who_is_there(site):
    with room_of_its_own(site) as address, contextlib.ExitStack() as open_ones:
        port = int(address[:-1].rpartition(":")[2])
        there = open_ones.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)))
        there.request("GET", "/code.mjs")
        assert there.getresponse().read()
        others = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(200)]
        for line in others:
            open_ones.enter_context(line)
        assert others[-1].recv(1) == b""
        there.request("GET", "/code.mjs")
        assert there.getresponse().status == 200


@pytest.mark.skipif(sys.platform == "win32", reason="no limit to set")
@pytest.mark.parametrize(("limit", "asked"), [((256, 2**63 - 1), 10_240), ((20_000, 2**63 - 1), 20_000)])
def test_a_limit_without_a_number_is_asked_for_in_steps(monkeypatch, limit, asked):
    import resource

    kept = [limit]

    def set_limit(_, wanted):
        if wanted[0] > 30_000:  # as macOS has it
            raise ValueError("not so many")
        kept.append(wanted)

    monkeypatch.setattr(resource, "RLIM_INFINITY", 2**63 - 1)
    monkeypatch.setattr(resource, "getrlimit", lambda _: kept[-1])
    monkeypatch.setattr(resource, "setrlimit", set_limit)

    assert server._files_allowed() == asked
    assert kept[-1] == (asked, 2**63 - 1)


def test_a_local_jupyterlab_votes_through_its_kernel(room, monkeypatch):
    from efimm.course.boxes import predict

    monkeypatch.setenv("EFIMM_ROOM", room.address)
    predict("Slots?", 1).guess = {"text": "42", "number": 1}

    for _ in range(100):
        board = json.loads(ask(room, "GET", f"/-/{room.projector}/board")[2])
        if board["participants"]:
            break
        threading.Event().wait(0.1)
    assert board["before"]["answers"] == [["42", 1]]


def test_no_room_means_no_word_to_anybody(monkeypatch):
    from efimm.course import boxes

    monkeypatch.delenv("EFIMM_ROOM", raising=False)
    monkeypatch.setattr(boxes, "urlopen", lambda *_, **__: pytest.fail("it spoke to somebody"))
    boxes.predict("Slots?", 1).guess = {"text": "42", "number": 1}


# In a browser

PAGE = """<!doctype html><html><head><title>x</title></head><body><button onclick="window.dispatchEvent(new CustomEvent(
'efimm-prediction', {detail: {question: 'Slots?', answer: this.textContent}}))">ANSWER</button></body></html>"""


@pytest.mark.browser
def test_a_page_of_the_site_votes_and_its_policy_allows_it(chromium, tmp_path):
    export = pytest.importorskip("efimm.course.export")
    source = "from efimm.course import predict\npredict('Slots?', 1)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbformat.write(notebook, tmp_path / "asks.ipynb")
    html = export.page(export.executed(tmp_path / "asks.ipynb"), "asks")
    (tmp_path / "asks.html").write_text(html, encoding="utf-8")
    said = []
    with open_room(tmp_path) as room:
        page = chromium.new_page()
        page.on("console", lambda words: said.append(words.text))
        page.goto(f"{room.address}asks.html")
        page.locator("form.prediction input").first.fill("42")
        with page.expect_response("**/-/vote") as answer:
            page.locator("form.prediction input").first.press("Enter")
        page.close()
        assert answer.value.status == 204
        assert room.votes.board()["participants"] == 1
    assert [words for words in said if "Content Security Policy" in words] == []


def test_a_policy_is_widened_once():
    policy = b"script-src 'sha256-a' 'self'; connect-src 'self'; img-src data:"
    found = server._POLICY.sub(
        server._with_votes, b'<head><meta http-equiv="Content-Security-Policy" content="%s">' % policy
    )

    assert found.endswith(b'content="%s">' % policy)


@pytest.mark.browser
def test_two_browsers_vote_and_the_projector_moves(chromium, tmp_path):
    for answer in ("one", "two<b>"):
        (tmp_path / f"{answer[:3]}.html").write_text(PAGE.replace("ANSWER", answer.replace("<", "&lt;")))
    with open_room(tmp_path) as room:
        projector = chromium.new_page(viewport={"width": 1366, "height": 768})
        projector.goto(room.projectors_page)
        projector.get_by_text("0 people answered").wait_for()
        for name, count in (("one", "1 person answered of 1"), ("two", "2 people answered of 2")):
            context = chromium.new_context()
            page = context.new_page()
            page.goto(f"{room.address}{name}.html")
            page.get_by_role("button").click()
            projector.get_by_text(count).wait_for()
            context.close()
        assert projector.locator("tbody th").all_inner_texts() == ["one", "two<b>"]

        leader = chromium.new_page()
        leader.goto(room.instructors_page)
        leader.get_by_role("button", name="Reveal").click()
        projector.get_by_text("after the reveal 0 people").wait_for()
        leader.get_by_role("button", name="Copy link").click()
        leader.get_by_text("Copied").wait_for()
        height = projector.evaluate("document.documentElement.scrollHeight")
        for page in (projector, leader):
            page.close()
    assert height <= 768
