"""What tests/kernels/mutations.py says of itself holds: each change moves the answer as the kernel's C predicts."""

import pytest
from mutations import MUTATIONS


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_the_answer_moves_as_the_c_says(mutation):
    assert mutation.run() == mutation.expected
    assert mutation.expected[0] != mutation.expected[1]
