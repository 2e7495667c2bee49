"""What makes one site of single pages: a bar that leads on, a page's sections, a search, words for who links to it.

All of it is in the page, and works from the file system.  The search is MiniSearch's, over a list of all sections.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

STATIC = Path(__file__).parent / "static"
PINNED = Path(__file__).parent / "pinned"
SEARCH = "search.html"
MINISEARCH = "7.2.0"
MINISEARCH_HASH = "03c27931eb603af1d3358579e9885eafdb6a2f5fa9929557b3e77d7e99d06d03"  # dist/umd/index.js, as npm has it
PREVIEW = "slider.png"
_BODY = re.compile(r"<body[^>]*>")
_UNSEEN = {"anchor-link", "jp-InputPrompt", "jp-OutputPrompt"}
_HEADINGS = ("h1", "h2", "h3")


@dataclass(frozen=True)
class Leaf:
    """A page: its place in the folder of the site, its title, a sentence about it.

    A page `of_notebook` has the notebook beside it; `live` is where that runs in a browser, "" where it does nowhere.
    """

    place: PurePosixPath
    title: str
    about: str
    of_notebook: bool = False
    live: str = ""

    @property
    def up(self) -> str:
        """What leads from this page to the folder of the site: "", or "../" for each folder between."""
        return "../" * (len(self.place.parts) - 1)


@dataclass
class Section:
    """A part of a page: the id and the words of its heading (h1 to h3), and the text below it."""

    anchor: str
    title: str = ""
    text: str = ""


def framed(html: str, leaf: Leaf, before: Leaf | None = None, after: Leaf | None = None) -> str:
    """`html`, a page as `export.page` makes it, with the bar, and at its end what comes before and after."""
    onwards = _onwards(leaf, before, after)
    html = html.replace("</head>", f"{_for_links(leaf)}</head>", 1)
    html = _BODY.sub(lambda tag: tag[0] + _bar(leaf, onwards, sections(html)), html, count=1)
    end = f'<nav class="site-bar" aria-label="onwards">{onwards}</nav>' if onwards else ""
    return html.replace("</main>", f"</main>{end}", 1)


def _bar(leaf: Leaf, onwards: str, there: Iterable[Section]) -> str:
    """Where one can go from here, in one line."""
    parts = "".join(f'<li><a href="#{escape(each.anchor)}">{escape(each.title)}</a></li>' for each in there)
    links = [f'<a href="{leaf.up}index.html">efimm</a>', onwards]
    links += [f"<details><summary>Sections</summary><ol>{parts}</ol></details>"] if parts else []
    links += [f'<a href="{leaf.up}{SEARCH}">Search</a>']
    links += [f'<a href="{leaf.place.stem}.ipynb" download>Download</a>'] if leaf.of_notebook else []
    links += [f'<a class="live" href="{leaf.live}">Run it live</a>'] if leaf.live else []
    return f'<nav class="site-bar" aria-label="site">{"".join(links)}</nav>'


def _onwards(leaf: Leaf, before: Leaf | None, after: Leaf | None) -> str:
    previous = f'<a rel="prev" href="{leaf.up}{before.place}">← {escape(before.title)}</a>' if before else ""
    following = f'<a rel="next" href="{leaf.up}{after.place}">{escape(after.title)} →</a>' if after else ""
    return previous + following


def _for_links(leaf: Leaf) -> str:
    """What a search engine, or a chat in which somebody puts the address, shows of the page.

    A preview wants a whole address; while the site has none ([project.urls]), it is the one within the site.
    """
    home = f"{known['Homepage'].rstrip('/')}/" if "Homepage" in (known := urls()) else ""
    told = {"og:title": leaf.title, "og:description": leaf.about, "og:type": "article", "og:site_name": "efimm"}
    told |= {"og:image": f"{home or leaf.up}{PREVIEW}", "og:image:alt": "The RAM slider on both sides of 512 GiB"}
    told |= {"og:url": f"{home}{leaf.place}"} if home else {}
    tags = [f'<meta name="description" content="{escape(leaf.about)}">']
    tags += ['<meta name="twitter:card" content="summary_large_image">']
    tags += [f'<meta property="{name}" content="{escape(words)}">' for name, words in told.items()]
    return "".join(tags)


def urls() -> dict[str, str]:
    """Where efimm is published ([project.urls]): addresses by their names; none while it is not."""
    entries = importlib.metadata.metadata("efimm").get_all("Project-URL") or ()
    return dict(entry.split(", ", 1) for entry in entries)


class _Sections(HTMLParser):
    """The headings with an id, and the text after each; what no reader sees is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Section] = []
        self._heading = self._unseen = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """A heading begins a section."""
        named = dict(attributes)
        if tag in _HEADINGS and named.get("id"):
            self.found.append(Section(named["id"] or ""))
            self._heading = True
        self._unseen = tag in ("script", "style") or not _UNSEEN.isdisjoint((named.get("class") or "").split())

    def handle_endtag(self, tag: str) -> None:
        """After its heading comes the section's text."""
        self._unseen = False
        self._heading = self._heading and tag not in _HEADINGS

    def handle_data(self, data: str) -> None:
        """Text."""
        if not self.found or self._unseen:
            return
        if self._heading:
            self.found[-1].title += data
        else:
            self.found[-1].text += data


def sections(html: str) -> list[Section]:
    """The sections of a page, in order; what stands before the first heading belongs to none."""
    parser = _Sections()
    parser.feed(html)
    return parser.found


def entries(leaf: Leaf, html: str) -> Iterator[list[str]]:
    """What the search knows of a page: address, title of the page, title and text of each section."""
    for each in sections(html):
        yield [f"{leaf.place}#{each.anchor}", leaf.title, " ".join(each.title.split()), " ".join(each.text.split())]


def search_script(found: list[list[str]]) -> str:
    """The JavaScript of the page that searches `found`; ValueError where MiniSearch is not what it was."""
    code = (PINNED / f"minisearch-{MINISEARCH}.js").read_bytes()
    if hashlib.sha256(code).hexdigest() != MINISEARCH_HASH:
        raise ValueError(f"minisearch-{MINISEARCH}.js: not the file that was published")
    licence = (PINNED / "minisearch-LICENSE").read_text(encoding="utf-8")
    own = (STATIC / "search.js").read_text(encoding="utf-8")
    index = json.dumps(found, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f"/* MiniSearch {MINISEARCH}\n{licence}*/\n{code.decode()}\nconst SECTIONS = {index};\n{own}"
