"""The handout: two pages A4 as PDF, printed by a Chromium or Chrome that is installed.  `make handout` runs it."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import mistune
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import efimm
from efimm.course import notebooks_folder
from efimm.show import picture
from efimm.show.drawing.styles import css
from efimm.x86 import LONG4
from efimm.x86.fields import size

HERE = Path(__file__).resolve().parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
TERMS = (
    "Virtual address", "Physical address", "Page table", "Slot", "CR3", "TLB", "Identity map", "Direct map", "UEFI",
    "SetVirtualAddressMap", "Memory descriptor", "Runtime services", "pgd_list", "Trampoline",
)  # fmt: skip
COMMANDS = (
    ("efimm run --kernel 3.5 --ram 1T", "what becomes of the call"),
    ("efimm compare --ram 600G", "every kernel on one machine"),
    ("efimm check dmesg.txt", "would this machine have been hit?"),
    ("efimm run --kernel ./my_fix.py --explain", "your own fix, as the answer to a mail"),
    ("efimm gauntlet --kernel ./my_fix.py", "through every situation"),
    ("efimm doctor", "is everything here?"),
)
LATER = {
    "3.8": "for the call, borrow one slot for every 512 GiB of RAM (Nathan Zimmer, b8f2c21db390)",
    "3.14": "the firmware's regions get addresses of their own, in the trampoline's table",
    "4.6": "a page table for the firmware alone",
}
_TERM = re.compile(r"^### (?P<term>.+?)\n+(?P<said>.+?\.)(?:\s|$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[(.+?)\]\(.+?\)")


def html() -> str:
    """The handout as one page of HTML."""
    outcome = efimm.run(efimm.machine("600G"), "3.5")
    shown = picture(outcome)
    template = Environment(loader=FileSystemLoader(HERE), undefined=StrictUndefined, autoescape=True)
    return template.get_template("handout.html.j2").render(
        picture=Markup(shown.svg),
        picture_css=Markup(css()),
        verdict=shown.verdict,
        spans=" ".join(f"{size(level.span):^10}" for level in LONG4.levels),
        later=[_release(name, what) for name, what in LATER.items()],
        oops="; ".join(line for line in outcome.trace.console if line.startswith(("BUG", "PGD", "Oops"))),
        glossary=list(short_glossary()),
        commands=COMMANDS,
    )


def _release(name: str, what: str) -> tuple[str, str, str]:
    """A kernel's date and name, from its title such as "Linux 3.8 (February 2013)"."""
    who, _, when = efimm.KERNELS[name].title.rstrip(")").partition(" (")
    return when, who, what


def short_glossary() -> list[tuple[str, Markup]]:
    """The first sentence of each of TERMS, from the glossary; KeyError for a term that it no longer has."""
    cells = json.loads((notebooks_folder() / "glossary.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells)
    said = {found["term"]: " ".join(found["said"].split()) for found in _TERM.finditer(text)}
    plain = mistune.create_markdown(escape=True)
    inside = re.compile(r"</?p>")
    return [(term, Markup(inside.sub("", str(plain(_LINK.sub(r"\1", said[term])))))) for term in TERMS]


def print_pdf(page: str, output: Path) -> None:
    """`page` printed as `output`; ValueError without a browser that can."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise ValueError(f"expected a browser that prints: one of {', '.join(BROWSERS)}")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "handout.html"
        source.write_text(page, encoding="utf-8")
        options = [
            "--headless",
            "--disable-gpu",
            "--no-sandbox",
            "--no-pdf-header-footer",
            f"--user-data-dir={folder}/user",
        ]
        command = [browser, *options, f"--print-to-pdf={output}", source.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def main() -> None:
    """Write the PDF, and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE.parent / "site" / "handout.pdf", help="where to write it")
    output = parser.parse_args().output.resolve()
    try:
        print_pdf(html(), output)
    except ValueError as error:
        sys.exit(str(error))
    print(f"{output}: {output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
