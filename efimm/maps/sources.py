"""Logs as they come: packed, in a mail, as JSON, in HTML, in UTF-16; each is turned into the text that was meant.

Plain text is read as it is needed.  What is encoded is unpacked in memory, at most 32 MiB of it: a file of some
kilobytes may unpack to a gigabyte.

What browsers and terminals do to a log is undone line by line: no-break spaces, HTML, colours.
"""

from __future__ import annotations

import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from .errors import MapError, printable

if TYPE_CHECKING:
    from email.message import Message

LARGEST_ENCODED = 32 << 20
_DEEPEST = 4  # a packed attachment of a mail in a packed file
_XZ_MEMORY = 128 << 20

_HEAD = 1 << 16  # the first headers of a mail, signatures among them, may take 10 KiB
# Byte order mark and one ASCII character: the mark alone may be two stray bytes of a serial line.
_UTF_16 = re.compile(rb"\xff\xfe[^\x00]\x00|\xfe\xff\x00[^\x00]")
_UTF_16_LE, _UTF_16_BE = re.compile(rb"(?:[\t\r\n -~]\x00){8}"), re.compile(rb"(?:\x00[\t\r\n -~]){8}")
_HEADER = rb"[\w-]{2,60}:[^\n]{0,998}\n|[ \t][^\n]{0,998}\n"
_MAIL = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:[ \t\r]{0,80}\n){0,20}(?=[\w-])"
    rb"(?:From [^\n]{1,200}\n|(?!Content-)[\w-]{2,40}:[ \t][^\n]{0,998}\n|(?=Content-T))(?:" + _HEADER + rb")*?"
    rb"(?i:From|Subject|Message-ID|MIME-Version|Content-Type|Content-Transfer-Encoding): "
)
_MBOX = re.compile(rb"^(?=From \S{1,200} [^\n]{1,60}\d{4}[^\n]{0,20}\r?\n)", re.MULTILINE)
_JSON = re.compile(rb"\s*(?:data: )?[\[{]\s*(?:[\[{]\s*)?(?:\"|\{)")
_HTML = re.compile(rb"\s*(?:<!doctype html|<html|<head|<body)", re.IGNORECASE)
_MESSAGE = re.compile(
    r'"(?:MESSAGE|message|msg|log|line|text)"\s*:\s*(?:(?P<text>"[^"\\]*+(?:\\.[^"\\]*+)*+")|\[(?P<bytes>[0-9,\s]*)\])'
)
# The last one may be cut; a string that ended nowhere would be looked for again from every quote in it.
_STRING = re.compile(r'"(?P<text>[^"\\]*+(?:\\.[^"\\]*+)*+)(?:"(?P<name>\s*+:)?|\\?\Z)', re.DOTALL)
_BREAK_ALONE = re.compile(r"<(?:br|/p|/div|/tr|/li|/pre)\b[^<>]{0,400}>(?!\n)", re.IGNORECASE)
_NOT_READ = {
    b"\x28\xb5\x2f\xfd": "packed with zstd; expected what `zstdcat` makes of it",
    b"\x04\x22\x4d\x18": "packed with lz4; expected what `lz4cat` makes of it",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; expected the log in it",
    b"LPKSHHRH": "a journal's own file; expected what `journalctl -k -b --file=` prints of it",
    b"\x89PNG": "a picture; expected the text on it",
    b"\xff\xd8\xff": "a picture; expected the text on it",
    b"%PDF": "a PDF; expected the text in it",
    b"\x7fELF": "an ELF file; expected a log",
}
_TAR, _ZIP = b"ustar", b"PK\x03\x04"


def decoded(stream: BinaryIO) -> TextIO:
    """`stream` as the text that was meant, read as it is needed; MapError for what is packed otherwise or too large."""
    return _decoded(_peekable(stream), 0)


def _decoded(stream: io.BufferedReader, depth: int) -> TextIO:
    head = stream.peek(_HEAD)[:_HEAD]
    for magic, words in _NOT_READ.items():
        if head.startswith(magic):
            raise MapError(f" this is {words}")
    if head.startswith(_ZIP) or head[257:262] == _TAR:
        return io.StringIO("\n".join(_members(_all(stream), depth)), newline="\n")
    for magic, unpack in _PACKED.items():
        if head.startswith(magic):
            return _unpacked(stream, unpack, depth)
    for pattern, turn in _ENCODED:
        if pattern.match(head):
            return io.StringIO(turn(_all(stream), depth), newline="\n")
    return io.TextIOWrapper(stream, encoding=_encoding(head), errors=_errors(head), newline="\n")


