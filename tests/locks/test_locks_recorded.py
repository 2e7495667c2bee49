"""A browser that cannot run several processors shows recorded searches: they are what a search finds."""

from dataclasses import replace

import pytest

import efimm
from efimm import locks
from efimm.locks.recorded import cases, recorded_search
from efimm.locks.turns import NoStacksError


@pytest.mark.parametrize(("history", "story", "xen"), list(cases()))
def test_what_is_recorded_is_what_is_found(history, story, xen):
    assert replace(recorded_search(history, story, xen), recorded=False) == locks.search_history(
        history, story, xen=xen
    )


def test_a_recorded_search_says_that_it_is_one(monkeypatch):
    found = str(locks.search_history("a79e53d8^", "flush"))
    monkeypatch.setattr(locks, "can_switch", lambda: False)

    said = str(locks.search_history("a79e53d8^", "flush"))

    assert "recorded" in said
    assert said.startswith(found.removesuffix(")"))
    assert max(map(len, said.splitlines())) <= 72


def test_what_was_not_recorded_is_said(monkeypatch):
    monkeypatch.setattr(locks, "can_switch", lambda: False)

    with pytest.raises(NoStacksError, match="'fork' was not recorded"):
        locks.search_history("a79e53d8^", "fork")
    assert not locks.search_history(efimm.KERNELS["3.8"], "flush").recorded  # one's own is run, or refuses by itself
