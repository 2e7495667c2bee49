"""Numbers as people write them: sizes with K, M, G or T, addresses in decimal or hex."""

from __future__ import annotations

import re

GIB = 1 << 30

_NUMBER = re.compile(r"([-+]?)(0x[0-9a-f]{1,40}|\d{1,40}(?:\.\d{1,18})?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def number(typed: str) -> int | None:
    """The number in `typed`: decimal or hex, with K, M, G or T (powers of 1024) behind it; None if it is none.

    Blanks around it, underscores and commas in it are left out.  A fraction of a unit ("1.5T") is cut to whole bytes.
    """
    match = _NUMBER.fullmatch(typed.strip().replace("_", "").replace(",", ""))
    if not match:
        return None
    sign, digits, unit = match.groups()
    shift = _UNITS[unit.lower()]
    if "." in digits:
        value = int(float(digits) * (1 << shift))
    else:
        value = int(digits, 16 if digits[:2] in ("0x", "0X") else 10) << shift
    return -value if sign == "-" else value


def short_size(size: int) -> str:
    """A size as the command takes it: "1T", "513G", "1.5G"; in bytes where that is not exact."""
    if size % (1 << 40) == 0:
        return f"{size >> 40}T"
    short = f"{size / GIB:g}G"
    return short if "e" not in short and number(short) == size else str(size)


def size(count: int) -> str:
    """A size in the largest whole unit, as the kernel writes it: 4K, 2M, 1G, 512G."""
    for unit, shift in (("T", 40), ("G", 30), ("M", 20), ("K", 10)):
        if count and count % (1 << shift) == 0:
            return f"{count >> shift}{unit}"
    return str(count)
