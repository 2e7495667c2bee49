"""The timeline: every event has its step, what lasts is what the trace says, and it plays, steps and rewinds."""

from base64 import b64encode

import pytest
from test_browser import chromium
from test_frames_browser import complaints_of

import efimm
from efimm.course.export import _live
from efimm.locks import search_history
from efimm.show.drawing.shapes import Rect, Text
from efimm.show.timeline_view import (
    CALL,
    IRQS_OFF,
    LOCK,
    ROWS,
    TROUBLE,
    WAITS,
    describe,
    draw,
    frame,
    of_events,
    of_finding,
    of_outcome,
    sentence,
    timeline_view,
)
from efimm.trace import Access, Enter, EntryWrite, Leave, Lock, Printk

__all__ = ["chromium"]

RUNS = [(kernel, ram, arch) for kernel in efimm.KERNELS for ram, arch in (("256G", "x86_64"), ("600G", "x86_64"))]
RUNS += [("3.5", "3G", "i386"), ("hpa-sync", "8G", "i386-pae")]
BAD_ENDS = [
    ("a79e53d8^", "flush", False),
    ("617d34d9^", "exec", True),
    ("617d34d9^", "exit", True),
    ("a79e53d8^", "fork", False),
]


@pytest.fixture(scope="module")
def runs():
    found = {}
    for kernel, ram, arch in RUNS:
        outcome = efimm.run(efimm.machine(ram, arch=arch), kernel)
        found[kernel, ram, arch] = outcome, of_outcome(outcome)
    return found


@pytest.fixture(scope="module")
def findings():
    return {(history, story): search_history(history, story, xen=xen) for history, story, xen in BAD_ENDS}


def test_every_event_has_its_step_in_the_lane_of_who_did_it(runs):
    for outcome, story in runs.values():
        start = outcome.trace.events.index(Enter("kernel", "efi_enter_virtual_mode"))
        texts = [step.text for step in story.steps]
        for event in outcome.trace.events[start:]:
            if isinstance(event, Enter):
                assert event.step in texts
            elif isinstance(event, Printk):
                assert any(text.startswith("console: ") for text in texts)
            elif isinstance(event, EntryWrite):
                assert str(event) in texts or any(text.startswith(f"{event.table}[") for text in texts)
            elif not isinstance(event, (Leave, Access)):
                assert str(event) in texts
        faults = [step for step in story.steps if step.kind == TROUBLE]
        assert len(faults) == (outcome.fault is not None)
        assert all(story.lanes[step.lane] == "processor" for step in faults)


def test_a_call_that_a_fault_cut_short_never_ends(runs):
    _, story = runs["3.5", "600G", "x86_64"]
    fault = next(place for place, step in enumerate(story.steps) if step.kind == TROUBLE)
    inside = [span.name for span in story.lasting(fault)]
    never = {span.name for span in story.spans if span.last is None}

    assert inside[:2] == ["efi_enter_virtual_mode", "SetVirtualAddressMap"]
    assert {"efi_enter_virtual_mode", "SetVirtualAddressMap"} <= never
    assert "efi_call_phys_prelog" not in never
    assert all(span.last is not None for span in runs["va-patch", "600G", "x86_64"][1].spans)


def test_locks_last_from_taking_to_letting_go():
    events = [Lock("pgd_lock", taken=True), Enter("kernel", "in between"), Leave("kernel", "in between")]
    story = of_events([*events, Lock("pgd_lock", taken=False), Enter("kernel", "after")], "x", "", good=True)

    assert [(span.kind, span.first, span.last) for span in story.spans] == [(LOCK, 0, 2), (CALL, 1, 2), (CALL, 3, None)]
    assert [[span.name for span in story.lasting(now)] for now in range(4)] == [
        ["pgd_lock"],
        ["pgd_lock", "in between"],
        [],
        ["after"],
    ]


def test_a_deadlock_shows_who_holds_what_the_other_waits_for(findings):
    found = findings["a79e53d8^", "flush"]
    story = of_finding(found)
    held = {(span.lane, span.kind, span.name) for span in story.lasting(len(story.steps) - 1)}

    assert [step.text for step in story.steps[: len(found.lines)]] == [text for _, text in found.lines]
    assert "CPU 1 waits for A's page_table_lock, held by CPU 0" in found.bad_end
    assert (0, LOCK, "A's page_table_lock") in held
    assert (1, IRQS_OFF, "interrupts off") in held
    assert {lane for lane, kind, _ in held if kind == WAITS} == {0, 1}
    assert sentence(story, len(story.steps) - 1).endswith("The end: Deadlock.")


def test_each_bad_end_is_told_with_its_last_step(findings):
    for found in findings.values():
        story = of_finding(found)
        words = found.bad_end.splitlines()
        told = [f"{story.lanes[step.lane]} {step.text}" for step in story.steps if step.kind == TROUBLE]
        assert len(told) == len(words) - 1
        assert all(line.replace(":", "") == said.replace(":", "") for line, said in zip(words[1:], told, strict=True))