def _encoding(head: bytes) -> str:
    if _UTF_16.match(head):
        return "utf-16"
    if _UTF_16_LE.match(head):
        return "utf-16-le"
    return "utf-16-be" if _UTF_16_BE.match(head) else "utf-8"


def _errors(head: bytes) -> str:
    """Bytes that are no UTF-8 stay told apart, since one of them is the no-break space of Latin-1."""
    return "surrogateescape" if _encoding(head) == "utf-8" else "replace"


def _unpacked(stream: io.BufferedReader, unpack: Callable[[BinaryIO], Any], depth: int) -> TextIO:
    """The text in a packed stream, which may be packed or a mail again."""
    if depth >= _DEEPEST:
        raise MapError(f" packed more than {_DEEPEST} times; expected a log")
    try:
        data = _all(io.BufferedReader(_Raw(unpack(stream))))
    except (OSError, EOFError, zlib.error) as error:
        raise MapError(f" damaged packed file: {error or 'it ends too early'}; expected a whole one") from None
    return _decoded(_peekable(io.BytesIO(data)), depth + 1)


def _all(stream: io.BufferedReader) -> bytes:
    """Everything in the stream; MapError when that is too much for an encoded log."""
    data = stream.read(LARGEST_ENCODED + 1)
    if len(data) > LARGEST_ENCODED:
        limit = f"more than {LARGEST_ENCODED >> 20} MiB of packed or encoded text"
        raise MapError(f" {limit}; expected the log of one boot, or plain text")
    return data


def _members(data: bytes, depth: int) -> Iterator[str]:
    """The text of each log in an archive; what is no text is passed over."""
    left = LARGEST_ENCODED
    contents = (_in_zip if data.startswith(_ZIP) else _in_tar)(data)
    while True:
        try:
            content = next(contents, None)
        except Exception as error:  # a damaged archive: tarfile and zipfile raise errors of a dozen kinds
            raise MapError(f" damaged archive: {printable(str(error))[:80]}; expected a whole one") from None
        if content is None:
            return
        left -= len(content)
        if left < 0:
            raise MapError(f" an archive of more than {LARGEST_ENCODED >> 20} MiB; expected the log of one boot")
        yield _text_in(content, depth)


def _in_tar(data: bytes) -> Iterator[bytes]:
    import tarfile  # noqa: PLC0415

    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            if file is not None:
                yield file.read(LARGEST_ENCODED + 1)


def _in_zip(data: bytes) -> Iterator[bytes]:
    import zipfile  # noqa: PLC0415

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                yield file.read(LARGEST_ENCODED + 1)


def _text_in(data: bytes, depth: int) -> str:
    """What lies inside something else as text; "" where it is no log."""
    if depth >= _DEEPEST:
        return data.decode("utf-8", "surrogateescape")
    try:
        with _decoded(_peekable(io.BytesIO(data)), depth + 1) as text:
            return text.read(LARGEST_ENCODED)
    except MapError:
        return ""  # a picture, an archive: other parts may have a log


class _Xz(io.RawIOBase):
    """An xz stream, unpacked with little memory; `LZMAFile` takes what the file asks for."""

    def __init__(self, stream: BinaryIO) -> None:
        import lzma  # noqa: PLC0415

        self._stream, self._unpack, self._error = stream, lzma.LZMADecompressor(memlimit=_XZ_MEMORY), lzma.LZMAError

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's name for it is private
        data = b""
        while not data and not self._unpack.eof:
            packed = self._stream.read(1 << 16) if self._unpack.needs_input else b""
            if self._unpack.needs_input and not packed:
                raise EOFError("it ends too early")
            try:
                data = self._unpack.decompress(packed, len(buffer))
            except self._error as error:
                raise OSError(str(error)) from None
        buffer[: len(data)] = data
        return len(data)


def _gunzip(stream: BinaryIO) -> Any:
    import gzip  # noqa: PLC0415 - these are imported where they are used: most logs are plain text, and start at once

    return gzip.GzipFile(fileobj=stream)


def _bunzip(stream: BinaryIO) -> Any:
    import bz2  # noqa: PLC0415

    return bz2.BZ2File(stream)


_PACKED: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": _gunzip,
    b"\xfd7zXZ\x00": lambda stream: io.BufferedReader(_Xz(stream)),
    b"BZh": _bunzip,
}


def _text_of_mail(data: bytes, depth: int) -> str:
    """The texts and the attached logs of a mail, or of the mails of a mailbox, one after the other."""
    import email  # noqa: PLC0415

    mails = [mail for mail in _MBOX.split(data.removeprefix(b"\xef\xbb\xbf").lstrip()) if mail.strip()]
    return "\n".join(text for mail in mails for text in _parts(email.message_from_bytes(mail), depth))


