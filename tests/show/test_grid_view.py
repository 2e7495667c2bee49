"""The gauntlet as a grid: each cell says what its trial found and how to see it again; nothing is run for it."""

import re
import shlex

import pytest
from click.testing import CliRunner
from test_browser import chromium
from test_frames_browser import complaints_of, opened

import efimm
from efimm.cli import cli
from efimm.scenarios import SCENARIOS
from efimm.show.drawing.shapes import Rect, Text
from efimm.show.grid_view import LOOKS, MEANING, command, draw, grid_view, tip
from efimm.trials import Report, SupportTable, Trial, try_scenario

__all__ = ["chromium"]


@pytest.fixture(scope="module")
def table():
    kernels = ("3.5", "va-patch", "6.1")
    reports = [Report(name, tuple(try_scenario(efimm.KERNELS[name], one) for one in SCENARIOS)) for name in kernels]
    return SupportTable(tuple(reports))


def cells(scene):
    return [shape for shape in scene.shapes if isinstance(shape, Rect) and shape.role.endswith("item")]


def test_every_trial_has_its_cell_with_what_it_found(table):
    scene = draw(table.reports)
    tips = [shape.tip for shape in cells(scene)]

    assert len(tips) == len(SCENARIOS) * 3
    assert sorted(tips) == sorted(tip(report.kernel, trial) for report in table.reports for trial in report.trials)
    for report in table.reports:
        for trial in report.trials:
            (said,) = [each for each in tips if each.startswith(f"{report.kernel}, {trial.scenario}: ")]
            assert MEANING[trial.verdict] in said
            assert trial.reason in said


def test_picture_text_and_sums_tell_the_same(table):
    view = grid_view(table)
    marks = [shape.text for shape in view.shown[0].scene.shapes if isinstance(shape, Text)]

    assert repr(view) == str(table)
    for report in table.reports:
        assert f"{report.kernel} {report.passed} of {len(SCENARIOS)}" in view.shown[0].words
        assert str(report.passed) in marks
    for verdict, (mark, _, _) in LOOKS.items():
        there = sum(trial.verdict == verdict for report in table.reports for trial in report.trials)
        assert marks.count(mark) == there + bool(there)  # one more in the legend


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_the_command_of_a_cell_finds_the_same_again(scenario):
    words = shlex.split(command("3.5", scenario.name))
    assert words[0] == "efimm"
    if words[1] == "gauntlet":
        assert words[2:] == ["--kernel", "3.5"]
        return
    expected = try_scenario(efimm.KERNELS["3.5"], scenario)
    said = CliRunner().invoke(cli, [*words[1:], "--json"])

    if expected.verdict == "no machine":
        assert expected.reason in str(said.exception)
    else:
        assert f'"verdict": "{expected.verdict}"' in said.output


def test_a_reader_s_own_kernel_has_a_column_too():
    own = Report(
        "a kernel with a long name", (Trial("1T of RAM", "success", ""), Trial("of my own", "something new", "why"))
    )
    view = grid_view(own)

    assert "a kernel with a long name, of my own: something new (why)" in [
        shape.tip.split(". Again")[0] for shape in cells(view.shown[0].scene)
    ]
    assert command(own.kernel, "1T of RAM") == "efimm run --kernel ./my_fix.py --ram 1T"


def test_reports_that_do_not_match_are_refused():
    one, other = Report("a", (Trial("x", "success", ""),)), Report("b", (Trial("y", "success", ""),))

    for what in ([one, other], [], Report("c", ())):
        with pytest.raises(ValueError, match="same situations"):
            grid_view(what)


@pytest.mark.browser
def test_no_text_leaves_its_cell_with_one_column_or_ten(chromium, table):
    many = [Report(name, table.reports[0].trials) for name in efimm.KERNELS]

    for reports in ([table.reports[0]], table.reports, many):
        assert complaints_of(chromium, grid_view(reports).shown) == {}


@pytest.mark.browser
def test_the_keys_lead_from_cell_to_cell_and_each_is_told(chromium, table):
    view = grid_view(table)
    page = opened(chromium, view, width=1000)
    page.locator("svg.picture .item").first.focus()
    said = []
    for key in ("ArrowRight", "ArrowDown", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
        said.append(page.locator("p.about").inner_text())
        assert page.locator("p.about").is_visible()
    visible = page.evaluate("document.querySelector('p.about').getBoundingClientRect().bottom <= innerHeight")
    page.close()

    names = [f"{kernel}, {scenario.name}: " for kernel, scenario in (
        ("va-patch", SCENARIOS[0]), ("va-patch", SCENARIOS[1]), ("6.1", SCENARIOS[1]), ("6.1", SCENARIOS[0])
    )]  # fmt: skip
    assert all(text.startswith(name) for text, name in zip(said, names, strict=True)), said
    assert visible


@pytest.mark.browser
def test_the_heads_of_the_columns_stay_in_sight(chromium, table):
    page = opened(chromium, grid_view(table))
    seen = page.locator(".heads text").filter(has_text=re.compile(r"^(3\.5|va-patch|6\.1)$"))
    page.locator("svg.picture .item").last.scroll_into_view_if_needed()
    boxes = [each.bounding_box() for each in seen.all()]
    scrolled = page.evaluate("scrollY")
    page.close()

    assert len(boxes) == 3
    assert scrolled > 100
    assert all(0 <= box["y"] and box["y"] + box["height"] < 40 for box in boxes)
