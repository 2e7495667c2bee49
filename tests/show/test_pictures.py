"""Every stop of the slider as data: the scene, its SVG, its text twin and the trace they come from tell the same."""

import math
import re
import xml.etree.ElementTree as ET
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest

import efimm
from efimm.exercises.answers import Feedback, Question
from efimm.linux.efi_map import early_code_mapping_set_exec
from efimm.linux.layout import PAGE_OFFSET
from efimm.machines import number
from efimm.show.drawing.shapes import Circle, Path, Rect, Text
from efimm.show.drawing.styles import css
from efimm.show.drawing.svg import inline_svg, svg
from efimm.show.ram.moments import decisive, moments, table_at
from efimm.show.ram.scene import draw, picture, places
from efimm.show.ram.state import block_rows, describe, slot_rows, state_of, twin
from efimm.show.ram.strips import STOPS
from efimm.trace import EntryWrite, LoadCr3

KERNELS = ("3.5", "va-patch", "hpa-sync")
LINE = 512 << 30
V3_5 = efimm.KERNELS["3.5"]
SVG = "{http://www.w3.org/2000/svg}"


def outcomes():
    for kernel in KERNELS:
        for ram in STOPS:
            for buffer in (None, LINE - 4096, LINE):
                try:
                    yield efimm.run(efimm.machine(ram, buffer=buffer), kernel)
                except efimm.MachineError:
                    assert buffer is not None


@pytest.fixture(scope="module")
def stops():
    """(outcome, state) of every stop, kernel and placement that there can be."""
    return [(outcome, state_of(outcome)) for outcome in outcomes()]


def run(ram="1T", kernel="3.5", **options):
    return efimm.run(efimm.machine(ram, **options), kernel)


def kernel(**fields):
    return replace(V3_5, name="mine", **fields)


@contextmanager
def plain_call(linux):
    """A seam without steps: slot 0 is borrowed and given back, and the trace has no prelog to show."""
    save = linux.swapper_pg_dir[0]
    linux.swapper_pg_dir[0] = linux.swapper_pg_dir[272]
    early_code_mapping_set_exec(linux, executable=True)
    yield
    linux.swapper_pg_dir[0] = save


# every stop


def test_all_stops_with_both_sides_of_the_line_are_there(stops):
    assert len(STOPS) == 24
    assert STOPS[0] == 1 << 30
    assert STOPS[-1] == 64 << 40
    assert len(stops) > 3 * 24 + 3 * 2 * 10


def test_the_svg_of_every_stop_is_xml_with_title_and_description(stops):
    for _, state in stops:
        for text in (svg(draw(state)), inline_svg(draw(state))):
            root = ET.fromstring(text)
            assert root.get("role") == "img"
            ids = root.get("aria-labelledby").split()
            assert [root.find(f"{SVG}{tag}").get("id") for tag in ("title", "desc")] == ids
            assert all(root.find(f"{SVG}{tag}").text for tag in ("title", "desc"))
        assert not re.search(r"\b(nan|inf|None)\b", inline_svg(draw(state)))


def test_everything_stands_inside_the_picture(stops):
    for _, state in stops:
        scene = draw(state)
        for shape in scene.shapes:
            assert all(0 <= x <= scene.width and 0 <= y <= scene.height for x, y in corners(shape)), shape


def corners(shape):
    if isinstance(shape, Text):
        return [(shape.x, shape.y - 12), (shape.x, shape.y + 4)]
    if isinstance(shape, Circle):
        far = shape.radius
        return [(shape.x - far, shape.y - far), (shape.x + far, shape.y + far)]
    if isinstance(shape, Rect):
        assert shape.width > 0
        assert shape.height > 0
        return [(shape.x, shape.y), (shape.x + shape.width, shape.y + shape.height)]
    assert isinstance(shape, Path)
    numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", shape.d)]
    assert all(map(math.isfinite, numbers))
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_rows_do_not_touch_and_cover_all_slots_and_blocks(stops):
    for _, state in stops:
        at = places(state)
        for rows in (at.slots, at.blocks):
            spans = [span for _, span in rows]
            assert all(low.top >= high.bottom for low, high in pairwise(spans))
        slots = [index for row in slot_rows(state) for index in range(row.first, row.last + 1)]
        blocks = [index for row in block_rows(state) for index in range(row.first, row.last + 1)]
        assert slots == list(range(512))
        assert blocks == list(range(len(state.blocks)))
        assert len(at.slots) <= 22


def test_identity_slots_stand_beside_their_blocks(stops):
    for _, state in stops:
        at = places(state)
        for row, span in at.slots:
            if row.role == "identity":
                assert at.block(row.slots[0].low)[1] == span


