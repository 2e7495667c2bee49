"""What is said of a memory map that cannot be read, and how text of unknown origin is shown."""

from __future__ import annotations


class MapError(ValueError):
    """A memory map that cannot be read: one line that names the file, the line in it, and what was expected."""


def shortened(text: str) -> str:
    """`text` quoted on one line, for an error message; what a terminal would obey is escaped."""
    text = text.strip()
    return repr(text if len(text) <= 80 else text[:80] + "...")


def printable(text: str) -> str:
    """`text` with everything escaped that is no visible character or space: a log's words must not drive a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
