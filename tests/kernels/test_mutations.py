"""What tests/kernels/mutations.py says of itself holds: each change moves the answer as the kernel's C predicts."""

from __future__ import annotations

import pytest
from mutations import MUTATIONS, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_the_answer_moves_as_the_c_says(mutation: Mutation) -> None:
    assert mutation.run() == mutation.expected
    assert mutation.expected[0] != mutation.expected[1]
