"""The RAM slider in a browser: what answers without Python, what says that it needs it, two kernels on one slider."""

import json
from base64 import b64encode
from dataclasses import replace
from itertools import product

import pytest

pytest.importorskip("anywidget")

from test_browser import MODEL, blank_page, chromium, plain, pytestmark

import efimm
from efimm.show import ram_slider
from efimm.show.drawing.pack import packed, unpacked
from efimm.show.ram.strips import one_stop, reel
from efimm.text import verdict_line
from efimm.uefi.firmwares import FIRMWARES

__all__ = ["chromium", "pytestmark"]  # a fixture and the marks of this module: pytest finds them by name

FIRMWARE_NAMES = ("edk2", "checks-pointer", "own-table")
SIZES = (256 << 30, 512 << 30, 600 << 30, 1 << 40)


@pytest.fixture(scope="module")
def slider():
    """A slider with four sizes and three firmwares, and all of its films."""
    found = ram_slider("600G", kernels=("3.5", "va-patch", "hpa-sync"), firmwares=FIRMWARE_NAMES)
    found._change(stops=SIZES)
    found.films = [reel(found._asked, kernel).packed() for kernel in found._asked.kernels]
    return found


def opened(browser, slider, *, alone=False, films=True, width=1000):
    """A page with the slider in it; `alone` without a Python to hear of it, and without `films` as it is sent first."""
    page = blank_page(browser, width=width)
    traits = plain(slider) | ({} if films else {"films": []})
    page.evaluate(MODEL.replace("window.model = {", f"window.model = {{ alone: {json.dumps(alone)},"), traits)
    page.locator("svg.picture").first.wait_for()
    page.wait_for_function(
        f"!{json.dumps(films)} || document.querySelector('.efimm select').innerText.indexOf('way') < 0"
    )
    return page


def choose(page, label, value):
    page.get_by_label(label, exact=True).select_option(value)


def test_every_firmware_answers_without_python_what_a_run_gives(chromium, slider):
    page = opened(chromium, slider, alone=True)
    wrong = []
    for name in FIRMWARE_NAMES:
        choose(page, "Firmware", name)
        for kernel in ("3.5", "va-patch", "hpa-sync"):
            choose(page, "Kernel", kernel)
            shown = page.locator("p.verdict").inner_text()
            outcome = efimm.run(efimm.machine("600G", firmware=name), kernel)
            if shown != verdict_line(outcome):
                wrong.append((name, kernel, shown))
            assert f"firmware {name}" in page.locator("svg.picture > title").text_content()
            assert f"firmware {name}" in page.locator("details pre").text_content()
            assert page.locator("svg.picture text", has_text=f"firmware {name}").count() == 1
    line = page.get_by_label("This view as a line").input_value()
    asked = page.evaluate("model.traits.wanted")
    page.close()

    assert wrong == []
    assert line == "efimm run --kernel hpa-sync --firmware own-table --ram 600G"
    assert asked == 0


