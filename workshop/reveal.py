"""reveal.js, which turns pages into slides: fetched once from npm's registry, checked, and kept in build/."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

VERSION = "5.2.1"  # MIT licence
ADDRESS = f"https://registry.npmjs.org/reveal.js/-/reveal.js-{VERSION}.tgz"
SHA512 = "r7//6mIM5p34hFiDMvYfXgyjXqGRta+/psd9YtytsgRlrpRzFv4RbH76TXd2qD+7ZPZEbpBDhdRhJaFgfQ7zNQ=="  # as npm names it
FILES = ("dist/reset.css", "dist/reveal.css", "dist/reveal.js", "LICENSE")
KEPT = Path(__file__).resolve().parent.parent / "build" / f"reveal.js-{VERSION}"


def reveal() -> dict[str, str]:
    """The text of each of FILES; ValueError where they are not here and cannot be fetched."""
    if not all((KEPT / name).exists() for name in FILES):
        _fetch()
    return {name: (KEPT / name).read_text(encoding="utf-8") for name in FILES}


def _fetch() -> None:
    try:
        with urlopen(ADDRESS, timeout=60) as answer:
            packed = answer.read()
    except (URLError, OSError) as error:
        raise ValueError(f"reveal.js cannot be fetched from {ADDRESS}: {error}") from error
    if base64.b64encode(hashlib.sha512(packed).digest()).decode() != SHA512:
        raise ValueError(f"{ADDRESS} is not the file that is expected: its SHA-512 differs")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for name in FILES:
            member = archive.extractfile(f"package/{name}")
            if member is None:
                raise ValueError(f"{ADDRESS} has no {name}")
            target = KEPT / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(member.read())
