"""The site: every link leads somewhere, nothing is asked of the network, and it says what the series says."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from test_browser import chromium

pytest.importorskip("pdoc", reason="pdoc is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
from efimm.course.series import chapters  # noqa: E402 - after the skips
from efimm.course.site import make_site, support  # noqa: E402 - after the skips
from efimm.trials import Report, SupportTable, Trial  # noqa: E402 - after the skips

__all__ = ["chromium"]


class Anchors(HTMLParser):
    """The targets and the links of a page."""

    def __init__(self):
        super().__init__()
        self.targets = set()
        self.links = set()

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.targets.add(named.get("id") or "")
        if tag == "a" and named.get("href"):
            self.links.add(named["href"])


def read(path):
    found = Anchors()
    found.feed(path.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """All pages; the notebooks as they are kept, since running them is what other tests do."""
    folder = tmp_path_factory.mktemp("site")
    written = list(make_site(folder, run=lambda path: nbformat.read(path, as_version=4), lite=False))
    assert all(path.stat().st_size for path in written)
    return folder


def test_every_link_leads_somewhere(site):
    pages = {path.resolve(): read(path) for path in site.rglob("*.html") if "api" not in path.parts}
    lost = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            # A browser looks for the fragment as it stands first, then decoded.
            there = not parts.fragment or target not in pages
            there = there or {parts.fragment, unquote(parts.fragment)} & pages[target].targets
            if not target.exists() or not there:
                lost.append((path.name, link))

    assert lost == []


def test_the_index_names_every_notebook_with_its_goals(site):
    index = (site / "index.html").read_text(encoding="utf-8")

    assert len(chapters()) >= 13
    for chapter in chapters():
        assert f'href="{chapter.path.stem}.html"' in index
        assert chapter.time
        assert chapter.goals or chapter.path.stem.startswith("00")


def test_the_table_of_kernels_says_why_one_failed():
    fine, bad = Trial("1T of RAM", "success", ""), Trial("1T of RAM", "page-fault", "0x100 pgd[1]")
    text = support(SupportTable((Report("good", (fine,)), Report("bad", (bad,)))))

    assert "| 1T of RAM | ok | **page-fault**: 0x100 pgd&#91;1&#93; |" in text
    assert "| passed | 1 | 0 |" in text


@pytest.mark.browser
@pytest.mark.parametrize("name", ["index", "support", "00-start-here", "solutions/01-solutions", "api/efimm"])
def test_a_page_opens_from_the_file_system_and_asks_for_nothing(chromium, site, name):
    context = chromium.new_context(offline=True, viewport={"width": 1280, "height": 900})
    asked = []
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url) if re.match("https?:", request.url) else None)
    page.on("pageerror", lambda error: asked.append(str(error)))
    page.goto((site / f"{name}.html").as_uri())
    page.wait_for_load_state("load")
    headings = page.locator("h1").count()
    found = axe.Axe().run(page).response["violations"] if not name.startswith("api") else []
    context.close()

    assert asked == []
    assert headings
    assert [hit["id"] for hit in found if hit["impact"] in ("serious", "critical")] == []