def test_beads_work_without_python_and_the_headline_follows(chromium, slider):
    page = opened(chromium, slider, alone=True)
    headlines = {}
    for number in range(5):
        page.locator(f"[data-moment='{number}']").click()
        headlines[number] = page.locator("p.verdict").inner_text()
    page.locator("input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    after = page.locator("p.verdict").inner_text()
    page.close()

    assert headlines[0] == "So far: the kernel has booted, and the array is still to be made."
    assert headlines[2].startswith(
        "So far: the kernel's prelog is done, slot 0 written. Slot 1, which it needs, is empty"
    )
    assert headlines[4].startswith("So far: the firmware has switched")
    assert len({*headlines.values()}) == 5
    assert after.startswith("Page fault")  # the slider shows the decisive moment of another size


def test_a_strip_that_is_on_its_way_says_so_and_is_asked_for_when_chosen(chromium, slider):
    page = opened(chromium, slider, films=False)
    labels = page.locator("select").nth(2).locator("option").all_inner_texts()
    before = page.locator("p.verdict").inner_text()
    choose(page, "Firmware", "own-table")
    said, asked = page.locator("p.note").inner_text(), page.evaluate("model.traits.wanted")
    films = [b64encode(film).decode() for film in slider.films]
    page.evaluate("(films) => model.set('films', films.map(view))", films)
    page.wait_for_function(f"document.querySelector('p.verdict').innerText !== {json.dumps(before)}")
    now = page.locator("select").nth(2).locator("option").all_inner_texts()
    note = page.locator("p.note").inner_text()
    page.close()

    assert labels == ["edk2", "checks-pointer (on its way)", "own-table (on its way)"]
    assert now == list(FIRMWARE_NAMES)
    assert (said, asked, note) == ("On its way: Python computes this picture.", 1, "")


def test_what_needs_python_and_has_none_says_so_at_once(chromium, slider):
    page = opened(chromium, slider, alone=True, films=False)
    off = page.locator("select").nth(2).locator("option:disabled").all_inner_texts()
    pages = page.get_by_label("Largest page", exact=True).locator("option:disabled").all_inner_texts()
    page.locator("[data-moment='1']").click()
    said = page.locator("p.note").inner_text()
    line = page.get_by_label("This view as a line")
    line.fill("efimm run --ram 700G")
    page.keyboard.press("Enter")
    size, picture = page.locator("p.note").inner_text(), page.locator("svg.picture > title").text_content()
    asked = page.evaluate("model.traits.wanted")
    page.close()

    assert off == ["checks-pointer (needs Python)", "own-table (needs Python)"]
    assert pages == ["2M (needs Python)", "4K (needs Python)"]
    assert said.startswith("This needs Python, and none is running here. What works without it: all sizes")
    assert size.startswith(
        "This page has no picture of 700G, and no Python to make one. It has 256 GiB, 512 GiB, 600 GiB"
    )
    assert "600 GiB" in picture
    assert asked == 0


def test_a_line_with_a_size_that_is_no_stop_asks_python_for_it(chromium, slider):
    page = opened(chromium, slider)
    line = page.get_by_label("This view as a line")
    line.fill("$ efimm run --kernel va-patch --firmware own-table --ram 700G")
    page.keyboard.press("Enter")
    asked = page.evaluate("['ram', 'kernel', 'firmware', 'wanted'].map((name) => model.get(name))")
    other = ram_slider("256G", firmwares=FIRMWARE_NAMES)
    other.ram, other.kernel, other.firmware = asked[0], asked[1], asked[2]
    other.wanted += 1
    answer = b64encode(other.answer).decode()
    page.evaluate("([choices]) => model.set('choices', choices)", [json.loads(json.dumps(other.choices))])
    page.evaluate("(answer) => model.set('answer', view(answer))", answer)
    page.wait_for_function("document.querySelector('svg.picture > title').textContent.includes('700 GiB')")
    shown = page.locator("output").inner_text(), page.locator("p.verdict").inner_text()
    page.close()

    assert asked == [700 << 30, "va-patch", "own-table", 1]
    assert shown == ("700 GiB", verdict_line(other.outcome))


def test_a_long_use_keeps_the_last_strips_that_python_was_asked_for(chromium, slider):
    page = opened(chromium, slider)
    film = unpacked(one_stop(replace(slider._asked, page_size="4K"), 600 << 30, ["3.5"]))
    (strip,) = film["strips"].values()
    keys = ["|".join((*names, "4K")) for names in product(slider.choices["kernels"], FIRMWARE_NAMES, ("auto", "low"))]
    for key in [*keys[1:], keys[0]]:  # the first one is what the slider asks for
        answer = b64encode(packed(film | {"strips": {key: strip}})).decode()
        page.evaluate("(answer) => model.set('answer', view(answer))", answer)
    asked = []
    for label, value in [("Largest page", "4K"), ("Firmware", "checks-pointer"), ("Largest page", "1G")]:
        choose(page, label, value)
        asked.append(page.evaluate("model.get('wanted')"))
    page.close()

    assert keys[:3:2] == ["3.5|edk2|auto|4K", "3.5|checks-pointer|auto|4K"]
    assert asked == [0, 1, 1]


@pytest.mark.parametrize(
    "hash_",
    [
        "#efimm+run+--kernel+va-patch+--firmware+own-table+--ram+1T",
        "#efimm%20run%20--kernel%20va-patch%20--firmware%20own-table%20--ram%201T",
        "#kernel=va-patch&firmware=own-table&ram=1T",
    ],
)
def test_an_address_leads_to_its_view(chromium, slider, hash_):
    page = blank_page(chromium)
    page.evaluate("(hash) => { location.hash = hash; }", hash_)
    page.evaluate(MODEL, plain(slider))
    page.locator("svg.picture").wait_for()
    page.wait_for_function("document.querySelector('p.verdict').innerText.startsWith('Page fault')")
    shown = page.evaluate("['kernel', 'firmware', 'ram'].map((name) => model.get(name))")
    page.close()

    assert shown == ["va-patch", "own-table", 1 << 40]


def test_two_kernels_on_one_slider(chromium, slider):
    page = opened(chromium, slider, alone=True)
    choose(page, "beside", "va-patch")
    both = page.locator("p.verdict").all_inner_texts()
    choose(page, "Firmware", "own-table")
    turned = page.locator("p.verdict").all_inner_texts()
    page.locator("[data-moment='1']").nth(1).click()
    rewound = page.locator("p.verdict").all_inner_texts()
    titles = page.locator("svg.picture > title").all_text_contents()
    twins = page.locator("details pre").text_content()
    choose(page, "beside", "")
    left = page.locator("svg.picture").count()
    page.close()

    assert [words.split(":")[0] for words in both] == ["Page fault", "Success"]
    assert [words.split(":")[0] for words in turned] == ["Success", "Page fault"]
    assert [words.split(":")[0] for words in rewound] == ["Success", "So far"]
    assert [title.split(" on ")[0] for title in titles] == ["Kernel 3.5", "Kernel va-patch"]
    assert twins.count("top-level table") == 2
    assert left == 1


def test_keys_choose_a_firmware(chromium, slider):
    page = opened(chromium, slider, alone=True)
    page.get_by_label("Firmware", exact=True).focus()
    page.keyboard.press("o")
    chosen = page.evaluate("model.get('firmware')")
    page.close()

    assert chosen == "own-table"


def test_all_our_firmwares_are_there(chromium):
    found = ram_slider(map="hp-superdome2-3tib")
    page = opened(chromium, found, films=False)
    names = page.evaluate("[...document.querySelectorAll('select')[2].options].map((option) => option.value)")
    page.close()

    assert names == list(FIRMWARES)