def _parts(mail: Message, depth: int) -> Iterator[str]:
    alternative = mail.get_content_type() == "multipart/alternative"
    if mail.is_multipart():
        payload: list[Message] = [part for part in mail.get_payload() if not isinstance(part, str)]
        plain = [part for part in payload if not alternative or _is_plain(part)]
        for part in plain or payload:
            yield from _parts(part, depth)
    elif mail.get_content_maintype() in ("text", "application"):
        yield _text_of_part(mail, depth)


def _is_plain(part: Message) -> bool:
    """Whether a part is plain text, and not the empty one of a mailer that writes HTML alone."""
    return part.get_content_type() == "text/plain" and bool(str(part.get_payload()).strip())


def _text_of_part(part: Message, depth: int) -> str:
    """One part as text; "" where it is no log."""
    try:
        content = part.get_payload(decode=True)
    except ValueError:
        return ""
    data = content if isinstance(content, bytes) else b""
    charset = part.get_content_charset("utf-8")
    if part.get_content_maintype() == "text" and charset not in ("utf-8", "us-ascii"):
        with suppress(LookupError, ValueError):  # a character set unknown to Python; ASCII in it will do
            data = data.decode(charset, "replace").encode("utf-8", "replace")
    if part.get_content_type() == "text/html":
        return _text_of_html(data, depth)
    return data.decode("utf-8", "surrogateescape") if _MAIL.match(data[:_HEAD]) else _text_in(data, depth)


def _text_of_json(data: bytes, _depth: int) -> str:
    """The messages in what `journalctl -o json`, `dmesg --json` and the logs of containers hold, in their order.

    Where they have less than half of the lines, the log stands under a name of its own: then every string is taken.
    """
    text = data.decode("utf-8", "replace")
    messages = "\n".join(map(_message, _MESSAGE.finditer(text)))
    if messages and text.count("\\n") <= 2 * (messages.count("\n") + 1):
        return messages
    return "\n".join(_string(f'"{found["text"]}"') for found in _STRING.finditer(text) if _may_be_log(found))


def _may_be_log(found: re.Match[str]) -> bool:
    """Whether a string is no name and has a log's length: of ids there may be millions, and a blob is one long line."""
    start, end = found.span("text")
    return end - start >= SHORTEST_LINE and not found["name"] and (end - start < LONGEST_LINE or "\\n" in found["text"])


def _message(found: re.Match[str]) -> str:
    if found["text"] is None:
        codes = (int(number[-3:]) & 0xFF for number in found["bytes"].replace(",", " ").split())
        return bytes(codes).decode("utf-8", "replace")
    return _string(found["text"])


def _string(quoted: str) -> str:
    """What a string of JSON says, without the end of its last line."""
    if "\\" not in quoted:
        return quoted[1:-1]
    try:
        return str(json.loads(quoted, strict=False)).rstrip("\n")
    except ValueError:
        return quoted


def _text_of_html(data: bytes, _depth: int) -> str:
    """A page's text: line by line it is cleaned as any log's lines are."""
    text = data.decode("utf-8", "surrogateescape")
    return _BREAK_ALONE.sub(lambda tag: f"{tag[0]}\n", text)


_ENCODED: tuple[tuple[re.Pattern[bytes], Callable[[bytes, int], str]], ...] = (
    (_MAIL, _text_of_mail),
    (_JSON, _text_of_json),
    (_HTML, _text_of_html),
)


def _peekable(stream: BinaryIO) -> io.BufferedReader:
    """`stream` with a first look at it, which may be as short as what a pipe has ready."""
    return io.BufferedReader(_Raw(stream), buffer_size=max(_HEAD, io.DEFAULT_BUFFER_SIZE))


