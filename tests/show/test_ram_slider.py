"""The RAM slider without a browser: its films hold what a run gives, its traits answer, nothing is taken silently."""

import asyncio
import json
import os
from dataclasses import replace

import pytest

pytest.importorskip("anywidget")

import ipywidgets
import traitlets

import efimm
from efimm.show import ram_slider
from efimm.show.drawing.pack import unpacked
from efimm.show.ram.moments import moments
from efimm.show.ram.scene import draw
from efimm.show.ram.state import describe, state_of
from efimm.show.ram.strips import FIRMWARE, STOPS, Request, first_film, reel
from efimm.uefi.firmwares import EDK2, FIRMWARES

V3_5 = efimm.KERNELS["3.5"]
NIGHTLY = bool(os.environ.get("EFIMM_NIGHTLY"))
SIZES = (512 << 30, 600 << 30, 64 << 40)


def small(*firmwares, kernels=("3.5", "va-patch"), stops=SIZES):
    return Request(stops, kernels, firmwares or tuple(FIRMWARES))


def shown(film, key, ram, moment=None):
    """A scene of a film in full: title, description, shapes, text, headline, good, note."""
    decisive, places, _ = film["strips"][key][str(ram)]
    height, title, words, shapes, lines, *more = film["scenes"][places[decisive if moment is None else moment]]
    name = key.split("|")[1]
    drawn = json.dumps([film["shapes"][k] for k in shapes]).replace(FIRMWARE, name)
    text = "\n".join(film["lines"][k] for k in lines)
    return [
        height,
        *(said.replace(FIRMWARE, name) for said in (title, words)),
        drawn,
        text.replace(FIRMWARE, name),
        *more,
    ]


def expected(state, note=""):
    scene = draw(state)
    drawn = json.dumps([shape.plain() for shape in (*scene.shapes, *scene.far)])
    return [scene.height, scene.title, scene.description, drawn, describe(state), state.headline, state.good, note]


# films


def test_a_film_has_every_moment_of_every_firmware_as_it_was_run():
    names = ("edk2", "checks-pointer", "own-table", "high-device")
    for kernel in ("3.5", "va-patch"):
        film = unpacked(reel(small(*names), kernel).packed())
        for name in names:
            for ram in SIZES:
                outcome = efimm.run(efimm.machine(ram, firmware=name), kernel)
                key = f"{kernel}|{name}|auto|1G"
                beads = moments(outcome)
                assert [place is None for place in film["strips"][key][str(ram)][1]] == [b.index is None for b in beads]
                for number, bead in enumerate(beads):
                    if bead.index is not None:
                        assert shown(film, key, ram, number) == expected(state_of(outcome, bead))


def test_the_first_film_has_the_decisive_moment_alone():
    request = small("own-table")
    film = unpacked(first_film(replace(request, firmware="own-table")))

    assert set(film["strips"]) == {"3.5|own-table|auto|1G", "va-patch|own-table|auto|1G"}
    for kernel in request.kernels:
        outcome = efimm.run(efimm.machine("600G", firmware="own-table"), kernel)
        key = f"{kernel}|own-table|auto|1G"
        assert shown(film, key, 600 << 30) == expected(state_of(outcome))
        assert sum(place is not None for place in film["strips"][key][str(600 << 30)][1]) == 1


def test_firmwares_that_look_alike_are_sent_once():
    one, two = (unpacked(reel(small(*names), "3.5").packed()) for names in (("edk2",), ("edk2", "page-0")))

    assert len(two["strips"]) == 2
    assert (len(two["scenes"]), two["shapes"]) == (len(one["scenes"]), one["shapes"])


def test_what_is_sent_is_small():
    """150 kB before the first picture, 1 MB in all, for three kernels and every firmware at every stop."""
    # Those that most firmwares look like, and those that look like no other; the night runs all of them.
    names = tuple(FIRMWARES) if NIGHTLY else ("edk2", "checks-pointer", "own-table", "high-device")
    slider = ram_slider(firmwares=names)
    first = len(slider.first) + len(json.dumps(slider.choices)) + len(slider._esm.encode()) + len(slider._css.encode())
    kernels = slider._asked.kernels if NIGHTLY else ("va-patch",)
    everything = sum(len(reel(slider._asked, kernel).packed()) for kernel in kernels)

    assert first < 150_000
    assert first + everything * 3 // len(kernels) < 1_000_000


