"""Scenes in print: every shape is drawn, no text lies outside, and the styles are those that a browser finds."""

import importlib.util
import io
import re
from html import escape
from pathlib import Path as File

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text as Written
from test_map_view import MAPS
from test_tables_view import CASES

import efimm
from efimm.lives import story_of
from efimm.show.drawing import styles
from efimm.show.drawing.shapes import PATTERNS, Circle, Path, Rect, Scene, Text
from efimm.show.drawing.styles import COLOURS, look
from efimm.show.explorer.scene import draw as draw_walk
from efimm.show.explorer.widget import explorer
from efimm.show.map_view import frame as map_frame
from efimm.show.map_view import map_view
from efimm.show.plots import figure
from efimm.show.ram.scene import picture
from efimm.show.ram.slider import ram_slider
from efimm.show.tables_view import draw as draw_tables
from efimm.show.tables_view import state_of

TAGS = {Rect: "rect", Path: "path", Circle: "circle", Text: "text"}


@pytest.fixture(scope="module", params=[7, pytest.param(1, marks=pytest.mark.nightly)])
def scenes(request):
    """Every kind of picture, and each kernel's last moment; of the tables every seventh, and all of them at night."""
    found = {f"map {name}": map_frame(one).scene for name, one in MAPS.items() if name != "a thousand"}
    for case in [case for case in CASES if case[1] != "64T"][:: request.param]:
        state = state_of(story_of(*case))
        found[f"tables {case}"] = draw_tables(state, len(state.story.moments) - 1)
    for kernel in efimm.KERNELS:
        found[f"main {kernel}"] = picture(efimm.run(efimm.machine("1T"), kernel)).scene
    found["walk"] = draw_walk(explorer().explained)
    return found


@pytest.fixture(scope="module")
def figures(scenes):
    return {name: figure(scene) for name, scene in scenes.items()}


def pixels(scene):
    """The figure as a printer gets it: rows of colours."""
    canvas = FigureCanvasAgg(figure(scene))
    canvas.draw()
    return [[to_hex(colour / 255) for colour in row] for row in np.asarray(canvas.buffer_rgba())]


def test_each_shape_is_drawn(scenes, figures):
    for name, scene in scenes.items():
        axes = figures[name].axes[0]
        texts = [shape for shape in scene.shapes if isinstance(shape, Text)]
        hatches = [shape for shape in scene.shapes if shape.role.startswith("hatch ")]
        assert [text.get_text() for text in axes.texts] == [text.text for text in texts], name
        assert len(axes.patches) == len(scene.shapes) - len(texts) + len(hatches), name
    kinds = {type(shape) for scene in scenes.values() for shape in scene.shapes}
    assert kinds == {Rect, Path, Circle, Text}


def test_no_text_lies_outside(figures):
    for name, one in figures.items():
        renderer = FigureCanvasAgg(one).get_renderer()
        width, height = one.bbox.width, one.bbox.height
        for text in one.findobj(Written):
            if text.get_text():
                box = text.get_window_extent(renderer)
                assert -0.5 <= box.x0 <= box.x1 <= width + 0.5, (name, text.get_text())
                assert -0.5 <= box.y0 <= box.y1 <= height + 0.5, (name, text.get_text())


def test_the_check_itself_sees_a_text_outside():
    bad = Scene(100, 50, "", "", (Text(60, 20, "much too long for this", "small"),))
    with pytest.raises(AssertionError):
        test_no_text_lies_outside({"bad": figure(bad)})


def test_each_kind_of_shape_leaves_its_colour_where_it_lies():
    shapes = (
        Rect(10, 10, 20, 20, "area code"),
        Circle(60, 20, 8, "bead fault"),
        Path("M90 10L110 10L110 30L90 30Z", "tick"),
        Path("M10 60C20 60 40 60 50 60", "string done"),
    )
    found = pixels(Scene(200, 100, "", "", shapes))

    assert found[20][20] == look("rect", "area code")["fill"] == "#007a59"
    assert found[20][60] == look("circle", "bead fault")["fill"] == "#c45500"
    assert found[20][100] == look("path", "tick")["fill"]
    assert found[60][30] != "#ffffff"
    assert found[80][150] == "#ffffff"


@pytest.mark.parametrize("name", PATTERNS)
def test_hatching_stays_inside_its_shape(name):
    scene = Scene(100, 100, "", "", (Path("M50 20L80 80L20 80Z", f"hatch {name}"),))
    inked = [(x, y) for y, row in enumerate(pixels(scene)) for x, colour in enumerate(row) if colour != "#ffffff"]

    assert len(inked) > 150
    assert all(20 <= y <= 80 and abs(x - 50) <= (y - 20) / 2 + 1.5 for x, y in inked)


