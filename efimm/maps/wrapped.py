"""Lines that a mailer wrapped, made whole, and those apart that lost the line break between them."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise

MOST_PIECES = 4  # into which an entry may have been wrapped
MOST_OPTION_LINES = 8  # into which a command line may have been
LONGEST_OPTION_LINE = 1000

# Marks of a quotation, with the initials of who is quoted; a bar may be one, or a column of an entry.
QUOTE_MARKS = r"\s{0,8}(?:(?:[A-Za-z]{1,8})?>\s?|\|\s?){0,16}"
_MARKS = re.compile(QUOTE_MARKS)
_QUOTE = re.compile(r"^\s{0,8}(?:(?:[A-Za-z]{1,8})?>\s?){1,16}")
STAMP = re.compile(r"^(?:<[0-9]{1,3}>)?\[ *[0-9]+\.[0-9]+\]")
_STAMP_WITHIN = re.compile(r"\[ {1,8}[0-9]{1,6}\.[0-9]{6}\](?=[ \[])")
# What stands in front of a log's lines: the kernel's time, that of syslog or journalctl, a level.
_STAMPED = re.compile(
    r"<[0-9]{1,3}>|\[ {0,11}[0-9]{1,10}\.[0-9]{2,9}[\] ]|\[?[A-Z][a-z]{2} [A-Z0-9 ]|[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"|[0-9]{9,10}\.[0-9]"
)
_OPTION = re.compile(
    r"[A-Za-z_][\w.-]{0,60}=\S*|[a-z][a-z0-9]{0,30}[._][a-z][\w.]{0,40}|--|r[ow]|quiet|splash|rhgb|debug|single|nosplash"
    r"|noefi|nomodeset|irqpoll|no(?:apic|lapic|smp|acpi|kaslr|pti|pcid|xsave|smep|smap|resume|mce|floppy|quiet|x2apic)"
    r"|pti|kaslr|earlyprintk|verbose|text|emergency|rescue|nousb|ima|audit|threadirqs|nohz|nohpet|mitigations|[1-6sS]"
)
_DATE = re.compile(r"[0-9]{2}/[0-9]{2}/[0-9]{2,4}\W{0,20}$")
_ENTRY_STARTS = re.compile(r"BIOS-e820: \[|(?:efi|EFI): mem[0-9]")
_RUN_TOGETHER = re.compile(r"(?<=\S)\s{0,8}(?:\[ *[0-9]+\.[0-9]+\]\s*)?(?=BIOS-e820: \[|(?:efi|EFI): mem[0-9]{2,4}: )")


def whole_entries(lines: Iterable[tuple[int, str]], unfinished: Callable[[str], bool]) -> Iterator[tuple[int, str]]:
    """The lines with entries made whole that a mailer wrapped, and those apart that lost the line break between them.

    An entry that stays `unfinished` with the next lines behind it is left as it is, and so are they.  A command line is
    made whole, too.
    """
    source, waiting = iter(lines), deque[tuple[int, str]]()
    while True:
        one = waiting.popleft() if waiting else next(source, None)
        if one is None:
            return
        number, line = one
        if line.count("[ ") > 1 or ": [" in line or ": mem" in line:
            line, *others = _apart(line)
            waiting.extendleft((number, other) for other in reversed(others))
        is_entry = unfinished(line)
        if is_entry or "ommand line:" in line:
            while len(waiting) < (MOST_PIECES if is_entry else MOST_OPTION_LINES) and (more := next(source, None)):
                waiting.append(more)
            line = _joined(line, waiting, unfinished) if is_entry else _with_options(line, waiting)
        elif "DMI: " in line or "Hardware name: " in line:
            while len(waiting) < 2 and (more := next(source, None)):
                waiting.append(more)
            line = _with_rest(line, waiting)
        yield number, line


def _apart(line: str) -> list[str]:
    """What one line holds of several: each with its own time, or each an entry."""
    starts = [found.start() for found in _STAMP_WITHIN.finditer(line)][1:]
    pieces = [line[start:end].rstrip() for start, end in pairwise([0, *starts, len(line)])] if starts else [line]
    return [
        piece
        for each in pieces
        for piece in (_RUN_TOGETHER.split(each) if len(_ENTRY_STARTS.findall(each)) > 1 else [each])
        if piece or each is line
    ]


def _unquoted(line: str, marks: str) -> str:
    """The line without the marks of a quotation that stand before the line that it continues, or such as they."""
    return _QUOTE.sub("", line.removeprefix(marks), count=1).strip()


def _joined(line: str, following: deque[tuple[int, str]], unfinished: Callable[[str], bool]) -> str:
    """The entry with as many of the following lines as make it whole, which are taken away; else the line itself."""
    spaced = tight = line.rstrip()
    marks = _marks(line)
    for used, (_, next_line) in enumerate(list(following)[:MOST_PIECES], 1):
        piece = _unquoted(next_line, marks)
        if STAMP.match(piece) or unfinished(piece):
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


def _with_rest(line: str, following: deque[tuple[int, str]]) -> str:
    """A machine's name with the rest, up to the date: what stands alone between two lines with the time in front."""
    if len(following) < 2 or _DATE.search(line) or not _STAMPED.match(_unquoted(line, "")):
        return line
    rest, after = (_unquoted(each, _marks(line)) for _, each in islice(following, 2))
    if not rest or _STAMPED.match(rest) or not _STAMPED.match(after):
        return line
    if not _DATE.search(rest):
        return line
    following.popleft()
    return f"{line.rstrip()} {rest}"


def _marks(line: str) -> str:
    """The marks of a quotation at the beginning of a line, "" for none."""
    found = _MARKS.match(line)
    return found[0].rstrip() if found else ""


def _with_options(line: str, following: deque[tuple[int, str]]) -> str:
    """The command line with what was wrapped of it, which is taken away from the lines that follow.

    Between two lines with the time in front what has none is its rest, if half of it looks like options; elsewhere,
    where prose may follow, all of it has to.
    """
    marks = _marks(line)
    pieces: Iterable[str] = (_unquoted(each, marks) for _, each in list(following))
    closed = False
    if _STAMPED.match(_unquoted(line, marks)):
        pieces = list(pieces)
        end = next((at for at, each in enumerate(pieces) if _STAMPED.match(each)), 0)
        closed, pieces = end > 0, pieces[: end or None]
    for piece in pieces:
        words = piece[:LONGEST_OPTION_LINE].split()
        options = sum(1 for word in words if _OPTION.fullmatch(word))
        if not words or len(piece) > LONGEST_OPTION_LINE:
            break
        if options < len(words) and not (closed and options * 2 >= len(words)):
            break
        following.popleft()
        line = f"{line.rstrip()} {piece}"
    return line
