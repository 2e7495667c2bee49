"""One door each: what efimm.show and efimm.course promise is there, whichever module was imported first."""

import pydoc
import subprocess
import sys

import pytest

import efimm.course
import efimm.show
from efimm.show.drawing.frames import Frames

SAME_NAME = ("explorer", "grid_view", "map_view", "tables_view", "timeline_view")
FIRST = {
    "explorer": "efimm.show.explorer.widget",
    "grid_view": "efimm.show.grid_view",
    "map_view": "efimm.show.map_view",
    "tables_view": "efimm.show.tables_view",
    "timeline_view": "efimm.show.timeline_view",
}


@pytest.mark.parametrize("package", [efimm.show, efimm.course])
def test_everything_that_is_promised_is_there(package):
    assert package.__all__ == sorted(package.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'tea'"):
        _ = package.tea


@pytest.mark.parametrize("name", SAME_NAME)
def test_a_function_is_found_where_a_module_has_its_name(name):
    """In an interpreter of its own each: the module first, the function first, and the package's attribute."""
    module_first = f"import {FIRST[name]}; from efimm.show import {name}; print(callable({name}))"
    function_first = f"from efimm.show import {name}; import {FIRST[name]}, efimm; print(callable(efimm.show.{name}))"
    for program in (module_first, function_first):
        out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert out.stdout == "True\n"


def test_a_view_brings_only_itself():
    program = "import sys; from efimm.show import picture; print(*sys.modules)"
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert "efimm.show.ram.scene" in there
    assert {"anywidget", "matplotlib", "efimm.show.map_view", "efimm.show.ram.slider"} & {*there} == set()


WIDGETS = (efimm.show.RamSlider, efimm.show.Explorer, efimm.course.Predict, efimm.course.ExerciseBox)


@pytest.mark.parametrize("widget", [*WIDGETS, Frames])
def test_help_begins_with_what_one_may_set_read_and_observe(widget):
    lines = pydoc.plain(pydoc.render_doc(widget)).splitlines()
    start = "\n".join(lines[:24])
    inherited = widget.__mro__[1].class_trait_names(sync=True)
    ours = set(widget.class_trait_names(sync=True)) - set(inherited)

    assert all(f"{word}: " in start for word in ("Set", "Read", "Observe"))
    assert {name for name in ours if f"`{name}`" not in widget.__doc__} <= {"kind"}
