"""The pictures as a browser draws them: nothing overlaps, nothing is cut, and the slider works in a real JupyterLab."""

import importlib.util
import json
import os
import shutil
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

import efimm
from benchmarks.views import lab as views_lab
from efimm.show import picture
from efimm.show.drawing.pack import Packer
from efimm.show.drawing.styles import STATIC, css
from efimm.show.ram.moments import moments
from efimm.show.ram.places import WIDTH
from efimm.show.ram.scene import draw, with_legend
from efimm.show.ram.state import describe, state_of
from efimm.show.ram.strips import STOPS

ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
KERNELS = ("3.5", "va-patch", "hpa-sync")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no {CHROMIUM}"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
]

# Texts that overlap each other or leave the picture, and texts below 12 px at the picture's own width.
COMPLAINTS = """
(root) => {
  const svg = root.querySelector("svg.picture"), box = svg.getBoundingClientRect(), wrong = [];
  const texts = [...svg.querySelectorAll("text")].map((node) => [node.textContent, node.getBoundingClientRect()])
    .filter(([, edge]) => edge.width > 0); // what is not shown disturbs nobody
  const scale = box.width / svg.viewBox.baseVal.width;
  texts.forEach(([words, a], k) => {
    const inside = a.left >= box.left && a.right <= box.right && a.top >= box.top && a.bottom <= box.bottom;
    if (!inside) wrong.push("cut: " + words);
    for (const [other, b] of texts.slice(k + 1)) {
      // A line box is higher than its letters: lines of one paragraph may touch by a pixel.
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 0 && down > 1.5 * scale) wrong.push(`overlap: ${words} / ${other}`);
    }
  });
  for (const node of svg.querySelectorAll("text")) {
    if (parseFloat(getComputedStyle(node).fontSize) < 12) wrong.push("small: " + node.textContent);
  }
  for (const rect of svg.querySelectorAll("rect.slot, rect.gap, rect.console, rect.panel")) {
    const edge = rect.getBoundingClientRect();
    for (const [words, a] of texts) {
      const inside = a.left >= edge.left && a.left < edge.right && a.top + 2 > edge.top && a.bottom - 2 < edge.bottom;
      if (inside && a.right > edge.right) wrong.push("runs out of its box: " + words);
    }
  }
  return wrong;
}
"""


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def blank_page(
    chromium, width=1000, scripts=("picture.js", "strips.js", "viewline.js", "screen.js", "slider.js", "predict.js")
):
    """A page with the styles and the JavaScript of the widgets, `drawScene` and `widget` within reach."""
    page = chromium.new_page(viewport={"width": width, "height": 760})
    page.set_content(f"<!doctype html><style>{css()}</style><body><div class='efimm' id='root'></div></body>")
    script = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in scripts)
    script = script.replace("export default", "window.widget =")
    page.add_script_tag(content=script.replace("export function", "window.drawScene = function"), type="module")
    page.wait_for_function("window.drawScene && window.widget")
    return page


def states():
    """Every stop with every kernel, both sides of the line where there is RAM, and every moment of three machines."""
    line = 512 << 30
    for kernel in KERNELS:
        for ram in STOPS:
            for buffer in (None, line - 4096, line):
                try:
                    outcome = efimm.run(efimm.machine(ram, buffer=buffer), kernel)
                except efimm.MachineError:
                    continue
                yield f"{kernel} {ram >> 30}G {buffer}", state_of(outcome)
        for ram in ("1G", "2T", "64T"):
            outcome = efimm.run(efimm.machine(ram), kernel)
            for bead in moments(outcome):
                if bead.index is not None:
                    yield f"{kernel} {ram} {bead.label}", state_of(outcome, bead)
        for name in efimm.machines.data_files():
            yield f"{kernel} {name}", state_of(efimm.run(efimm.machine(map=name), kernel))


@cache
def packed_states():
    """The scenes of `states()` by name, and the pools that they are made of."""
    packer = Packer()
    return {name: packer.pack(draw(state), describe(state)) for name, state in states()}, packer.pools(WIDTH)


def drawn_in_turn(chromium, prepare, told):
    """What the expression `told` gives for each of `states()`, drawn in a page of its own, by name."""
    page = blank_page(chromium)
    scenes, pools = packed_states()
    page.evaluate("([pools]) => { window.pools = pools; }", [pools])
    each = f"""
    (scenes) => scenes.map((scene) => {{
      const root = document.getElementById("root");
      {prepare}
      root.replaceChildren(drawScene(scene, pools));
      return {told};
    }})"""
    found = page.evaluate(each, list(scenes.values()))
    page.close()
    return dict(zip(scenes, found, strict=True))


