"""What the page *Your log* asks of the Python in the reader's browser."""

from __future__ import annotations

import io

from ..check import check, checked
from ..maps.errors import printable


def answer(log: bytes, name: str, boot: int | None = None) -> str:
    """What `efimm check` prints for the bytes of a log; where it refuses them, the line that it refuses them with.

    `name` is what the log is called in the command that shows the failure again; `boot` is the number of one of several
    boots.
    """
    try:
        return checked(check(io.BytesIO(log), boot=boot), name)
    except (ValueError, MemoryError) as error:
        return f"efimm: {printable(' '.join(str(error).split()))}"