class _Raw(io.RawIOBase):
    """Any object with `read` as something that can be buffered, and that stays open when the buffer is closed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's name for it is private
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


LONGEST_LINE = 1 << 16  # the journal cuts its own at 48 KiB (LineMax in journald.conf)
SHORTEST_LINE = 12  # of a log in JSON
LARGEST_LOG = 1 << 28
MOST_LINES = 2_000_000

# Colours of dmesg, cursor movements of a serial console, character sets that `tput sgr0` chooses; the escape character
# as it came, as editors and rsyslog show it, or lost, which leaves colours alone to be told from text.
_CSI = re.compile(
    r"(?:\x1b|\^\[|<ESC>|ESC(?=[\[(])|\u241b|#033|\\(?:e|E|033|x1[bB]|u001[bB]))"
    r"(?:\[[0-?]{0,40}[ -/]{0,4}[@-~]|[()][0-9AB]|[=>78])|#015$|(?:\(B)?\[[0-9]{1,3}(?:;[0-9]{1,3}){0,8}m(?!\])|\(B\[m"
)
_CODE = re.compile(r"\x1b|\[[0-9;]{0,40}[mKJ](?!em )|\^\[|\(B|#015$")  # begun by single characters, it is quick
_UNCLEAN = re.compile(rf"<|&|{_CODE.pattern}")  # begun by single characters, too
_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/li|/pre)\b[^<>]{0,200}>", re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:a|b|blockquote|code|div|em|font|html|i|li|p|pre|small|span|strong|td|tr|tt|u|wbr)\b[^<>]{0,400}>",
    re.IGNORECASE,
)
_ENTITY = re.compile(
    r"&(?:#[0-9]{1,7}|#x[0-9a-fA-F]{1,6}|nbsp|lt|gt|amp|quot|apos|lbrack|rbrack|lsqb|rsqb|vert|verbar);"
)
# No-break spaces and hyphens of a browser, marks without width, a lone byte 0xa0 of Latin-1; other bytes are no text.
_LOOKALIKES = dict.fromkeys((0xA0, 0x2007, 0x202F, 0xDCA0), " ") | dict.fromkeys((0x2010, 0x2011, 0x2013), "-")
_LOOKALIKES |= dict.fromkeys((0xAD, 0x200B, 0x200E, 0xFEFF), "") | dict.fromkeys((0x2502, 0x2503), "|")
_LOOKALIKES |= {0xDC00 + byte: "\ufffd" for byte in range(0x80, 0x100) if byte != 0xA0}


def numbered_lines(text: TextIO) -> Iterator[tuple[int, str]]:
    """Each line with its number, without its end; where a lone carriage return ends lines, several have one number.

    A line is never held longer than until the next.  MapError, beginning with the line's number, for a line or a log
    that is too long to be one.
    """
    read, lines, number, rest = 0, 0, 1, ""
    while line := rest + text.readline(LONGEST_LINE + 1 - len(rest)):
        read, lines = read + len(line) - len(rest), lines + 1
        if read > LARGEST_LOG:
            raise MapError(f"{number}: more than {LARGEST_LOG >> 20} MiB by here; expected the log of one boot")
        if lines > MOST_LINES:
            raise MapError(f"{number}: more than {MOST_LINES} lines by here; expected the log of one boot")
        if "\r" not in line and len(line) <= LONGEST_LINE:  # as nearly always
            yield number, line.rstrip("\n")
            number, rest = number + 1, ""
        else:
            pieces, rest = _returned(line, number)
            lines += len(pieces) - 1
            yield from ((number, piece) for piece in pieces)
            number += line.endswith("\n") and not rest


def _returned(line: str, number: int) -> tuple[list[str], str]:
    """The lines that carriage returns end in one, and what was read of the last one where it is not whole."""
    rest = ""
    if len(line) > LONGEST_LINE:
        line, _, rest = line.rpartition("\r")
        if not line:
            limit = f"a line of more than {LONGEST_LINE} characters"
            raise MapError(f"{number}: {limit}; expected a log, or a data file")
    return line.rstrip("\r\n").split("\r"), rest


def cleaned(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """The lines of a log as the kernel printed them: one of HTML may hold several."""
    for number, line in lines:
        if line.isascii() and not _UNCLEAN.search(line):
            yield number, line
        else:
            yield from ((number, piece) for piece in _cleaned(line))


def _cleaned(line: str) -> list[str]:
    if not line.isascii():
        line = line.translate(_LOOKALIKES)
    if _CODE.search(line):
        line = _CSI.sub("", line)
    if "<" not in line and "&" not in line:
        return [line]
    pieces = _BREAK.split(line)
    pieces = pieces[:-1] if len(pieces) > 1 and not pieces[-1] else pieces
    pieces = [_TAG.sub("", piece) if "<" in piece else piece for piece in pieces]
    return [
        _ENTITY.sub(lambda entity: _unescaped(entity[0]), piece).replace("\xa0", " ") if "&" in piece else piece
        for piece in pieces
    ]


@lru_cache(256)
def _unescaped(entity: str) -> str:
    import html  # noqa: PLC0415 - a table of all entities, which few logs need

    char = html.unescape(entity)
    return char if char.isprintable() or char == "\xa0" else "\ufffd"