def test_no_label_overlaps_or_is_cut_at_any_stop(chromium):
    found = drawn_in_turn(chromium, "", f"({COMPLAINTS})(root)")

    assert len(found) > 200
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_no_large_letter_overlaps_or_is_cut_on_a_projector(chromium):
    large = "root.className = 'efimm projector frames two'; root.parentElement.className = 'efimm projector';"
    seen = "[...root.querySelectorAll('text')].filter((node) => node.getBoundingClientRect().width).length"
    found = drawn_in_turn(chromium, large, f"[({COMPLAINTS})(root), {seen}]")

    assert {name: wrong for name, (wrong, _) in found.items() if wrong} == {}
    assert min(texts for _, texts in found.values()) >= 8  # three heads, a block, slots, who asks, the moment


def test_the_check_itself_sees_what_is_wrong(chromium):
    page = blank_page(chromium)
    bad = """<svg class="picture" viewBox="0 0 960 100" width="960"><text x="10" y="30">one text</text>
        <text x="20" y="33">another</text><text x="940" y="60">cut off here</text>
        <text x="9" y="90" style="font-size: 11px">tiny</text></svg>"""
    page.evaluate("(html) => { document.getElementById('root').innerHTML = html; }", bad)
    found = page.evaluate(COMPLAINTS, page.query_selector("#root"))
    page.close()

    assert {complaint.split(":")[0] for complaint in found} == {"overlap", "cut", "small"}


def test_python_and_javascript_draw_the_same(chromium):
    page = blank_page(chromium)
    outcome = efimm.run(efimm.machine("1T"), "3.5")
    packer = Packer()
    state = state_of(outcome)
    scene = packer.pack(replace(with_legend(draw(state)), far=()), describe(state))
    inner = """(svg) => [...svg.querySelectorAll("rect, path, circle, text")]
        .map((node) => [node.tagName, node.className.baseVal, node.textContent])"""
    page.evaluate(
        "([scene, pools]) => document.getElementById('root').replaceChildren(drawScene(scene, pools))",
        [scene, packer.pools(WIDTH)],
    )
    from_javascript = page.evaluate(f"({inner})(document.querySelector('svg'))")
    page.evaluate("(html) => { document.getElementById('root').innerHTML = html; }", picture(outcome)._html())
    from_python = page.evaluate(f"({inner})(document.querySelector('svg'))")
    page.close()

    assert from_python == from_javascript


def test_a_phone_shows_the_parts_one_below_the_other(chromium):
    from efimm.show import ram_slider

    page = blank_page(chromium, width=360)
    page.evaluate(MODEL, plain(ram_slider("1T", kernel="hpa-sync", firmwares=("edk2",))))
    page.locator("svg.picture").first.wait_for()
    page.wait_for_function("document.querySelectorAll('svg.picture').length > 3")
    wide = page.evaluate("document.documentElement.scrollWidth")
    parts = page.locator(".frames svg.picture")
    names = [parts.nth(k).get_attribute("aria-label") for k in range(parts.count())]
    boxes = [parts.nth(k).bounding_box() for k in range(parts.count())]
    smallest = page.evaluate("""() => {
      const texts = [...document.querySelectorAll(".efimm svg text")];
      const seen = texts.filter((node) => node.getBoundingClientRect().width);
      return Math.min(...seen.map((node) => parseFloat(getComputedStyle(node).fontSize) * node.getScreenCTM().a));
    }""")
    beads = {node.get_attribute("data-moment") for node in page.locator("[data-moment]").all()}
    page.locator("[data-moment='2']").click()
    asked = page.evaluate("model.traits.moment")
    page.evaluate("window.scrollTo(0, 900)")
    page.wait_for_timeout(100)
    held = page.locator("input[type=range]").bounding_box(), page.locator("p.verdict").bounding_box()
    page.close()

    assert wide <= 360
    assert [name.split()[0] for name in names] == ["memory", "memory", "slots", "who", "moments", "moments", "moments"]
    assert all(one["y"] + one["height"] <= other["y"] for one, other in pairwise(boxes))
    assert smallest >= 12
    assert beads == {str(number) for number in range(9)}
    assert asked == 2
    assert all(0 <= box["y"] < 200 for box in held)