def test_the_twin_has_at_most_72_columns_and_tells_what_the_scene_tells(stops):
    for outcome, state in stops:
        lines, scene = describe(state).splitlines(), draw(state)
        assert max(map(len, lines)) <= 72
        words = " ".join(line.strip() for line in lines)
        assert " ".join(state.verdict_words.split()) in words
        labels = {shape.text for shape in scene.shapes if isinstance(shape, Text)}
        filled = {name for line in lines if (match := re.match(r"  slot +(\S+)", line)) for name in [match[1]]}
        shown = {
            f"{r.first}" if r.first == r.last else f"{r.first}–{r.last}" for r in slot_rows(state) if r.slots or r.gap
        }
        assert filled == shown
        assert shown <= labels
        drawn_gap = any(isinstance(shape, Rect) and shape.role == "gap" and shape.tip for shape in scene.shapes)
        assert drawn_gap == ("GAP" in words) == (state.gap is not None)
        assert drawn_gap == (outcome.verdict == "page-fault")


def test_the_default_moment_is_the_fault_or_the_first_read(stops):
    for outcome, state in stops:
        bead = state.moments[state.now]
        assert bead.key == ("fault" if outcome.fault else "read")
        assert bead.label == "first read"
        assert state.ask.slot == outcome.pointer >> 39 & 511
        assert state.ask.pa == (None if outcome.fault else outcome.buffer_pa + 32)


def test_the_array_decides_and_not_the_ram():
    assert run("64T", buffer=LINE - 4096).verdict == "success"
    low, high = (state_of(run("1T", buffer=buffer)) for buffer in (LINE - 4096, LINE))

    assert (low.gap, high.gap) == (None, 1)
    assert [slot for slot in low.slots if slot < 256] == [slot for slot in high.slots if slot < 256] == [0]


# moments


def test_the_moments_of_a_success_and_of_a_fault():
    good, bad = moments(run("1G")), moments(run("1T"))

    assert [bead.label for bead in good] == (
        ["boot", "array", "prelog", "call", "commit", "first read", "return", "epilog", "GetTime"]
    )
    assert [bead.label for bead in bad] == ["boot", "array", "prelog", "call", "commit", "first read", "epilog"]
    assert (bad[-1].index, bad[-1].note) == (None, "never ran")
    assert [bead.index for bead in good] == sorted(bead.index for bead in good)


def test_an_array_across_the_line_is_read_before_the_fault():
    outcome = run("1T", buffer=LINE - 128)

    assert [bead.label for bead in moments(outcome)][-3:] == ["first read", "page fault", "epilog"]
    assert decisive(outcome).key == "fault"
    assert state_of(outcome).ask.va == LINE
    assert state_of(outcome, "first read").gap is None


@pytest.mark.parametrize("name", KERNELS)
def test_the_table_at_each_moment_is_the_one_in_force(name):
    outcome = run("1T", name)
    events = outcome.trace.events
    for bead in moments(outcome):
        if bead.index is None:
            continue
        table = table_at(outcome, bead)
        loads = [event.new for event in events[: bead.index + 1] if isinstance(event, LoadCr3)]
        assert table.pa == loads[-1]
        slots = {}
        for event in events[: bead.index + 1]:
            if isinstance(event, EntryWrite) and event.table == table.name:
                slots |= {event.index + k: event.new + k * event.step for k in range(event.count)}
        assert table.slots == {index: entry for index, entry in slots.items() if entry}


def test_the_prelog_fills_slot_0_and_the_epilog_empties_it():
    outcome = run("256G")

    assert [0 in table_at(outcome, name).slots for name in ("array", "prelog", "first read", "return", "epilog")] == (
        [False, True, True, True, False]
    )
    assert [slot.index for slot in state_of(outcome, "prelog").slots.values() if slot.fresh] == [0]
    assert state_of(outcome, "prelog").slots[0].shared == (272,)


def test_a_gap_is_shown_from_the_moment_the_pointer_is_known():
    outcome = run("1T")

    assert [state_of(outcome, name).gap for name in ("boot", "array", "prelog", "call", "first read")] == [
        None,
        2,
        2,
        2,
        2,
    ]
    assert state_of(run("256G"), "array").gap == 0
    assert state_of(run("256G"), "prelog").gap is None


def test_the_trampoline_is_in_the_middle_during_hpas_call_only():
    outcome = run("1T", "hpa-sync")
    names = {bead.label: table_at(outcome, bead).name for bead in moments(outcome)}

    assert names["array"] == names["CR3 back"] == names["GetTime"] == "swapper_pg_dir"
    assert names["CR3 switch"] == names["first read"] == names["return"] == "trampoline_pgd"


def test_a_moment_that_is_not_there_is_refused():
    outcome = run("1T")

    with pytest.raises(ValueError, match="expected one of boot, array, prelog"):
        state_of(outcome, "lunch")
    with pytest.raises(ValueError, match="epilog"):
        state_of(outcome, moments(outcome)[-1])


# kernels of a reader's own


