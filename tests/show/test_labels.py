"""Views read keys and fields: when every label of the model is reworded, the pictures keep their structure."""

from dataclasses import replace

import pytest

import efimm
from efimm.locks import search_history
from efimm.locks.smp import SmpProcessor
from efimm.show.drawing.shapes import Text
from efimm.show.ram.moments import moments
from efimm.show.ram.scene import draw as draw_main
from efimm.show.ram.state import state_of
from efimm.show.timeline_view import draw as draw_timeline
from efimm.show.timeline_view import of_finding, of_outcome
from efimm.trace import Enter, Trace

DEADLOCK = "a79e53d8^", "flush"


def structure(scene):
    """The shapes without their words and tips."""
    return [replace(shape, text="") if isinstance(shape, Text) else replace(shape, tip="") for shape in scene.shapes]


@pytest.fixture
def reworded(monkeypatch):
    """Every step of the model in other words, with the same keys."""
    span, step = Trace.span, SmpProcessor.step

    def other_span(self, actor, words, key=""):
        return span(self, actor, words[::-1], key or words)

    def other_step(self, what, *rest, **more):
        step(self, what[::-1], *rest, **more)

    def change():
        monkeypatch.setattr(Trace, "span", other_span)
        monkeypatch.setattr(SmpProcessor, "step", other_step)

    return change


def pictures_of(outcome):
    """The main picture at each moment, by its key, and the timeline's first and last step."""
    story = of_outcome(outcome)
    beads = [(bead.key, bead) for bead in moments(outcome) if bead.index is not None]
    found = [(key, structure(draw_main(state_of(outcome, bead)))) for key, bead in beads]
    spans = [(span.lane, span.kind, span.first, span.last) for span in story.spans]
    return found, spans, [structure(draw_timeline(story, now)) for now in (0, len(story.steps) - 1)]


@pytest.mark.parametrize("kernel", efimm.KERNELS)
def test_the_pictures_of_a_run_do_not_depend_on_the_words(kernel, reworded):
    before = efimm.run(efimm.machine("1T"), kernel)
    reworded()
    after = efimm.run(efimm.machine("1T"), kernel)
    words = [[event.step for event in one.trace.events if isinstance(event, Enter)] for one in (before, after)]

    assert words[1] == [step[::-1] for step in words[0]]
    assert pictures_of(after) == pictures_of(before)


def test_the_picture_of_a_deadlock_does_not_depend_on_the_words(reworded):
    before = of_finding(search_history(*DEADLOCK))
    reworded()
    after = of_finding(search_history(*DEADLOCK))

    assert before.steps[0].text == after.steps[0].text[::-1] != after.steps[0].text
    assert [span.name for span in after.spans if span.kind != "waits"] == [
        span.name for span in before.spans if span.kind != "waits"
    ]
    for now in range(len(before.steps)):
        assert structure(draw_timeline(after, now)) == structure(draw_timeline(before, now))


def test_every_step_of_every_kernel_has_a_key():
    """Prose is no key: what has a space or a colon in it was not meant for programs."""
    for name, kernel in efimm.KERNELS.items():
        for arch, ram in (("x86_64", "1T"), *([("i386", "3G")] if kernel.i386 else [])):
            outcome = efimm.run(efimm.machine(ram, arch=arch), name)
            keys = {event.key for event in outcome.trace.events if isinstance(event, Enter)}
            assert keys
            assert {key for key in keys if " " in key or ":" in key} == set()
