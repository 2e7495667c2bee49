"""What the tests hold the model to: what real machines printed and real kernels kept, in tests/data (see its README).

Nothing else knows where these lie.  A file's name ends with `.xz` where it is compressed; who asks leaves that away.
"""

import io
import lzma
import re
from functools import cache
from pathlib import Path

DATA = Path(__file__).parent / "data"
BOOTS, TABLES = DATA / "boots", DATA / "tables"
LISTINGS = DATA / "listings.tsv"
INDEX, ORACLE = DATA / "index.csv", DATA / "oracle.csv"

# Where tests/data was made from.  Other people's texts are no part of the project, and most readers do not have them.
ORIGINALS = Path(__file__).parents[2] / "shared"
THREAD = ORIGINALS / "facts" / "lkml-thread-2012-06.txt"
NO_THREAD = "the mailing-list messages are other people's text and no part of this project: no quotation is compared"
NO_ORIGINALS = "what tests/data was made from is no part of this project: the copies are used without comparing them"

_FIELD = re.compile(r"{(?::([^}]*))?}")


def content(path):
    """The bytes of a file of tests/data, compressed or not."""
    packed = path.with_name(f"{path.name}.xz")
    return lzma.decompress(packed.read_bytes()) if packed.is_file() else path.read_bytes()


def text_of(path):
    """The same as text, with one kind of line ends; what a serial line has damaged is replaced."""
    return io.TextIOWrapper(opened(path), encoding="utf-8", errors="replace").read()


def opened(path):
    """The same as a binary file, as `read_map` takes it."""
    return io.BytesIO(content(path))


@cache
def forms():
    """The lines that a kernel, a hypervisor or a shell prints of a map or a fault, by a name: format strings."""
    rows = (line.split("\t") for line in text_of(LISTINGS).splitlines())
    return {row[1]: row[2] for row in rows if row[0] == "form"}


@cache
def listings():
    """Other people's logs, by name: their numbers, printed again in the forms that their kernels print them in."""
    logs = {}
    for line in text_of(LISTINGS).splitlines():
        kind, *fields = line.split("\t")
        if kind == "log":
            name, stamp = fields
            logs[name] = []
        elif kind != "form" and not kind.startswith("#"):
            printed = printed_line(forms()[kind], fields)
            logs[name].append(printed if printed.startswith("(XEN)") else stamp + printed)
    return {name: "".join(f"{line}\n" for line in lines) for name, lines in logs.items()}


def printed_line(form, fields):
    """`form` with its fields filled in: hexadecimal or decimal numbers, as it prints them, and words."""
    bases = [{"x": 16, "X": 16, "d": 10}.get(found[-1:]) for found in _FIELD.findall(form)]
    values = [int(field, base) if base else field for base, field in zip(bases, fields, strict=True)]
    return form.format(*values)