def test_picture_and_text_tell_the_same_step(runs, findings):
    stories = [story for _, story in runs.values()] + [of_finding(found) for found in findings.values()]
    for story in stories:
        for now in range(len(story.steps)):
            scene, twin = draw(story, now), describe(story, now)
            marked = [shape for shape in scene.shapes if isinstance(shape, Rect) and shape.role == "now item"]
            assert [shape.tip for shape in marked] == [
                f"step {now + 1}, {story.lanes[story.steps[now].lane]}: {story.steps[now].text}"
            ]
            assert max(map(len, twin.splitlines())) <= 72
            assert [line for line in twin.splitlines() if line.startswith(f">{now + 1:>4} ")]
            assert scene.description == sentence(story, now)
            numbers = [shape.text for shape in scene.shapes if isinstance(shape, Text) and shape.text.isdigit()]
            assert str(now + 1) in numbers
            assert len(numbers) == min(ROWS, len(story.steps))


def test_all_is_sent_once_and_is_small(runs, findings):
    views = [timeline_view(what) for what in (*(outcome for outcome, _ in runs.values()), *findings.values())]

    assert all(len(view.frames) < 50_000 for view in views)
    assert all(view.playable for view in views)
    views[0].moment = len(views[0].shown) - 1
    assert repr(views[0]).endswith(".")


def test_what_has_no_story_is_refused():
    with pytest.raises(ValueError, match="nothing bad can happen"):
        timeline_view(search_history("3.5", "flush"))
    with pytest.raises(ValueError, match="no step 'tea'"):
        timeline_view(efimm.run(efimm.machine("1G"), "3.5"), since="tea")


def test_many_of_a_kind_are_one_step_with_their_count():
    writes = [EntryWrite("efi_pgd", index, 7, 0) for index in range(256, 400)]
    reads = [Access(kind, 0x1000 * page, 8, 0x1000 * page) for page in range(1, 5) for kind in ("read", "write")]
    few = [EntryWrite("swapper_pg_dir", 0, 0, 7) for _ in range(2)]
    story = of_events([*writes, *reads, *few], "x", "", good=True)

    assert [step.text for step in story.steps] == [
        "efi_pgd[256..399]: 144 entries written",
        "cpu: 4 reads, 4 writes, from 0x1000 to 0x4000",
        "swapper_pg_dir[0] = 0x7 (was 0x0)",
        "swapper_pg_dir[0] = 0x7 (was 0x0)",
    ]


# in a browser


@pytest.mark.browser
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.nightly)])
def test_no_text_overlaps_or_leaves_the_picture(chromium, runs, findings, every):
    stories = [story for _, story in runs.values()] + [of_finding(found) for found in findings.values()]
    places = [(story, now) for story in stories for now in range(len(story.steps))]

    assert len(places) > 300
    assert complaints_of(chromium, [frame(*place) for place in places[::every]]) == {}


@pytest.fixture
def opened(chromium, findings):
    view = timeline_view(findings["a79e53d8^", "flush"])
    traits = {"kind": "frames", "moment": 0, "playable": True}
    models = {"one": {"traits": traits, "buffers": [[["frames"], b64encode(view.frames).decode()]]}}
    page = chromium.new_page(viewport={"width": 1000, "height": 900})
    said = []
    page.on("pageerror", lambda error: said.append(str(error)))
    body = f"<body data-jp-theme-light='true'><div class='efimm-live' data-model='one'></div>{_live(models)}</body>"
    page.set_content(f"<!doctype html>{body}")
    page.wait_for_selector("svg.picture")
    yield page, view
    page.close()
    assert said == []


@pytest.mark.browser
def test_it_steps_rewinds_and_slides_without_python(opened):
    page, view = opened
    verdict = page.locator("p.verdict")

    def press(name):
        page.get_by_role("button", name=name, exact=True).click()
        return verdict.inner_text()

    assert press("one step on") == view.shown[1].words
    assert press("one step on") == view.shown[2].words
    assert press("one step back") == view.shown[1].words
    assert press("rewind to the first step") == view.shown[0].words
    assert press("one step back") == view.shown[0].words
    page.locator("input[type=range]").focus()
    page.keyboard.press("End")
    assert verdict.inner_text() == view.shown[-1].words
    page.keyboard.press("ArrowLeft")
    assert verdict.inner_text() == view.shown[-2].words


@pytest.mark.browser
def test_it_plays_to_the_end_and_stops_there(opened):
    page, view = opened
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)  # from here on only run_for moves it
    page.get_by_role("button", name="play", exact=True).click()
    page.clock.run_for(2500)
    assert page.locator("p.verdict").inner_text() == view.shown[2].words
    page.get_by_role("button", name="pause", exact=True).click()
    page.clock.run_for(5000)
    assert page.locator("p.verdict").inner_text() == view.shown[2].words
    page.get_by_role("button", name="play", exact=True).click()
    page.clock.run_for(60_000)

    assert page.locator("p.verdict").inner_text() == view.shown[-1].words
    assert page.get_by_role("button", name="play", exact=True).count() == 1