def test_keys_move_the_slider_and_rewind(chromium):
    from efimm.show import ram_slider

    page = blank_page(chromium)
    page.evaluate(MODEL, plain(ram_slider(ram="512G", kernels=("3.5",), firmwares=("edk2",))))
    page.locator("svg.picture").wait_for()
    page.locator("input[type=range]").focus()
    before = page.locator("p.verdict").inner_text()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    after = page.locator("p.verdict").inner_text()
    page.locator("[data-moment='2']").focus()
    page.keyboard.press("Enter")
    asked = page.evaluate("model.traits.moment")
    page.close()

    assert before.startswith("Page fault")
    assert after.startswith("Success")
    assert asked == 2


def test_a_line_is_shown_and_restores_the_view(chromium):
    from efimm.show import ram_slider

    page, slider = blank_page(chromium), ram_slider("513G", kernels=("3.5", "va-patch"), firmwares=("edk2",))
    page.evaluate(MODEL, plain(slider))
    page.locator("svg.picture").wait_for()
    line = page.get_by_label("This view as a line")
    shown = line.input_value()
    line.fill("efimm run --kernel va-patch --ram 2T")
    page.keyboard.press("Enter")
    restored = page.evaluate("['ram', 'kernel', 'placement'].map((name) => model.get(name))")
    verdict = page.locator("p.verdict").inner_text()
    line.fill("efimm run --ram 3P")
    page.keyboard.press("Enter")
    refused = page.locator("p.note").inner_text()
    page.get_by_role("button", name="Projector").click()
    wide = page.locator(".efimm.projector").bounding_box()
    complaints = page.evaluate(COMPLAINTS, page.query_selector(".projector"))
    page.close()

    assert shown == slider.line == "efimm run --kernel 3.5 --ram 513G"
    assert restored == [2 << 40, "va-patch", "auto"]
    assert verdict.startswith("Success")
    assert refused.startswith("This is no line of this view")
    assert (wide["x"], wide["y"], wide["width"]) == (0, 0, 1000)
    assert complaints == []


def plain(slider):
    """What the browser gets of a slider, as JSON can carry it."""
    state = {name: value for name, value in slider.get_state().items() if name in slider.traits(sync=True)}
    chosen = {name: value for name, value in state.items() if not name.startswith("_") and name != "layout"}
    films = [b64encode(film).decode() for film in slider.films]
    coded = {"first": b64encode(slider.first).decode(), "films": films, "answer": b64encode(slider.answer).decode()}
    return json.loads(json.dumps({**chosen, **coded}))


# The part of a Jupyter widget model that the widget uses.
MODEL = """
(traits) => {
  const view = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  window.view = view;
  for (const name of ["first", "answer"]) if (name in traits) traits[name] = view(traits[name]);
  if (traits.films) traits.films = traits.films.map(view);
  window.model = {
    traits, listeners: [], saved: 0,
    get(key) { return this.traits[key]; },
    set(key, value) {
      if (this.traits[key] === value) return;
      this.traits[key] = value;
      for (const [names, call] of this.listeners) if (names.split(" ").includes("change:" + key)) call();
    },
    on(names, call) { this.listeners.push([names, call]); },
    off() {},
    save_changes() { this.saved += 1; },
  };
  widget.render({ model, el: document.body });
}
"""


# JupyterLab

ALONE = """from efimm.course import predict
from efimm.show import ram_slider
display(ram_slider())
predict("Slot?", 1, {515: "That is the number of GiB."})"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab that shows a copy of notebook 04, or a notebook with the slider alone."""
    folder = tmp_path_factory.mktemp("lab")
    source = ROOT / "notebooks" / "04-the-bug.ipynb"
    target = folder / "story.ipynb"
    if source.exists():
        shutil.copy(source, target)
    else:
        cell = {"cell_type": "code", "source": ALONE}
        cell |= {"execution_count": None, "metadata": {}, "outputs": [], "id": "one"}
        target.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    with jupyterlab(folder) as address:
        yield f"{address}/doc/tree/story.ipynb"


