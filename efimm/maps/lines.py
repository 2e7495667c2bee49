"""The lines of a log from wherever it comes, one at a time: a log may be a hundred megabytes of garbage.

What mailers, browsers and terminals do to a log is undone here, line by line: no-break spaces, HTML, colours, entries
that were wrapped or run together.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import TextIO

from .errors import MapError

LONGEST_LINE = 1 << 16  # the journal cuts its own at 48 KiB (LineMax in journald.conf)
LARGEST_LOG = 1 << 28
MOST_PIECES = 4  # into which an entry may have been wrapped

_CSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # colours of dmesg, cursor movements of a serial console
_UNCLEAN = re.compile(r"[\x1b\r<&]")
_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/li|/pre)\b[^<>]{0,200}>", re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:a|b|blockquote|code|div|em|font|html|i|li|p|pre|small|span|strong|td|tr|tt|u)\b[^<>]{0,400}>", re.IGNORECASE
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#x[0-9a-fA-F]{1,6}|nbsp|lt|gt|amp|quot|apos|lbrack|rbrack|lsqb|rsqb);")
# No-break spaces and hyphens of a browser, marks without width, a lone byte 0xa0 of Latin-1; other bytes are no text.
_LOOKALIKES = dict.fromkeys((0xA0, 0x2007, 0x202F, 0xDCA0), " ") | dict.fromkeys((0x2010, 0x2011, 0x2013), "-")
_LOOKALIKES |= dict.fromkeys((0x200B, 0x200E, 0xFEFF, 0x0D), "")
_LOOKALIKES |= {0xDC00 + byte: "\ufffd" for byte in range(0x80, 0x100) if byte != 0xA0}
_QUOTE = re.compile(r"^(?:[>|]\s?)+")
_STAMP = re.compile(r"^(?:<[0-9]{1,3}>)?\[ *[0-9]+\.[0-9]+\]")
_RUN_TOGETHER = re.compile(r"(?<=\S)(?:\[ *[0-9]+\.[0-9]+\]\s*)?(?=BIOS-e820: \[|(?:efi|EFI): mem[0-9]{2,4}: )")


def numbered_lines(text: TextIO) -> Iterator[tuple[int, str]]:
    """Each line with its number, without its end.

    A line is never held longer than until the next.  MapError, beginning with the line's number, for a line or a log
    that is too long to be one.
    """
    read = 0
    for number in count(1):
        line = text.readline(LONGEST_LINE + 1)
        read += len(line)
        if not line:
            return
        if len(line) > LONGEST_LINE:
            raise MapError(f"{number}: a line of more than {LONGEST_LINE} characters; expected a log, or a data file")
        if read > LARGEST_LOG:
            raise MapError(f"{number}: more than {LARGEST_LOG >> 20} MiB by here; expected the log of one boot")
        yield number, line.rstrip("\n")


def cleaned(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """The lines of a log as the kernel printed them: one of HTML may hold several."""
    for number, line in lines:
        if line.isascii() and not _UNCLEAN.search(line):
            yield number, line
        else:
            yield from ((number, piece) for piece in _cleaned(line))


def _cleaned(line: str) -> list[str]:
    if not line.isascii() or "\r" in line:
        line = line.translate(_LOOKALIKES)
    if "\x1b" in line:
        line = _CSI.sub("", line)
    if "<" not in line and "&" not in line:
        return [line]
    pieces = _BREAK.split(line)
    pieces = pieces[:-1] if len(pieces) > 1 and not pieces[-1] else pieces
    pieces = [_TAG.sub("", piece) if "<" in piece else piece for piece in pieces]
    return [_ENTITY.sub(_unescaped, piece).replace("\xa0", " ") if "&" in piece else piece for piece in pieces]


def _unescaped(entity: re.Match[str]) -> str:
    import html  # noqa: PLC0415 - a table of all entities, which few logs need

    char = html.unescape(entity[0])
    return char if char.isprintable() or char == "\xa0" else "\ufffd"


def whole_entries(lines: Iterable[tuple[int, str]], unfinished: Callable[[str], bool]) -> Iterator[tuple[int, str]]:
    """The lines with entries made whole that a mailer wrapped, and those apart that lost the line break between them.

    An entry that stays `unfinished` with the next lines behind it is left as it is, and so are they.
    """
    source, waiting = iter(lines), deque[tuple[int, str]]()
    while True:
        one = waiting.popleft() if waiting else next(source, None)
        if one is None:
            return
        number, line = one
        if line.count("BIOS-e820: [") + line.count("fi: mem") + line.count("FI: mem") > 1:
            pieces = [piece for piece in _RUN_TOGETHER.split(line) if piece]
            waiting.extendleft((number, piece) for piece in reversed(pieces[1:]))
            line = pieces[0]
        if unfinished(line):
            while len(waiting) < MOST_PIECES and (more := next(source, None)):
                waiting.append(more)
            line = _joined(line, waiting, unfinished)
        yield number, line


def _joined(line: str, following: deque[tuple[int, str]], unfinished: Callable[[str], bool]) -> str:
    """The entry with as many of the following lines as make it whole, which are taken away; else the line itself."""
    spaced = tight = line.rstrip()
    for used, (_, next_line) in enumerate(list(following)[:MOST_PIECES], 1):
        piece = _QUOTE.sub("", next_line).strip()
        if _STAMP.match(piece) or unfinished(piece):
            return line
        if spaced.endswith("="):  # quoted-printable's soft break
            spaced = tight = spaced[:-1] + piece
        else:
            spaced, tight = f"{spaced} {piece}", tight + piece
        for candidate in (spaced, tight):
            if not unfinished(candidate):
                for _ in range(used):
                    following.popleft()
                return candidate
    return line