READERS = {
    "not canonical": kernel(memmap_pointer=lambda _linux, _new: 1 << 47),
    "wrong but mapped": kernel(memmap_pointer=lambda _linux, _new: 0x20_0000),
    "offset of 2^46": kernel(memmap_pointer=lambda _linux, new: new - PAGE_OFFSET + (1 << 46)),
    "without a prelog": kernel(efi_call_phys=plain_call),
    "hpa's table, Robin's pointer": replace(
        efimm.KERNELS["hpa-sync"], memmap_pointer=efimm.KERNELS["va-patch"].memmap_pointer
    ),
}


@pytest.mark.parametrize("mine", READERS.values(), ids=READERS)
@pytest.mark.parametrize("ram", ["256G", "600G", "3T"])
def test_a_readers_kernel_can_be_drawn_at_every_moment(mine, ram):
    outcome = efimm.run(efimm.machine(ram), mine)
    for bead in moments(outcome):
        if bead.index is not None:
            shown = picture(outcome, bead)
            ET.fromstring(shown.svg)
            assert max(map(len, shown.twin.splitlines())) <= 72
    for shape in draw(state_of(outcome)).shapes:
        corners(shape)


def test_a_pointer_that_is_no_address_ends_in_no_slot():
    state = state_of(run("256G", READERS["not canonical"]))

    assert state.ask.slot is None
    assert state.verdict == "wrong-memory"
    assert "not canonical" in state.verdict_words


@pytest.mark.parametrize("name", efimm.machines.data_files())
@pytest.mark.parametrize("kernel_name", KERNELS)
def test_every_real_machine_can_be_drawn(name, kernel_name):
    shown = picture(efimm.run(efimm.machine(map=name), kernel_name))

    ET.fromstring(shown.svg)
    assert max(map(len, shown.twin.splitlines())) <= 72


# what a notebook gets


def test_a_picture_shows_itself_with_its_twin():
    outcome = run("1T")
    bundle = picture(outcome)._repr_mimebundle_()

    assert bundle["text/plain"] == twin(outcome) == str(picture(outcome))
    assert "<details>" in bundle["text/html"]
    assert 'role="img"' in bundle["text/html"]
    assert "http" not in bundle["text/html"].replace("http://www.w3.org/2000/svg", "")


def test_text_from_outside_is_escaped():
    outcome = run("1G", replace(V3_5, name='<b>&"'))

    assert "<b>" not in picture(outcome)._repr_mimebundle_()["text/html"]
    ET.fromstring(picture(outcome).svg)


# colours


def luminance(colour):
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


VARIABLES = dict(re.findall(r"--([\w-]+): light-dark\((.+?)\)", css()))


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_and_lines_can_be_seen(theme):
    colour = {name: value.split(", ")[theme] for name, value in VARIABLES.items()}
    grounds = ["paper", "identity-tint", "direct-tint", "kernel-tint", "ram"]

    assert {ground for ground in grounds if contrast(colour["ink"], colour[ground]) < 4.5} == set()
    assert contrast(colour["muted"], colour["paper"]) >= 4.5
    assert min(contrast(colour["fault-text"], colour[ground]) for ground in ("paper", "fault-tint")) >= 4.5
    assert min(contrast(colour[name], colour["paper"]) for name in ("identity", "firmware", "fault", "focus")) >= 3
    assert contrast(colour["identity"], colour["direct"]) >= 1.7


# predictions


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("272", 272),
        (" 0x110 ", 272),
        ("4K", 4096),
        ("512 GiB", 512 << 30),
        ("1_000", 1000),
        ("-3", -3),
        ("1.5T", 3 << 39),
    ],
)
def test_numbers_are_read_as_people_write_them(typed, value):
    assert number(typed) == value


def test_a_prediction_is_checked_and_a_wrong_one_gets_its_hint():
    calls = []
    question = Question("Slot?", lambda: calls.append(1) or 1, {515: "That is the number of GiB.", "0x0": "Too low."})

    assert question.check("515") == Feedback(False, "That is the number of GiB.")
    assert question.check("0") == Feedback(False, "Too low.")
    assert question.check("7").text.startswith("Not yet: 7 is not")
    assert question.check("one").text.startswith("Not yet: please type a number")
    assert question.check("0x1") == Feedback(True, "Yes: 1.")
    assert calls == [1]


def test_words_are_checked_too():
    question = Question("yes or no?", "yes", {"no": "Look again."})

    assert question.check(" Yes. ") == Feedback(True, "Yes: yes.")
    assert question.check("no") == Feedback(False, "Look again.")
    assert not question.check("")


def test_the_box_answers_a_guess():
    pytest.importorskip("anywidget")
    from efimm.course import predict

    box = predict("Slot of the pointer?", lambda: 1, {515: "That is the number of GiB."})
    box.guess = {"text": "515", "number": 1}
    assert box.feedback == {"number": 1, "right": False, "text": "That is the number of GiB."}
    box.guess = {"text": "1", "number": 2}
    assert box.feedback["right"]
    assert box.check("0x1") == "Yes: 1."
    assert box._repr_mimebundle_()[0]["text/plain"] == "Predict: Slot of the pointer?"