@contextmanager
def jupyterlab(folder):
    """A JupyterLab on the notebooks in `folder`; its address."""
    if importlib.util.find_spec("jupyterlab") is None:
        pytest.skip("JupyterLab is not installed")
    with views_lab.jupyterlab(folder) as address:
        yield address


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["JupyterLab Light", pytest.param("JupyterLab Dark", marks=pytest.mark.nightly)])
def test_the_slider_in_jupyterlab(chromium, lab, theme):
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.goto(lab)
    page.wait_for_function("window.jupyterapp && document.querySelector('.jp-Notebook')", timeout=90_000)
    page.evaluate("(theme) => void jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
    light = str(theme.endswith("Light")).lower()
    page.wait_for_function(f"document.body.dataset.jpThemeLight === '{light}'", timeout=30_000)
    page.wait_for_timeout(1500)
    views_lab.run_all(page)
    slider = page.locator(".efimm input[type=range]").first
    slider.wait_for(timeout=120_000)
    widget = page.locator(".efimm:has(input[type=range])").first
    # Lab scrolls to each cell as it runs, and once more after that.
    page.wait_for_function(
        "![...document.querySelectorAll('.jp-InputPrompt')].some((node) => node.textContent.includes('*'))",
        timeout=120_000,
    )
    stand_still(page, slider)
    first = widget.locator("p.verdict").inner_text(), widget.locator("svg.picture").inner_html()

    verdicts = drag(page, slider)

    last = widget.locator("p.verdict").inner_text(), widget.locator("svg.picture").inner_html()
    shown = widget.locator("output").inner_text()
    stop = page.evaluate("(node) => node.getAttribute('aria-valuetext')", slider.element_handle())
    complaints = page.evaluate(COMPLAINTS, widget.element_handle())
    rewound = click_bead(page, widget)
    keyed = press_keys(page, widget, slider)
    answered = answer(page, "0x7b5")
    shot = os.environ.get("EFIMM_SCREENSHOTS")
    if shot:
        widget.screenshot(path=f"{shot}/lab-{theme.split()[-1].lower()}.png")
    page.close()

    assert first[0].startswith("Success")
    assert last[0].startswith("Page fault")
    assert first[1] != last[1]
    assert {words.split(":")[0] for words in verdicts} == {"Success", "Page fault"}
    assert shown == stop
    assert complaints == []
    assert "prelog" in rewound
    assert keyed == (stop, "Success", "moment: array filled")
    assert answered.startswith("Your answer: 0x7b5. Not yet")
    assert [problem for problem in problems if not is_labs_own(problem)] == []


def stand_still(page, slider):
    """Bring `slider` into sight until it has stood there for two seconds.

    Lab scrolls late, and moves what stands below a cell that gets its height when it is first seen.  What is out of
    sight has no inner text (content-visibility).
    """
    seen = []
    for _ in range(240):
        slider.scroll_into_view_if_needed()
        seen.append(slider.bounding_box())
        if len(seen) > 8 and all(box == seen[-1] for box in seen[-9:]):
            return
        page.wait_for_timeout(250)
    raise AssertionError(f"the slider does not come to rest: {seen[-9:]}")


def drag(page, slider):
    """Drag the thumb by mouse from left to right across 512 GiB, and stay there; the verdicts on the way."""
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    here = float(slider.evaluate("(node) => node.value / node.max"))
    page.mouse.move(box["x"] + 8 + here * (box["width"] - 16), y)
    page.mouse.down()
    verdicts = []
    for step in range(1, 13):
        page.mouse.move(box["x"] + 8 + (here + (0.9 - here) * step / 12) * (box["width"] - 16), y)
        verdicts.append(page.locator(".efimm p.verdict").first.inner_text())
    page.mouse.up()
    return verdicts


def click_bead(page, widget):
    """Rewind to the third moment by a click; the title of the picture then."""
    before = widget.locator("svg.picture > title").text_content()
    widget.locator("[data-moment='2']").first.click()
    for _ in range(100):
        page.wait_for_timeout(100)
        title = widget.locator("svg.picture > title").text_content()
        if title != before:
            return title
    return before


def press_keys(page, widget, slider):
    """By keys alone: to the lowest stop and on the beads; the stop before, the verdict, and the end of the title."""
    before = widget.locator("output").inner_text()
    slider.focus()
    page.keyboard.press("Home")
    verdict = widget.locator("p.verdict").inner_text().split(":")[0]
    title = widget.locator("svg.picture > title")
    old = title.text_content()
    widget.locator("[data-moment='1']").focus()
    page.keyboard.press("Enter")
    for _ in range(100):
        page.wait_for_timeout(100)
        if title.text_content() != old:
            break
    return before, verdict, title.text_content().split("; ")[-1]


def answer(page, guess):
    """What the first prediction box says to `guess`, sent with Enter."""
    form = page.locator(".efimm form.predict").first
    form.scroll_into_view_if_needed()
    form.locator("input").fill(guess)
    page.keyboard.press("Enter")
    feedback = page.locator(".efimm .feedback").first
    for _ in range(100):
        page.wait_for_timeout(100)
        if feedback.inner_text():
            break
    return feedback.inner_text()


def is_labs_own(problem):
    """Messages of JupyterLab itself: what it asks its server for and does not find."""
    return "Failed to load resource" in problem
