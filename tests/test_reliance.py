"""What a success leans on: the slot and the firmware that the argument of the thread names, each found by a run."""

from dataclasses import replace

import pytest

import efimm
from efimm import workers
from efimm.reliance import reliance, reliances


def found(kernel, firmware="edk2"):
    return reliance(efimm.run(efimm.machine("600G", firmware=firmware), kernel))


def test_robins_patch_leans_on_the_kernels_half_and_on_firmware_that_neither_looks_nor_leaves_the_table():
    leans = found("va-patch")

    assert leans.slot == 273
    assert {"own-table", "checks-pointer"} <= set(leans.fails_with)
    assert str(leans).startswith("va-patch relies on pgd[273]; fails with --firmware ")
    assert max(map(len, str(leans).splitlines())) <= 72


def test_hpas_plan_leans_on_the_slot_that_it_syncs_and_on_neither_of_the_two():
    leans = found("hpa-sync")

    assert leans.slot == 1
    assert not {"own-table", "checks-pointer"} & set(leans.fails_with)


def test_firmware_on_a_table_of_its_own_needs_no_slot_of_the_kernels():
    leans = found("3.5", "own-table")

    assert leans.slot is None
    assert "edk2" in leans.fails_with
    assert "own-table" not in leans.fails_with


@pytest.mark.parametrize("arch", ["i386", "i386-pae"])
def test_without_paging_there_is_no_slot(arch):
    leans = reliance(efimm.run(efimm.machine("4G", arch=arch), "3.5"))

    assert leans.slot is None
    assert "relies on no slot" in str(leans)


def test_a_kernel_that_fails_nowhere_else_is_told_so():
    leans = replace(found("hpa-sync"), fails_with=())

    assert str(leans) == "hpa-sync relies on pgd[1]; works with every other firmware here, too"


@pytest.fixture
def successes():
    """Of two kernels of the suite, and of a reader's own between them."""
    own = replace(efimm.KERNELS["hpa-sync"], name="my own")
    return [efimm.run(efimm.machine("600G"), kernel) for kernel in ("va-patch", own, "hpa-sync")]


@pytest.mark.skipif(not workers.available(), reason="no processes here")
def test_other_processes_find_the_same(successes, monkeypatch):
    monkeypatch.setattr(workers, "processors", lambda: 2)
    asked = []
    answers = workers.answers
    monkeypatch.setattr(workers, "answers", lambda jobs, **options: asked.extend(jobs) or answers(jobs, **options))
    told = dict(reliances(successes))

    assert len(asked) == 2  # a reader's own kernel is not known by its name there
    assert [told[place] for place in range(3)] == [reliance(each) for each in successes]


def test_what_a_process_could_not_find_is_found_here(successes, monkeypatch):
    monkeypatch.setattr(workers, "processors", lambda: 2)
    monkeypatch.setattr(workers, "answers", lambda *_, **__: [(1, workers.Answer(trouble="its process was ended"))])

    assert [found.kernel for _, found in sorted(reliances(successes))] == ["va-patch", "my own", "hpa-sync"]