def test_the_other_firmwares_and_the_beads_follow_the_shown_kernel_first():
    async def show():
        slider = ram_slider(map="hp-superdome2-3tib", kernel="va-patch", kernels=("3.5", "va-patch"))
        assert slider.films == []
        await slider._tasks["films"]
        return slider

    slider = asyncio.run(show())
    films = [unpacked(film) for film in slider.films]
    assert [next(iter(film["strips"])).split("|")[0] for film in films] == ["va-patch", "3.5"]
    assert {key.split("|")[1] for key in films[0]["strips"]} == {*FIRMWARES}


def test_where_nobody_waits_all_is_sent_at_once(monkeypatch):
    monkeypatch.setenv("EFIMM_WHOLE_SLIDERS", "1")
    slider = ram_slider(map="hp-superdome2-3tib", kernels=("3.5", "va-patch"))

    assert len(slider.films) == 2


def test_a_firmware_of_ones_own_that_breaks_is_told_of_and_the_others_still_come():
    broken = replace(EDK2, name="mine", get_time=lambda *_: 1 / 0)
    film = unpacked(reel(small("edk2", broken, "own-table", stops=SIZES[:1]), "va-patch").packed())

    assert film["strips"]["va-patch|mine|auto|1G"][str(SIZES[0])].endswith("ZeroDivisionError: division by zero")
    assert shown(film, "va-patch|own-table|auto|1G", SIZES[0])[5].startswith("Page fault")


# traits


def test_every_choice_can_be_set_and_observed():
    slider = ram_slider("256G")
    seen = []
    slider.observe(lambda change: seen.append((change.name, change.new)), ["ram", "kernel", "firmware", "verdict"])
    slider.ram = "600G"
    slider.kernel = "va-patch"
    slider.firmware = "own-table"

    assert seen == [
        ("verdict", "page-fault"),  # so that who observes `ram` finds the verdict on it
        ("ram", 600 << 30),
        ("verdict", "success"),
        ("kernel", "va-patch"),
        ("verdict", "page-fault"),
        ("firmware", "own-table"),
    ]
    assert slider.outcome.fault.index == 273


def test_outcome_and_verdict_can_be_linked():
    slider, words, other = ram_slider("1T"), ipywidgets.Label(), ram_slider("1G")
    traitlets.dlink((slider, "outcome"), (words, "value"), lambda outcome: f"{outcome.buffer_pa:#x}")
    traitlets.link((slider, "ram"), (other, "ram"))
    traitlets.dlink((slider, "verdict"), (words, "tooltip"))
    slider.ram, slider.kernel = "513G", "hpa-sync"

    assert other.ram == 513 << 30
    assert (words.value, words.tooltip) == (f"{slider.outcome.buffer_pa:#x}", "success")
    assert ipywidgets.HBox([slider, words]).children == (slider, words)
    with pytest.raises(traitlets.TraitError):
        slider.verdict = "success"


@pytest.mark.parametrize("size", [600 << 30, "600G", "600 GiB"])
def test_a_size_that_is_no_stop_is_shown_itself(size):
    slider = ram_slider()
    slider.ram = size

    assert slider.ram == 600 << 30 == slider.outcome.linux.machine.ram
    assert [600 << 30, "600 GiB"] in slider.choices["stops"]
    assert all(len(reasons) == len(slider.choices["stops"]) for _, _, reasons, _ in slider.choices["placements"])


@pytest.mark.parametrize("size", [1, "512M", "128T", "-1G", "much", -(1 << 40)])
def test_a_size_that_no_machine_has_is_refused_and_nothing_changes(size):
    slider = ram_slider("1T")
    with pytest.raises((efimm.MachineError, traitlets.TraitError)):
        slider.ram = size
    assert (slider.ram, slider.verdict) == (1 << 40, "page-fault")


