"""The layering: each part of efimm imports only what stands to its left, and little else."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "efimm"

# "" is efimm/__init__.py, the public names: only the command stands above it.
LAYERS = [
    "facade",
    "trace",
    "files",
    "x86",
    "uefi",
    "maps",
    "machines",
    "linux",
    "kernels",
    "locks",
    "run",
    "text",
    "scenarios",
    "lives",
    "policies",
    "workers",
    "reliance",
    "trials",
    "claims",
    "scene",
    "diagnosis",
    "check",
    "exercises",
    "show",
    "course",
    "judges",
    "room",
    "dashboard",
    "doctor",
    "",
    "cli",
    "__main__",
]

# What is promised although it stands further right, and the text that a `repr` asks for: imported when asked.
LAZY = {
    "efimm.run": {"efimm.text"},
    "efimm.uefi": {"efimm.maps.errors", "efimm.maps.formats"},
}

# How many lines each wing may have.  A wing that needs more for a new idea gets them in a commit that says why.
QUESTIONS = ("scenarios", "lives", "policies", "workers", "reliance", "trials", "claims", "scene", "diagnosis", "check")
BUDGETS = {
    "facade": 45,
    "trace": 205,
    "files": 131,  # so that a good file is never spoilt, whatever it is called, and whoever may write it
    "x86": 2510,  # 300 of them fields.py, the manual's names of bits
    "uefi": 1100,
    "maps": 3380,  # with mails and pastes as they come, GRUB's lists, oopses of every age, whose words a log has
    "machines": 470,  # with the maps generated for a RAM size, and what a list lacks
    "linux": 3430,  # 65 of them the copy of a booted kernel, and the moment for it
    "kernels": 1470,
    "locks": 1100,  # with the stacks of a browser, and its recorded searches
    "run": 235,
    "text": 410,
    "questions": 2911,  # 255 of them lives.py; 395 processes that may do anything; 550 what an oops says
    "exercises": 2560,  # 95 of them notebook 13's
    "show": 5165,  # with what a slider sends in the background (every firmware, every bead), and one screen
    "course": 1460,  # 300 of them Lite; 130 the reader's own copy of the notebooks; 160 what leads through the site
    "judges": 3780,  # half of them real kernels
    "room": 644,  # the instructor's server; 110 of them for visitors who mean ill
    "dashboard": 108,  # a server with a token, which ends while it starts, too, and keeps it out of its log
    "doctor": 346,
    "cli": 1435,  # 230 of them a reader's file below, in every command; 50 ends that get lost, and a full disk
    "efimm": 62,
}
MAX_FILE_LINES = 520
# 185 when the house was tidied; a real kernel as judge (13), Lite and the room (5), processes that end, files that stay
# good and the dashboard's server (4), an oops read and explained (3), the way through the site, what a slider is sent,
# its places and its large words, what a success leans on, notebook 13 (6), wrapped lines and a fault's scene (2) came
# with a later idea each.
MAX_FILES = 211

# Everything else needs the standard library only.
MAY_ALSO_IMPORT = {
    "efimm.x86.batch": {"numpy"},
    "efimm.x86.compiled": {"numpy"},
    "efimm.locks.turns": {"js", "pyodide"},  # a browser's Python has them
    "efimm.trials": {"cloudpickle", "tqdm"},
    "efimm.course.export": {"nbclient", "nbconvert", "nbformat", "zmq"},
    "efimm.course.site": {"ipywidgets", "nbformat", "pdoc"},
    "efimm.show.plots": {"matplotlib", "numpy"},
    "efimm.course.boxes": {"traitlets"},
    "efimm.show.ram.slider": {"traitlets"},
    "efimm.course.browser": {"tqdm"},
    "efimm.show.drawing.frames": {"IPython", "anywidget", "traitlets"},
    "efimm.show.explorer.widget": {"traitlets"},
    "efimm.dashboard": {"jupyter_server", "tornado", "traitlets", "voila"},
    "efimm.doctor": {"jupyter_core", "packaging"},
    "efimm.room.server": {"segno", "tornado"},
    "efimm.cli": {"click"},
    "efimm.cli.runs": {"tqdm"},
}


def may_also_import(module):
    """What the list allows to `module`, or to the package it stands in."""
    parts = module.split(".")
    return set().union(*(MAY_ALSO_IMPORT.get(".".join(parts[:count]), set()) for count in range(1, len(parts) + 1)))


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def layer_of(module):
    return f"{module}.".split(".")[1]


def imports(module, source, is_package):
    """The modules that `source` imports, wherever in the file; `from . import x` means x where x is a module."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            base = parts[: len(parts) + is_package - node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            below = {f"{origin}.{alias.name}" for alias in node.names}
            found |= below & MODULES.keys()
            if below - MODULES.keys():
                found.add(origin)
    return found


def complaints(module, imported):
    """What is wrong with `module` importing these."""
    wrong = []
    for other in sorted(imported):
        top = other.split(".")[0]
        if top == "efimm":
            allowed = LAYERS[: LAYERS.index(layer_of(module)) + 1]
            if layer_of(other) not in allowed:
                wrong.append(f"{module} imports {other}, which does not stand to its left")
        elif top not in sys.stdlib_module_names | may_also_import(module):
            wrong.append(f"{module} imports {other}: only the standard library is allowed there")
    return wrong


