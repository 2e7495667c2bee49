"""The site: every link leads somewhere, nothing is asked of the network, and it says what the series says."""

import io
import re
from html.parser import HTMLParser
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from test_browser import chromium

pytest.importorskip("pdoc", reason="pdoc is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
from efimm.check import (  # noqa: E402 - after the skips
    answer,
    check,
    checked,
)
from efimm.course import navigation  # noqa: E402 - after the skips
from efimm.course.navigation import Leaf, framed, sections  # noqa: E402 - after the skips
from efimm.course.series import chapters  # noqa: E402 - after the skips
from efimm.course.site import Site, make_site, support, your_log  # noqa: E402 - after the skips
from efimm.show.ram import slider  # noqa: E402 - after the skips
from efimm.trials import Report, SupportTable, Trial  # noqa: E402 - after the skips

__all__ = ["chromium"]


class Anchors(HTMLParser):
    """The targets and the links of a page."""

    def __init__(self):
        super().__init__()
        self.targets = set()
        self.links = set()
        self.onwards = {}

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.targets.add(named.get("id") or "")
        if tag == "a" and named.get("href"):
            self.links.add(named["href"])
            self.onwards[named.get("rel")] = named["href"]


def read(path):
    found = Anchors()
    found.feed(path.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """All pages; the notebooks as they are kept, and a first slider of few sizes: running is what other tests do."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slider, "STOPS", (1 << 30, 256 << 30, 64 << 40))
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


NEVER = ("base-uri", "form-action")
NAMES = [chapter.path.stem for chapter in chapters()]


def test_every_page_leads_on_to_its_neighbours_its_sections_its_notebook_and_the_search(site):
    for number, name in enumerate(NAMES):
        page = read(site / f"{name}.html")
        beside = {f"{other}.html" for other in NAMES[max(0, number - 1) : number + 2] if other != name}
        anchors = {f"#{each.anchor}" for each in sections((site / f"{name}.html").read_text(encoding="utf-8"))}

        assert beside | anchors | {"search.html", "index.html", f"{name}.ipynb"} <= page.links
        assert len(anchors) > 3
        assert nbformat.read(site / f"{name}.ipynb", as_version=4).cells


def test_previous_and_next_follow_the_order_of_the_series(site):
    onwards = {name: read(site / f"{name}.html").onwards for name in NAMES}

    assert [onwards[name].get("next") for name in NAMES[:-1]] == [f"{name}.html" for name in NAMES[1:]]
    assert [onwards[name].get("prev") for name in NAMES[1:]] == [f"{name}.html" for name in NAMES[:-1]]


def test_a_page_tells_what_it_is_to_whoever_links_to_it(site):
    page = (site / "04-the-bug.html").read_text(encoding="utf-8")
    told = dict(re.findall(r'<meta (?:name|property)="([\w:]+)" content="([^"]*)">', page))

    assert told["description"] == told["og:description"]
    assert told["description"].startswith("Afterwards you can say which number the kernel passes")
    assert told["og:title"] == "04 The bug"
    assert (site / told["og:image"]).read_bytes().startswith(b"\x89PNG")


def test_a_published_site_gives_whole_addresses(monkeypatch):
    monkeypatch.setattr(navigation, "urls", lambda: {"Homepage": "https://efimm.example"})
    page = framed("<head></head><body><main></main></body>", Leaf(PurePosixPath("solutions/x.html"), "X", "y"))

    assert '"https://efimm.example/slider.png"' in page
    assert '"https://efimm.example/solutions/x.html"' in page


def test_no_page_lets_a_script_run_that_is_not_its_own(site):
    for path in site.rglob("*.html"):
        if "api" in path.parts:
            continue
        page = path.read_text(encoding="utf-8")
        (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
        rules = dict(rule.partition(" ")[::2] for rule in policy.split("; "))

        assert rules["default-src"] == "'none'"
        assert all(source.startswith("'sha256-") for source in rules["script-src"].split())
        assert set(rules) <= {
            "default-src",
            "script-src",
            "style-src",
            "img-src",
            "font-src",
            "base-uri",
            "form-action",
        }


def test_sections_are_the_headings_with_the_text_below_them():
    page = """<title>no</title><h1 id="a">A<a class="anchor-link" href="#a">¶</a></h1><p>one <b>two</b></p>
    <script>no</script><div class="x jp-InputPrompt">In [1]:</div><h2>no id</h2><h2 id="b">B &amp; c</h2> three"""
    found = [(each.anchor, each.title, " ".join(each.text.split())) for each in sections(page)]

    assert found == [("a", "A", "one two no id"), ("b", "B & c", "three")]


def test_a_changed_search_library_is_refused(tmp_path, monkeypatch):
    (tmp_path / f"minisearch-{navigation.MINISEARCH}.js").write_text("something else")
    monkeypatch.setattr(navigation, "PINNED", tmp_path)

    with pytest.raises(ValueError, match="not the file"):
        navigation.search_script([])


LOG = """[    0.000000] Linux version 3.5.0
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] usable
[    0.000000] BIOS-e820: [mem 0x0000000100000000-0x000000ffffffffff] usable
[    0.000000] efi: EFI v2.31 by someone
"""


def test_your_log_answers_as_the_command_does():
    assert answer(LOG.encode(), "mine.txt") == checked(check(io.BytesIO(LOG.encode())), "mine.txt")
    assert "page-fault" in answer(LOG.encode(), "mine.txt")
    assert answer(b"nothing of the kind", "mine.txt").startswith("efimm: ")
    assert answer(b"nothing of the kind", "mine.txt").count("\n") == 0


@pytest.fixture
def opened(chromium):
    """A function that opens a page, with no network; it may ask for nothing and complain of nothing."""
    context = chromium.new_context(offline=True, viewport={"width": 1366, "height": 768})
    said = []

    def go(address):
        page = context.new_page()
        page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else said.append(asked.url))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda words: said.append(words.text) if words.type == "error" else None)
        page.goto(address)
        return page

    yield go
    context.close()
    assert said == []


@pytest.mark.browser
def test_the_first_page_is_the_slider(opened, site):
    page = opened((site / "index.html").as_uri())
    ram = page.locator("input[type=range]").first
    verdict = page.locator("p.verdict").first
    ram.press("Home")
    below = verdict.inner_text()
    ram.press("End")

    assert below.startswith("Success")
    picture = page.locator("svg.picture").first.bounding_box()
    assert verdict.inner_text().startswith("Page fault")
    assert ram.bounding_box()["y"] < 300
    assert picture["height"] > 420
    assert picture["y"] + picture["height"] < 768


def shown(page):
    """What the first slider of a page shows: its choices, its size, its headline."""
    page.locator("p.verdict").first.wait_for()
    chosen = [page.get_by_role("combobox", name=name).first.input_value() for name in ("Kernel", "Firmware")]
    return [*chosen, page.locator("output").first.inner_text(), page.locator("p.verdict").first.inner_text()]


@pytest.mark.browser
def test_the_address_follows_the_slider_and_restores_it(opened, site):
    home = (site / "index.html").as_uri()
    page = opened(home)
    page.locator("p.verdict").first.wait_for()
    untouched = page.url
    page.get_by_role("combobox", name="Kernel").first.select_option("va-patch")
    page.get_by_role("combobox", name="Firmware").first.select_option("own-table")
    page.locator('[aria-label^="rewind to: commit"]').first.click()
    page.wait_for_url(lambda url: "moment" in url)
    page.evaluate("navigator.clipboard.writeText = (words) => { window.copied = words; return Promise.resolve(); }")
    page.get_by_role("button", name="Copy link").click()
    again = opened(page.url)
    again.locator("p.verdict").filter(has_text="So far").first.wait_for()

    assert untouched == home
    assert page.url == f"{home}#kernel=va-patch&firmware=own-table&ram=1T&moment=commit"
    assert page.evaluate("window.copied") == page.url
    assert shown(again) == shown(page)
    assert shown(again)[:3] == ["va-patch", "own-table", "1 TiB"]
    assert shown(again)[3].startswith("So far: the firmware has switched to virtual mode")
    assert again.url == page.url
    assert again.evaluate("scrollY") > 0

    again.evaluate("location.hash = 'kernel=3.5&ram=256G'")  # as whoever changes it by hand does
    assert shown(again)[:3] == ["3.5", "edk2", "256 GiB"]
    again.evaluate("location.hash = 'kernel=3.5&ram=256G&moment=lunch'")
    assert again.locator("p.note").first.inner_text().startswith("There is no moment lunch here; there are boot,")


@pytest.mark.browser
@pytest.mark.parametrize("address", ["#100%", "#A-heading", "#kernel=none&ram=1T", "#ram=3T", "#efimm run --ram"])
def test_an_address_that_asks_for_nothing_here_changes_nothing(opened, site, address):
    page = opened(f"{(site / 'index.html').as_uri()}{address}")

    assert shown(page)[:3] == ["3.5", "edk2", "1 TiB"]


@pytest.mark.browser
def test_the_search_finds_a_section_and_leads_to_it(opened, site):
    page = opened(f"{(site / 'search.html').as_uri()}#q=100%")  # whatever stands there
    page.get_by_role("searchbox").fill("prelog epil")
    hit = page.locator("#found a").first
    words = hit.inner_text()
    page.locator("#found mark").first.wait_for()
    shared = page.url
    again = opened(shared)
    hit.click()
    page.wait_for_load_state()
    heading = page.url.partition("#")[2]

    assert words == "Prelog and epilog"
    assert page.locator(f'[id="{unquote(heading)}"]').inner_text().startswith(words)
    assert again.locator("#found a").first.inner_text() == words
    again.get_by_role("searchbox").fill("zzzz qqqq")
    assert again.get_by_role("status").inner_text().startswith("Nothing found")


@pytest.mark.browser
def test_from_a_disk_a_page_says_what_needs_a_server(opened, tmp_path):
    log = opened(your_log(Site(tmp_path)).as_uri())
    leaf = Leaf(PurePosixPath("x.html"), "X", "y", live="lite/index.html")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# X")])
    page = opened(Site(tmp_path).write(leaf, notebook).as_uri())

    assert "efimm room" in log.get_by_role("status").inner_text()
    assert log.get_by_role("button", name="Check").is_disabled()
    assert "efimm room" in page.get_by_role("navigation").first.inner_text()
    assert page.locator("a.live").count() == 0


@pytest.mark.browser
@pytest.mark.parametrize("look", [(1366, "light"), (360, "dark")])
@pytest.mark.parametrize("name", ["index", "support", "search", "your-log", "00-start-here", "solutions/01-solutions"])
def test_a_page_is_for_everybody(chromium, site, name, look):
    if name == "your-log":
        your_log(Site(site))
    context = chromium.new_context(offline=True, viewport={"width": look[0], "height": 768}, color_scheme=look[1])
    page = context.new_page()
    page.goto((site / f"{name}.html").as_uri())
    headings = page.locator("h1").count()
    wide = page.evaluate("document.documentElement.scrollWidth")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    found = axe.Axe().run(page).response["violations"]
    context.close()

    assert headings
    assert wide <= look[0]
    assert (sum(map(int, re.findall(r"\d+", paper)[:3])) < 200) == (look[1] == "dark")
    assert [
        (hit["id"], [node["html"] for node in hit["nodes"]])
        for hit in found
        if hit["impact"] in ("serious", "critical")
    ] == []


@pytest.mark.browser
def test_the_reference_opens_from_the_file_system(opened, site):
    assert opened((site / "api" / "efimm.html").as_uri()).locator("h1").count()