def test_what_there_is_not_is_refused():
    slider = ram_slider("1T")
    for name in ("kernel", "firmware", "beside", "placement", "page_size"):
        before = getattr(slider, name)
        with pytest.raises(efimm.MachineError, match="expected one of"):
            setattr(slider, name, "nothing")
        assert getattr(slider, name) == before
    with pytest.raises(efimm.MachineError, match="moment 99"):
        slider.moment = 99
    with pytest.raises(efimm.MachineError):
        ram_slider(firmware="bios")
    with pytest.raises(efimm.MachineError):
        ram_slider(firmwares=("edk2", "bios"))


def test_a_kernel_or_firmware_of_ones_own_is_taken_wherever_a_name_is():
    kernel = replace(V3_5, name="mine", memmap_pointer=efimm.KERNELS["va-patch"].memmap_pointer)
    firmware = replace(FIRMWARES["own-table"], name="bios of mine")
    slider = ram_slider("1T", kernel=kernel, firmware=firmware, beside="3.5")
    other = ram_slider("1T")
    other.kernel, other.firmware = kernel, firmware

    assert (slider.kernel, slider.firmware, slider.beside) == ("mine", "bios of mine", "3.5")
    assert (other.kernel, other.firmware, other.verdict) == ("mine", "bios of mine", "page-fault")
    assert slider.outcome.fault == other.outcome.fault
    assert slider.line == "efimm run --kernel mine --firmware 'bios of mine' --ram 1T"
    assert "bios of mine" in slider.choices["firmwares"]
    with pytest.raises(efimm.MachineError, match="another one of that name"):
        other.firmware = replace(EDK2, name="bios of mine")


def test_a_record_with_a_known_name_takes_its_place():
    mine = replace(V3_5, memmap_pointer=efimm.KERNELS["va-patch"].memmap_pointer)

    assert ram_slider("1T", kernel=mine).verdict == "success"


def test_code_of_ones_own_that_fails_is_a_verdict():
    slider = ram_slider("1T", kernels=("3.5",))
    slider.firmware = replace(EDK2, name="mine", get_time=lambda *_: 1 / 0)
    slider.kernel = "va-patch"
    slider.wanted += 1

    assert (slider.verdict, slider.outcome) == ("broken", None)
    assert "ZeroDivisionError" in repr(slider)
    assert "ZeroDivisionError" in unpacked(slider.answer)["strips"]["va-patch|mine|auto|1G"][str(1 << 40)]


# what the browser asks for


def test_placement_and_page_size_ask_python_and_say_where_they_cannot_be():
    slider = ram_slider("1T")
    reasons = {key: dict(zip(STOPS, why, strict=True)) for key, _, why, _ in slider.choices["placements"]}
    answers = {}
    for ram in (1 << 40, 1 << 30):
        slider.placement, slider.ram = "below", ram
        slider.wanted += 1
        answers[ram] = unpacked(slider.answer)

    assert {key: list(strip) for answer in answers.values() for key, strip in answer["strips"].items()} == {
        "3.5|edk2|below|1G": [str(1 << 30)]
    }
    assert shown(answers[1 << 40], "3.5|edk2|below|1G", 1 << 40)[5].startswith("Success")
    assert shown(answers[1 << 30], "3.5|edk2|below|1G", 1 << 30)[7].startswith(
        "Not placed as chosen: buffer 0x7ffffff000"
    )
    assert reasons["below"][1 << 30] == "RAM ends at 1 GiB"
    assert reasons["below"][1 << 40] == ""
    slider.page_size = "4K"
    assert slider.outcome.linux.machine.leaf_shift == 12