def test_a_dollar_sign_is_no_formula_and_files_can_be_written():
    scene = Scene(300, 50, "", "", (Text(10, 20, "$a$ and 50% of $b", "small"),))
    page = io.BytesIO()
    figure(scene).savefig(page, format="pdf")

    assert page.getvalue().startswith(b"%PDF")
    assert figure(scene).axes[0].texts[0].get_parse_math() is False
    assert plt.get_fignums() == []


def test_every_role_has_a_style(scenes):
    """A shape without one would be black."""
    roles = {(TAGS[type(shape)], shape.role) for scene in scenes.values() for shape in scene.shapes}
    lacking = {pair for pair in roles if "fill" not in look(*pair) and not pair[1].startswith("hatch ")}

    assert {pair for pair in lacking if "stroke" not in look(*pair)} == set()


def test_more_classes_win_whatever_the_order(monkeypatch):
    rules = {".a.b": "#111111", ".a": "#222222", "text.c": "#333333", ".c": "none"}
    monkeypatch.setattr(styles, "ROLES", {role: {"fill": fill} for role, fill in rules.items()})
    styles.look.cache_clear()
    try:
        found = [look("rect", role).get("fill") for role in ("a b", "a", "b", "c")] + [look("text", "c")["fill"]]
    finally:
        styles.look.cache_clear()

    assert found == ["#111111", "#222222", None, "none", "#333333"]


# What a figure takes, and how a notebook shows it


def test_a_figure_is_made_of_whatever_shows_a_picture():
    slider, outcome = ram_slider("600G"), efimm.run(efimm.machine("600G"), "3.5")
    decisive = figure(slider)
    slider.moment = 2
    rewound = figure(slider)

    assert decisive.scene == figure(outcome).scene == figure(picture(outcome)).scene == picture(outcome).scene
    assert str(decisive) == picture(outcome).twin
    assert rewound.scene == picture(outcome, "prelog").scene
    assert str(rewound) == str(slider)
    for view in (explorer(), map_view("hp-superdome2-3tib")):
        assert str(figure(view)) == str(view)


def test_what_shows_no_picture_is_refused():
    with pytest.raises(TypeError, match="expected an outcome, a picture, or a view"):
        figure(512)


def test_a_notebook_gets_the_words_of_a_figure_and_both_themes(scenes, figures):
    for name, scene in scenes.items():
        html = figures[name]._repr_mimebundle_()["text/html"]
        drawn = html[html.index("<svg") : html.rindex("</svg>")]

        assert html.count('role="img"') == 1, name
        assert escape(scene.title) in html, name
        assert escape(scene.description) in html, name
        single = set(re.findall(r": (#[0-9a-f]{6})", drawn))
        assert single <= SAME_IN_BOTH, (name, single - SAME_IN_BOTH)
        assert "light-dark(#16191c, #e9ecef)" in drawn, name


# Colours on a ground of their own: they have no second theme.
SAME_IN_BOTH = {light for light, dark in COLOURS.values() if light == dark} | {"#16191b", "#b8c0c8", "#f2f4f6"}


COMPUTED = """
(pairs) => pairs.map(([tag, role]) => {
  const svg = document.querySelector("svg");
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  node.setAttribute("class", role);
  svg.append(node);
  const style = getComputedStyle(node);
  const hex = (colour) => colour === "none" ? "none"
      : "#" + [...colour.matchAll(/\\d+/g)].slice(0, 3).map(([n]) => Number(n).toString(16).padStart(2, "0")).join("");
  return [hex(style.fill), hex(style.stroke), parseFloat(style.strokeWidth), parseFloat(style.fillOpacity)];
})
"""


@pytest.mark.browser
@pytest.mark.skipif(not File("/usr/bin/chromium").exists(), reason="no /usr/bin/chromium")
@pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed")
def test_styles_are_those_that_a_browser_finds(scenes):
    from playwright.sync_api import sync_playwright
    from test_browser import CHROMIUM, FLAGS

    from efimm.show.drawing.styles import css

    pairs = sorted({(TAGS[type(shape)], shape.role) for scene in scenes.values() for shape in scene.shapes})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(color_scheme="light")
        page.set_content(f"<!doctype html><style>{css()}</style><div class='efimm'><svg class='picture'></svg></div>")
        computed = page.evaluate(COMPUTED, [list(pair) for pair in pairs])
        browser.close()
    for (tag, role), (fill, stroke, width, opacity) in zip(pairs, computed, strict=True):
        found = look(tag, role)
        assert found.get("fill", "#000000") == fill, (tag, role)
        assert found.get("stroke", "none") == stroke, (tag, role)
        if stroke != "none":
            assert float(re.sub("px$", "", found.get("stroke-width", "1"))) == width, (tag, role)
        assert float(found.get("fill-opacity", "1")) == opacity, (tag, role)
    assert len(pairs) > 40
