"""What is written twice is the same in both places, and what is agreed about the files is so."""

import ast
import json
import re
import runpy
import shutil
import subprocess
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))

# conda-forge's name for the same files; its "matplotlib" adds Qt, which no notebook needs.
CONDA_NAME = {"matplotlib": "matplotlib-base"}

MAX_CELL_LINES = 12


def tracked_notebooks():
    """The notebooks git knows; where there is no git, those there are."""
    if shutil.which("git") and (ROOT / ".git").exists():
        names = subprocess.run(
            ["git", "ls-files", "-z", "notebooks/*.ipynb"], cwd=ROOT, check=True, capture_output=True, text=True
        )
        return [ROOT / name for name in names.stdout.split("\0") if name and (ROOT / name).exists()]
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def specifiers(requirements):
    return {requirement.name: requirement.specifier for requirement in map(Requirement, requirements)}


# environment.yml and pyproject.toml


def test_conda_packages_come_from_conda_forge_only():
    assert CONDA["channels"] == ["conda-forge", "nodefaults"]


def test_conda_and_pip_ask_for_the_same_packages():
    conda = specifiers(entry for entry in CONDA["dependencies"] if isinstance(entry, str))
    python = conda.pop("python")
    assert conda.pop("pip") == SpecifierSet()

    assert conda == {CONDA_NAME.get(name, name): s for name, s in specifiers(PROJECT["dependencies"]).items()}
    assert python == SpecifierSet(PROJECT["requires-python"])


def test_the_pip_section_of_conda_installs_the_project_and_nothing_else():
    assert [entry for entry in CONDA["dependencies"] if not isinstance(entry, str)] == [{"pip": ["-e ."]}]


def test_every_dependency_has_an_upper_bound():
    open_ended = [r for r in PROJECT["dependencies"] if not any(s.operator == "<" for s in Requirement(r).specifier)]

    assert open_ended == []


# versions


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    package = re.findall(r'__version__ = "(.+)"', (ROOT / "efimm" / "__init__.py").read_text(encoding="utf-8"))

    assert {citation["version"], *package, changelog[0]} == {PROJECT["version"]}
    assert changelog == sorted(changelog, key=Version, reverse=True)
    assert citation["license"] == PROJECT["license"]


# notebooks


@pytest.mark.parametrize("path", tracked_notebooks(), ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs_and_with_short_cells(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]

    assert [cell for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []
    assert [cell for cell in code if len("".join(cell["source"]).splitlines()) > MAX_CELL_LINES] == []


def test_the_readme_names_every_notebook():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    series = {path.stem for path in tracked_notebooks() if path.parent.name == "notebooks"}
    assert set(re.findall(r"\bnotebooks/([\w-]+)\.ipynb", readme)) >= series


def test_the_readme_is_short_and_starts_with_a_picture():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    _, _, picture, *rest = lines

    assert len(lines) <= 90
    assert [line for line in lines if len(line) > 120] == []
    path = ROOT / re.fullmatch(r"!\[.+\]\((.+)\)", picture)[1]
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size < 200_000
    assert "RAM *above* 512 GiB" in rest[1], "it is the address that counts, and not how much RAM there is"


def links(page):
    """The files that a page in Markdown leads to, without those of the network."""
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    return [target for target in targets if "://" not in target]


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{name}.md" for name in ("reading", "design", "command"))])
def test_every_link_of_a_page_leads_to_a_file(page):
    path = ROOT / page

    assert [target for target in links(path) if not (path.parent / target).exists()] == []


PAGES = sorted(path for folder in ("docs", "data", "benchmarks", "workshop") for path in (ROOT / folder).rglob("*.md"))


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CHANGELOG.md", *tracked_notebooks()], ids=lambda path: path.name)
def test_a_page_names_no_file_that_has_moved(path):
    text = path.read_text(encoding="utf-8")
    names = set(re.findall(r"\befimm/[\w/]+\.(?:py|js|css|c)\b", text))

    assert [name for name in names if not (ROOT / name).exists()] == []
    for module, imported in re.findall(r"^from (efimm[\w.]*) import ([\w, ]+)$", text, re.MULTILINE):
        assert [name for name in imported.split(", ") if not hasattr(import_module(module), name)] == [], module


# commands


def make_targets(text):
    return re.findall(r"^ *make (\w+)\s*$", text, re.MULTILINE)


def test_the_readmes_test_command_is_the_one_ci_runs():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(r"^## Tests\n(.*?)^## ", readme, re.MULTILINE | re.DOTALL)

    assert section
    assert make_targets(section[1]) == ["test"]
    assert make_targets((ROOT / ".ci" / "run").read_text(encoding="utf-8"))[-1] == "test"


def test_every_make_command_in_the_readme_is_a_target():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"\bmake (\w+)`", (ROOT / "README.md").read_text(encoding="utf-8"))

    assert set(named) <= set(targets)


def test_ci_run_can_be_run():
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_jupyterlab_starts_without_a_pop_up():
    settings = json.loads((ROOT / "efimm/course/settings/overrides.json").read_text(encoding="utf-8"))

    assert settings["@jupyterlab/apputils-extension:notification"] == {"fetchNews": "false", "checkForUpdates": False}


# commit messages


MESSAGES = runpy.run_path(str(ROOT / ".ci" / "subjects"))


def test_every_commit_since_the_house_says_what_and_why():
    history = MESSAGES["history"]()
    if history is None:
        pytest.skip(f"no git history back to {MESSAGES['SINCE'][:7]}: there is nothing to look at")

    assert {name[:12]: wrong for name, message in history if (wrong := MESSAGES["complaints"](message))} == {}


@pytest.mark.parametrize(
    ("message", "trouble"),
    [
        ("x" * 72 + "\n\nWhy.\n", []),
        ("Add\n\nWhy.\n# git's comment\n", []),
        ("Merge branch 'x'\n", []),
        ("x" * 73 + "\n\nWhy.", ["the subject has 73 characters: expected 1 to 72"]),
        ("Add\nWhy.", ["expected an empty line below the subject"]),
        ("Add\n\n# Why.\n", ["expected a body that says why"]),
        (f"Add\n{MESSAGES['SCISSORS']}\n+ line\n", ["expected a body that says why"]),
        ("\n", ["the subject has 0 characters: expected 1 to 72", "expected a body that says why"]),
    ],
)
def test_a_message_needs_a_short_subject_and_a_body(message, trouble):
    assert MESSAGES["complaints"](message) == trouble


def test_the_hook_refuses_a_message(tmp_path):
    (tmp_path / "good").write_text("Add\n\nWhy.\n", encoding="utf-8")
    (tmp_path / "bad").write_text("Add\n", encoding="utf-8")
    hook = [str(ROOT / ".ci" / "subjects")]

    assert subprocess.run([*hook, tmp_path / "good"], check=False).returncode == 0
    refused = subprocess.run([*hook, tmp_path / "bad"], check=False, capture_output=True, text=True)
    assert (refused.returncode, refused.stderr) == (1, f"{tmp_path / 'bad'}: expected a body that says why\n")


def test_no_test_is_typed():
    """Tests are all typed or none; a class's fields are, since that is how Python spells them."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            typed = getattr(node, "returns", None) or (isinstance(node, ast.arg) and node.annotation)
            assert not typed, f"{path.name}:{node.lineno}"