def test_after_the_stop_that_is_wanted_the_others_follow():
    async def ask():
        slider = ram_slider("1T", kernels=("3.5",), firmwares=("edk2",), beside="va-patch")
        slider._asked = replace(slider._asked, stops=tuple(ram for ram in STOPS if ram <= 1 << 40))
        slider.page_size = "4K"
        slider.wanted += 1
        first = unpacked(slider.answer)
        await slider._tasks["strip"]
        return first, unpacked(slider.answer)

    first, all_of_it = asyncio.run(ask())
    assert {key: list(strip) for key, strip in first["strips"].items()} == {
        "3.5|edk2|auto|4K": [str(1 << 40)],
        "va-patch|edk2|auto|4K": [str(1 << 40)],
    }
    assert [list(strip) for strip in all_of_it["strips"].values()] == [
        [str(ram) for ram in STOPS if ram <= 1 << 40]
    ] * 2


def test_a_moment_is_rewound_to():
    slider = ram_slider("1T")
    slider.moment = 2
    assert "moment: prelog" in repr(slider)
    assert "So far: the kernel's prelog is done, slot 0 written. Slot 2, which it needs, is empty." not in repr(slider)
    assert "So far: the kernel's prelog is done" in repr(slider)
    slider.ram, slider.kernel = "1G", "hpa-sync"
    assert slider.moment in (2, -1)


@pytest.mark.parametrize("kernel", ["3.5", "va-patch", "hpa-sync"])
def test_before_the_decisive_moment_the_headline_says_how_far_the_story_has_come(kernel):
    outcome = efimm.run(efimm.machine("1T"), kernel)
    states = [state_of(outcome, bead) for bead in moments(outcome) if bead.index is not None]

    for state in states:
        early = state.now < state.decisive
        assert state.headline.startswith("So far: ") == early
        assert state.good == (early or outcome.verdict == "success")
        assert (state.headline == state.verdict_words) != early
    assert len({state.headline for state in states if state.now <= state.decisive}) == states[0].decisive + 1


# lines and addresses


def test_a_line_for_a_mail_restores_the_view():
    slider, other = ram_slider("1T"), ram_slider()
    slider.kernel, slider.placement, slider.page_size, slider.firmware = "hpa-sync", "below", "2M", "own-table"
    assert slider.line == (
        "efimm run --kernel hpa-sync --firmware own-table --ram 1T --buffer 0x7ffffff000 --page-size 2M"
    )
    other.line = f"$ {slider.line}"
    assert (other.line, repr(other)) == (slider.line, repr(slider))
    bad = ("", "efimm walk 0", "efimm run --kernel", "efimm run --ram 3P", "efimm run --map nowhere", "rm -rf /")
    for line in (*bad, "efimm run --kernel 2.4", "efimm run --firmware bios", "efimm run --page-size 3K --ram 2T"):
        with pytest.raises(efimm.MachineError):
            other.line = line
        assert other.line == slider.line


def test_a_line_with_a_size_that_is_no_stop_or_another_kernel_shows_that():
    slider = ram_slider()
    slider.line = "efimm run --kernel 6.1 --firmware physical-clock --ram 700G"

    assert (slider.ram, slider.kernel, slider.firmware) == (700 << 30, "6.1", "physical-clock")
    assert slider.outcome.linux.machine.ram == 700 << 30
    assert "6.1" in slider.choices["kernels"]


def test_a_map_takes_the_sliders_place():
    slider = ram_slider(map="hp-superdome2-3tib", kernel="hpa-sync")

    assert slider.fixed
    assert len(slider.choices["stops"]) == 1
    assert slider.line == "efimm run --kernel hpa-sync --map hp-superdome2-3tib"
    assert slider.verdict == "success"
    with pytest.raises(efimm.MachineError, match="machine of this slider has"):
        slider.ram = "1T"


def test_a_slider_begins_where_it_is_told_to():
    mine = replace(V3_5, name="mine", memmap_pointer=efimm.KERNELS["va-patch"].memmap_pointer)
    slider = ram_slider("600G", kernel=mine, kernels=("3.5",), buffer="0x40000000", page_size="2M")

    assert (slider.ram, slider.kernel, slider.placement) == (600 << 30, "mine", "given")
    assert slider.outcome.buffer_pa == 1 << 30
    assert "kernel mine" in slider._repr_mimebundle_()[0]["text/plain"]
