"""Add a log to listings.tsv: `python tests/data/make.py boot.log >> tests/data/listings.tsv`.

Only lines go in that one of the forms at the top of the file can print again, letter for letter, and of them only
what is filled in: numbers, and the words for a kind of memory.  All other text stays outside.  Lines that look like
an entry of a list and have no form are told on stderr: they want a form of their own first.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from captures import forms, printed_line

STAMP = re.compile(r"\[ *\+?[0-9.]+\] ")
PATTERNS = {"x": "[0-9a-f]+", "X": "[0-9A-F]+", "d": "[0-9]+"}
AN_ENTRY = re.compile(r"(?:[0-9a-fA-F]{8,16}) ?[-,] ?(?:0x)?[0-9a-fA-F]{8,16}")


def field(spec):
    """What may be filled in for `spec`, a placeholder of a format string."""
    kind = PATTERNS.get(spec[-2])
    if kind:
        return f"{'0x' if '#' in spec else ''}0*({kind})"
    return "(.+?) *" if "<" in spec else "(.+?)"


def pattern(form):
    """What a line of `form` looks like."""
    parts = re.split(r"({[^}]*})", form)
    return "".join(field(part) if place % 2 else re.escape(part) for place, part in enumerate(parts))


def row(line):
    """(form, fields) of a line; None where no form prints it."""
    for name, form in forms().items():
        found = re.fullmatch(pattern(form), line)
        if found:
            fields = found.groups()
            if printed_line(form, fields) == line:
                return name, fields
    return None


def rows(name, text):
    """The lines of listings.tsv for a log."""
    stamps = [found[0] for found in map(STAMP.match, text.splitlines()) if found]
    yield f"log\t{name}\t{max(stamps, key=stamps.count) if stamps else ''}"
    for line in text.splitlines():
        plain = re.sub(r"(Linux version \S+).*", r"\1", STAMP.sub("", line, count=1))  # not who built it
        found = row(plain)
        if found:
            yield "\t".join((found[0], *found[1]))
        elif AN_ENTRY.search(plain):
            sys.stderr.write(f"{name}: no form for: {line}\n")


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        sys.stdout.writelines(f"{line}\n" for line in rows(path.name, path.read_text(encoding="utf-8")))
