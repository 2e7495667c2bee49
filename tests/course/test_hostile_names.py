"""Names that want to be more than names, through every view, text and page: a browser shows them, and obeys none."""

import re
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from test_browser import chromium, pytestmark

import efimm
from efimm.course.site import support
from efimm.kernels import v3_5
from efimm.machines import data_files
from efimm.trials import Report, SupportTable, Trial

export = pytest.importorskip("efimm.course.export")
nbformat = pytest.importorskip("nbformat")

__all__ = ["chromium", "pytestmark"]  # a fixture and the marks of this module: pytest finds them by name
ROOT = Path(__file__).parents[2]
NAMES = (
    "<!--<script>",
    "</script><script>window.pwned = 1</script>",
    '"><img src=x onerror="window.pwned = 1">',
    "<svg onload=window.pwned=1>",
    "[click](javascript:window.pwned=1)",
    "<a href=javascript:window.pwned=1>x</a>",
    "`|*_~$x$ \u202e\x1b[31m\n# a heading",
    "{{ 7 * 7 }}",
)
BEGIN = """
import efimm
from dataclasses import replace
from efimm.course import predict
from efimm.kernels import v3_5
from efimm.show import explorer, grid_view, map_view, ram_slider, tables_view, timeline_view
from efimm.machines import data_files
from efimm.trials import Report, Trial
NAMES = {names!r}
"""
CELLS = """
name = "".join(char for char in NAMES[number] if char.isprintable())
mine = replace(v3_5.KERNEL, name=name, title=name)
####
ram_slider("1T", kernels=("3.5",))
####
call = efimm.run(efimm.machine("1T"), mine)
call.trace.printk(NAMES[number])
timeline_view(call)
####
explorer(call, call.fault.cr2)
####
tables_view(mine, "1T")
####
reports = [Report(name, (Trial(NAMES[number], "page-fault", name), Trial("fine", "success", ""))) for name in NAMES]
grid_view(reports)
####
map_view(replace(efimm.read_map(DATA), title=NAMES[number], name=NAMES[number]))
####
predict(NAMES[number], 1, {2: NAMES[number]})
####
print(efimm.text(call)); print(efimm.text(call.trace)); NAMES
####
mine
"""


def views_of(number):
    """The cells that show every view with one of the names."""
    data = repr(str(data_files()["intel-brickland-512gib"]))
    source = CELLS.replace("number]", f"{number}]").replace("DATA", data)
    return [nbformat.v4.new_code_cell(cell.strip()) for cell in source.split("####")]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A notebook with the views of all names, one after the other, run once."""
    begin = nbformat.v4.new_code_cell(BEGIN.format(names=NAMES).strip())
    cells = [begin, *(cell for number in range(len(NAMES)) for cell in views_of(number))]
    path = tmp_path_factory.mktemp("names") / "names.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return export.executed(path)


@pytest.fixture(scope="module", params=range(len(NAMES)))
def page_of_names(request, ran, tmp_path_factory):
    """Every view with one of the names, as an exported page."""
    one, size = deepcopy(ran), len(views_of(0))
    one.cells = [ran.cells[0], *one.cells[1 + request.param * size :][:size]]
    one.cells.append(
        nbformat.v4.new_markdown_cell("<script>window.pwned = 1</script><img src=x onerror='window.pwned=1'>")
    )
    html = export.page(one, NAMES[request.param])
    path = tmp_path_factory.mktemp("names") / "names.html"
    path.write_text(html, encoding="utf-8", errors="replace")
    return path


@pytest.mark.slow
def test_a_page_shows_them_and_obeys_none(chromium, page_of_names):
    page = chromium.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else problems.append(asked.url))
    page.goto(page_of_names.as_uri())
    page.locator("svg.picture").first.wait_for(timeout=60_000)
    for button in page.get_by_role("button").all()[:12]:
        button.dispatch_event("click")
    assert page.evaluate("window.pwned") is None
    assert page.locator(".efimm-live svg.picture").count() >= 5
    assert page.locator(".efimm-live script, .efimm-live img, .efimm-live [onload], .efimm-live [onerror]").count() == 0
    assert problems == []
    page.close()


def test_a_page_runs_its_own_script_and_loads_nothing(page_of_names):
    html = page_of_names.read_text(encoding="utf-8")
    [policy] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert html.index(policy) < html.index("<script")
    words = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert re.fullmatch(r"'sha256-[\w+/=]{44}'", words["script-src"])
    assert words["default-src"] == "'none'"
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")
    assert "http" not in policy
    assert "*" not in policy


def test_a_table_on_the_site_shows_them_as_they_are():
    trials = tuple(Trial(name, "broken", name) for name in NAMES)
    text = support(SupportTable(tuple(Report(name, trials) for name in NAMES)))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 3 + len(NAMES)
    assert {row.count("|") for row in rows} == {len(NAMES) + 2}
    assert not set("<>`[]\x1b\u202e") & set("".join(rows))
    html = nbformat_html(text)
    assert "pwned" in html
    assert not re.search(r"<(script|img|svg|a href=.?javascript)", html)


def nbformat_html(markdown):
    from nbconvert.filters import markdown2html_mistune

    return markdown2html_mistune(markdown)


@pytest.mark.parametrize("name", ["\x1b[31m", "two\nlines", "\u202e", "", 7, "x" * 10000])
def test_a_kernel_is_called_by_words(name):
    with pytest.raises(ValueError, match="expected") as caught:
        replace(v3_5.KERNEL, name=name)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", NAMES)
def test_no_text_drives_a_terminal(name, tmp_path):
    words = "".join(char for char in name if char.isprintable())
    mine = replace(v3_5.KERNEL, name=words, title=words)
    outcome = efimm.run(efimm.machine("1T"), mine)
    outcome.trace.printk(name)
    report = Report(words, (Trial("here", "broken", words),))
    for text in (efimm.text(outcome), str(outcome.trace), repr(mine), str(report), str(SupportTable((report,)))):
        assert "\x1b" not in text
        assert "\u202e" not in text
    file = tmp_path / "mine.py"
    begin = "from dataclasses import replace\nfrom efimm.kernels.v3_5 import KERNEL as K\n"
    file.write_text(f"{begin}KERNEL = replace(K, name={words!r}, title={words!r})\n")
    command = [sys.executable, "-m", "efimm", "compare", "--kernel", str(file), "--ram", "4G"]
    done = subprocess.run(command, capture_output=True, check=False, cwd=ROOT)
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout + done.stderr