def wing_of(module):
    """The row of BUDGETS that pays for `module`."""
    layer = layer_of(module)
    return "questions" if layer in QUESTIONS else "efimm" if layer in ("", "__main__") else layer


def line_count(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def over_budget(lines, budgets):
    """The wings of `lines` that have no budget, or more lines than it allows."""
    found = [f"{wing}: {count} lines, and no budget" for wing, count in lines.items() if wing not in budgets]
    known = [wing for wing in lines if wing in budgets and lines[wing] > budgets[wing]]
    return [*found, *(f"{wing}: {lines[wing]} lines, allowed are {budgets[wing]}" for wing in known)]


IMPORTS = {
    module: imports(module, path.read_text(encoding="utf-8"), path.name == "__init__.py") - LAZY.get(module, set())
    for module, path in MODULES.items()
}


def test_the_package_was_found():
    assert {"efimm", "efimm.trace", "efimm.x86.paging"} <= MODULES.keys()


@pytest.mark.parametrize("module", MODULES)
def test_every_module_imports_only_what_stands_to_its_left(module):
    assert layer_of(module) in LAYERS, f"give {module} its place in LAYERS"
    assert complaints(module, IMPORTS[module]) == []


VIEWS = {
    "efimm.show.explorer",
    "efimm.show.grid_view",
    "efimm.show.map_view",
    "efimm.show.plots",
    "efimm.show.ram",
    "efimm.show.tables_view",
    "efimm.show.timeline_view",
}
# Beside the facade, efimm.show.  `plots` prints what the others draw.
ROOMS_WITH_VIEWS = {"efimm.cli", "efimm.course", "efimm.dashboard", "efimm.show.plots"}


def view_of(module):
    """The view that a module belongs to, "" for none."""
    return next((view for view in VIEWS if f"{module}.".startswith(f"{view}.")), "")


@pytest.mark.parametrize("module", MODULES)
def test_only_the_facade_the_command_the_course_and_print_import_a_view(module):
    views = {view for view in map(view_of, IMPORTS[module]) if view} - {view_of(module)}
    allowed = any(module == one or module.startswith(f"{one}.") for one in ROOMS_WITH_VIEWS)
    assert allowed or module == "efimm.show" or views == set()


def test_every_view_is_in_the_list_of_views():
    rooms = {".".join(module.split(".")[:3]) for module in MODULES if module.startswith("efimm.show.")}
    assert rooms == VIEWS | {"efimm.show.drawing"}


def test_the_page_on_the_design_lists_the_layers_in_their_order():
    page = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+) \|", page[page.index("| layer |") : page.index("### Inside")], re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`(\w+)(?:/|\.py)`", row)]
    here = {layer_of(module) for module in MODULES}

    assert listed == [layer or "__init__" for layer in LAYERS if layer in here]


def test_no_module_imports_itself_by_a_detour():
    graph = {module: {other for other in IMPORTS[module] if other in MODULES} for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(f"circular import: {' <- '.join(circle.args[1])}")


def test_every_wing_keeps_to_its_budget_of_lines():
    lines = dict.fromkeys(map(wing_of, MODULES), 0)
    for module, path in MODULES.items():
        lines[wing_of(module)] += line_count(path)

    assert over_budget(lines, BUDGETS) == []


def test_no_file_is_longer_than_one_sitting():
    lengths = {module: line_count(path) for module, path in MODULES.items()}

    assert {module: lines for module, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_the_house_has_few_rooms():
    assert len(MODULES) <= MAX_FILES


def test_a_wing_without_a_budget_or_over_it_is_named():
    assert over_budget({"x86": 10, "attic": 1}, {"x86": 9}) == [
        "attic: 1 lines, and no budget",
        "x86: 10 lines, allowed are 9",
    ]


def test_the_check_itself_sees_each_way_to_write_an_import():
    source = (
        "import numpy.linalg\nfrom ..trace import Trace\nfrom . import paging\nif x:\n    from efimm.uefi import y\n"
    )

    assert imports("efimm.x86.cpu", source, is_package=False) == {
        "numpy.linalg",
        "efimm.trace",
        "efimm.x86.paging",
        "efimm.uefi",
    }
    assert imports("efimm.x86", "from .paging import walk", is_package=True) == {"efimm.x86.paging"}


def test_the_check_itself_complains():
    assert complaints("efimm.x86.cpu", {"efimm.trace", "efimm.x86.paging", "dataclasses"}) == []
    assert complaints("efimm.x86.batch", {"numpy"}) == []
    assert len(complaints("efimm.x86.cpu", {"efimm.uefi", "numpy"})) == 2
    assert len(complaints("efimm.text", {"efimm", "efimm.cli", "matplotlib"})) == 3


def test_import_efimm_brings_no_third_party_module():
    program = (
        "import sys; before = set(sys.modules); import efimm; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules.keys() - before}))"
    )
    out = subprocess.check_output([sys.executable, "-c", program], cwd=PACKAGE.parent, text=True)

    assert set(out.split()) - sys.stdlib_module_names == {"efimm"}
