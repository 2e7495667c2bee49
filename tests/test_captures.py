"""What tests/data holds: that it is complete, that it can be added to, and where its originals lie, that it is true."""

import json
import runpy

import pytest
from captures import BOOTS, DATA, LISTINGS, NO_ORIGINALS, ORIGINALS, TABLES, content, forms, listings, text_of

MOST_BYTES = 3 << 20
make = runpy.run_path(str(DATA / "make.py"))
original = pytest.mark.skipif(not ORIGINALS.is_dir(), reason=NO_ORIGINALS)


def held():
    """The lines of listings.tsv below its forms, one list a log."""
    lines = text_of(LISTINGS).splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith("log\t")]
    return [lines[start:end] for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)]


def test_it_is_small_and_its_readme_names_all_of_it():
    files = [path for path in DATA.rglob("*") if path.is_file()]
    readme = text_of(DATA / "README.md")

    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    named = [*listings(), *(path.name for path in TABLES.iterdir())]
    named += [path.name.removesuffix(".xz") for path in BOOTS.iterdir()]
    assert [name for name in named if f"`{name}`" not in readme] == []


def test_a_log_printed_again_gives_the_same_lines():
    """As make.py is used for another log; every form serves some log."""
    for lines in held():
        name = lines[0].split("\t")[1]
        assert [*make["rows"](name, listings()[name])] == lines
    assert {line.split("\t")[0] for lines in held() for line in lines} == {"log", *forms()}


@original
def test_the_numbers_are_those_of_the_logs():
    for lines in held():
        name = lines[0].split("\t")[1]
        printed = (ORIGINALS / "data" / name).read_text(encoding="utf-8")
        assert [*make["rows"](name, printed)] == lines
    assert len(held()) == len([*(ORIGINALS / "data").glob("*.txt")])


@original
def test_our_own_captures_are_what_was_captured():
    facts = ORIGINALS / "facts"
    for theirs, ours in ((facts / "evidence", BOOTS), (facts / "tables", TABLES)):
        for path in (path for path in ours.rglob("*.*z") if path.is_file()):
            plain = path.relative_to(ours).with_name(path.name.removesuffix(".xz"))
            assert content(ours / plain) == content(theirs / plain)


@original
def test_what_is_told_of_our_captures_is_what_was_noted():
    for path in TABLES.rglob("tables.json"):
        ours = json.loads(text_of(path))
        noted = json.loads(text_of(ORIGINALS / "facts" / "tables" / path.parent.name / path.name))
        assert {key: noted[key] for key in ours} == ours
