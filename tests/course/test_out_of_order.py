"""Cells run again, out of order, and of two notebooks in one kernel: they show what a run from the top shows."""

import json
import random
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

from efimm.course.export import WIDGET_STATE, WIDGET_VIEW, Client  # noqa: E402 - only where Jupyter is

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1200)]  # notebook 12 starts real firmware, three times

# Cells that show a machine, or run a kernel, which other cells change: out of order they show what it has become.
SHOWS_WHAT_OTHERS_CHANGED = {
    "01": (
        "cpu = Cpu(memory, Trace())",  # in a memory whose page a later cell makes read-only
        "explorer(cpu, 0x80_0000_1234)",  # with the TLB of that processor
        'print("without RW:", error_code(',
        "before = linux.cpu.walk(0x123_4000)",
    ),
    "04": ("print(slot, linux.swapper_pg_dir[slot])", 'predict("success or unsupported?", call_again'),
    "06": ("read_as(linux, editor, device)", "in stale_slots(linux).items()"),
    "07": (
        'start = story.index(Enter("kernel", "switch to trampoline_pgd"))',
        "from efimm.linux import virt_efi_get_time",
        "init_memory_mapping(fixed, TIB, TIB + (1 << 30))",
    ),
    "10": ("for where, root in ((memory, roots[", "low, high = written(md.physical_start"),
    "11": ('check("11.5", plan)', 'support_table((plan, "hpa-sync")'),
}


def code(name):
    """The sources of a notebook's code cells; exercises are drawn with the same lot each time."""
    path = next(NOTEBOOKS.glob(f"{name}-*.ipynb"))
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [re.sub(r"\bexercise\((\"[\d.]+\")\)", r"exercise(\1, seed=15)", source) for source in sources]


def shown(sources):
    """What each source shows, run one after the other in one kernel; after an error, too."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    place = {"metadata": {"path": str(NOTEBOOKS)}}
    Client(book, timeout=300, allow_errors=True, kernel_name="python3", resources=place).execute()
    widgets = book.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    return [cell_shows(cell.outputs, widgets) for cell in book.cells]


def cell_shows(outputs, widgets):
    """Printed text as one, then each picture, value or error; a widget as all that the browser was told of it."""
    printed = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
    found = [re.sub(r"\(\d+ ms\)", "(some ms)", printed)]
    for output in outputs:
        if output["output_type"] == "error":
            found.append(("error", output["ename"], output["evalue"]))
        elif output["output_type"] != "stream":
            found.append({kind: value(kind, data, widgets) for kind, data in output["data"].items()})
    return found


def value(kind, data, widgets):
    """An output's data; the third wrong answer to an exercise is told of help besides."""
    if kind == WIDGET_VIEW:
        return told(f"IPY_MODEL_{data['model_id']}", widgets)
    return re.sub(r"\nTo be shown a way: .*", "", data) if isinstance(data, str) else data


def told(state, widgets, above=()):
    """A widget's state with the states of its children in the place of their identifiers."""
    if isinstance(state, str) and state.startswith("IPY_MODEL_"):
        assert state not in above
        return told(widgets[state.removeprefix("IPY_MODEL_")]["state"], widgets, (*above, state))
    if isinstance(state, dict):
        return {key: told(one, widgets, above) for key, one in state.items()}
    return [told(one, widgets, above) for one in state] if isinstance(state, list) else state


def errors(cells):
    return [one for cell in cells for one in cell if isinstance(one, tuple)]


@pytest.mark.parametrize("name", sorted(path.name[:2] for path in NOTEBOOKS.glob("[0-9][0-9]-*.ipynb")))
def test_a_cell_shows_the_same_again_and_out_of_order(name):
    sources = code(name)
    changed = SHOWS_WHAT_OTHERS_CHANGED.get(name, ())
    assert all(any(piece in source for source in sources) for piece in changed)
    shuffled = [*range(len(sources))] * 2
    random.Random(15).shuffle(shuffled)
    order = [*range(len(sources)), *range(len(sources)), *shuffled]
    cells = shown([sources[number] for number in order])
    assert errors(cells[: 2 * len(sources)]) == []
    for run, (number, cell) in enumerate(zip(order, cells, strict=True)):
        if run < 2 * len(sources) or not any(piece in sources[number] for piece in changed):
            assert cell == cells[number], sources[number]


@pytest.mark.parametrize(("first", "second"), [("03", "04"), ("05", "00"), ("13", "06")])
def test_two_notebooks_in_one_kernel_show_what_each_shows_alone(first, second):
    one, other = code(first), code(second)
    alone = [*shown(one), *shown(other)]
    for found, expected, source in zip(shown([*one, *other] * 2), alone * 2, [*one, *other] * 2, strict=True):
        assert found == expected, source
