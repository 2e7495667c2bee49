"""The benchmark's questions have right answers, and the benchmark runs; no time is asserted anywhere."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import addresses, image, subject
from benchmarks.__main__ import main
from benchmarks.clock import Timing
from benchmarks.peers import PEERS, Absent, Peer, Ready, start, textbook
from benchmarks.report import WIDTH, Row, Section, at_least, at_most, tally
from benchmarks.workloads import Plan, contest, extents
from efimm.x86 import walk

SAMPLE = 3000
TINY = Plan(
    rounds=1,
    size=image.SMALL,
    addresses=400,
    batches=(300, 600),
    lazy_batch=500,
    rams=("1G", "3G", "64T"),
    nodes=(5,),
    processes=(20, 100),
)


@pytest.fixture(scope="module")
def small():
    return image.build(image.SMALL)


@pytest.fixture(scope="module")
def memory(small):
    return subject.load(small)


@pytest.fixture(scope="module", params=["hit", "mix"])
def questions(request, small):
    return getattr(addresses, request.param)(small.leaves, SAMPLE)


def answers(questions):
    return [None if fault else pa for pa, fault in zip(questions.pa.tolist(), questions.fault_shift, strict=True)]


# the image


def test_the_full_image_is_the_one_of_the_targets():
    full = image.build()

    assert len(full.memory) == 256 << 20
    assert [int((full.leaves.shift == shift).sum()) for shift in (12, 21, 30)] == [1_507_408, 3_672, 88]
    assert len(full.pfns) == pytest.approx(7_422, rel=0.02)
    assert len(set(full.pfns.tolist())) == len(full.pfns)
    assert abs(np.corrcoef(full.pfns[:-1], full.pfns[1:])[0, 1]) < 0.1, "the tables lie in order"


def test_the_same_seed_gives_the_same_bytes(small):
    assert image.build(image.SMALL).memory[:] == small.memory[:]
    assert image.build(image.SMALL, seed=1).memory[:] != small.memory[:]


def test_no_two_pages_of_the_mapping_list_overlap(small):
    ends = small.leaves.va + (np.uint64(1) << small.leaves.shift.astype(np.uint64))

    assert (ends[:-1] <= small.leaves.va[1:]).all()


# the expectations


def test_hits_are_60_25_15_and_a_fifth_of_the_mix_are_faults_at_every_level(small):
    hit, mix = addresses.hit(small.leaves, 20_000), addresses.mix(small.leaves, 20_000)
    page = np.searchsorted(small.leaves.va, hit.va & np.uint64(image.LOW_48), "right") - 1
    shares = [np.mean(small.leaves.shift[page] == shift) for shift in (12, 21, 30)]

    assert shares == pytest.approx([0.60, 0.25, 0.15], abs=0.02)
    assert [int((mix.fault_shift == shift).sum()) for shift in (0, 12, 21, 30, 39)] == [16_000, *[1_000] * 4]


def test_the_scalar_walk_finds_what_the_mapping_list_says(small, memory, questions):
    walks = [walk(memory, small.root, va) for va in questions.va.tolist()]

    assert [found.pa for found in walks] == answers(questions)
    assert {found.problem for found in walks if found.pa is None} <= {"not present"}
    ends = [found.last.level.shift if found.pa is None else 0 for found in walks]
    assert ends == questions.fault_shift.tolist()


def test_the_batch_walk_finds_what_the_mapping_list_says(small, memory, questions):
    assert questions.wrong(*subject.arrays(memory, small.root, questions.va)) == 0
    assert subject.lists(memory, small.root, questions.va.tolist()) == answers(questions)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: f"{peer.name}{peer.variant}")
def test_each_peer_finds_what_the_mapping_list_says(small, peer, questions):
    ready = start(peer, small)
    if isinstance(ready, Absent):
        pytest.skip(f"{peer.name}: {ready.reason}")

    assert ready.translate(questions.va.tolist()) == answers(questions)


def test_every_kind_of_wrong_answer_is_counted(small):
    questions = addresses.mix(small.leaves, SAMPLE)
    right = answers(questions)
    hit, fault = right.index(next(pa for pa in right if pa)), right.index(None)

    def count(place, answer):
        return questions.wrong_in([*right[:place], answer, *right[place + 1 :]])

    assert questions.wrong_in(right) == 0
    assert (count(hit, right[hit] + 1), count(hit, None), count(fault, 0), count(fault, 5)) == (1, 1, 1, 1)


# the contest


def test_a_peer_that_is_missing_or_fails_or_is_wrong_is_left_out_and_says_why(small, monkeypatch, memory):
    def missing(_):
        raise ModuleNotFoundError("No module named 'nobody'")

    def fails(_):
        raise AttributeError("no such call")

    def load_liar(_):
        return lambda vas: [0 for _ in vas]

    peers = [Peer(name, "", 1, load, ours=True) for name, load in (("a", missing), ("b", fails), ("c", load_liar))]
    monkeypatch.setattr(contest, "PEERS", (*peers, textbook.PEER))
    found = contest.Contest.of(small, TINY)

    assert [type(peer) for peer in found.peers] == [Absent, Absent, Absent, Ready]
    reasons = [peer.reason for peer in found.peers[:3]]
    assert reasons[:2] == ["not installed: No module named 'nobody'", "AttributeError: no such call"]
    assert reasons[2] == "800 of 800 are wrong: not timed"
    assert all(reason in found.who_is_right().text() for reason in reasons)


def test_a_wrong_answer_of_efimm_stops_everything(monkeypatch, capsys):
    right = subject.arrays

    def wrong(memory, root, vas):
        pas, mapped = right(memory, root, vas)
        return pas ^ np.uint64(0x1000), mapped

    monkeypatch.setattr(subject, "arrays", wrong)

    assert main([], TINY) == 1
    assert "translations are wrong" in capsys.readouterr().err


@pytest.mark.parametrize("shift", [12, 21, 30])
def test_the_check_of_the_extents_sees_one_wrong_entry(shift):
    wanted = extents.extents(3, shift)
    memory, root = extents.tables(wanted)
    extents.check(memory, root, wanted)
    found = walk(memory, root, wanted[1].start)
    memory.write_u64(found.last.pa, found.last.entry ^ 1 << 40)

    with pytest.raises(contest.WrongError):
        extents.check(memory, root, wanted)


# the figures that are no times


def test_the_files_of_a_run_are_those_whose_functions_are_called():
    program = [sys.executable, "-m", "benchmarks.files_of_a_run"]
    text = subprocess.check_output(program, cwd=Path(__file__).parents[2], text=True)
    files = re.findall(r"^ *[\d,]+  (\S+\.py)$", text, re.MULTILINE)

    assert {"run.py", "x86/pagewalk.py", "kernels/v3_5.py"} <= set(files)
    assert {"text.py", "kernels/v6_1.py"}.isdisjoint(files)
    assert f"{len(files)} files of efimm are touched" in text
    by_import, for_a_run = map(int, re.findall(r"^(\d+) modules are loaded", text, re.MULTILINE))
    assert by_import < len(files) < for_a_run


# the report


def test_a_tiny_run_says_everything_in_100_columns(tmp_path, capsys):
    assert main(["--json", str(tmp_path / "found.json")], TINY) == 0

    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= WIDTH
    data = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    rows = [row for section in data["sections"] for row in section["rows"]]
    assert {peer.name for peer in PEERS} <= {row["what"].split(" ")[0] for row in rows} | {"textbook loop"}
    assert all(row["note"] or row["best"] or row["ratio"] for row in rows)
    met = sum(row["verdict"] == "met" for row in rows)
    assert text.rstrip().endswith(f"{met} of {sum(bool(row['verdict']) for row in rows)} targets met")


def test_verdicts():
    two = Timing((2e-5, 4e-5))

    assert Row("", two, 3.0, target=at_most(3)).verdict == "met"
    assert Row("", two, 3.1, target=at_most(3)).verdict == "missed"
    assert Row("", two, 2.9, target=at_least(3)).verdict == "missed"
    assert Row("", two, target=at_most(20.5, "us")).verdict == "met"
    assert Row("", two, target=at_most(19.5, "us")).verdict == "missed"
    assert Row("", two, 3.0).verdict == Row("", note="not installed").verdict == ""
    assert tally(
        [Section("", (Row("", two, 1.0, target=at_most(3)), Row("", two, 4.0, target=at_most(3))))]
    ).startswith("1 of 2")
