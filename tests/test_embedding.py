import numpy as np
import pytest

from jadro import _core
from jadro.testing.cases import embedding


@pytest.mark.parametrize("case", embedding.CASES, ids=str)
def test_matches_the_reference(case, backend, dtype):
    backend.check(case, dtype)


@pytest.mark.parametrize("bad", [7, -1, 2**40, -(2**63)])
def test_id_out_of_range_names_it_and_writes_nothing(bad, dtype):
    ids = np.array([1, bad, 2])
    weight, y, dweight = np.zeros((7, 4), dtype), np.full((3, 4), 5, dtype), np.full((7, 4), 5, dtype)
    with pytest.raises(ValueError, match=f"embedding.*ids.*{bad}"):
        _core.embedding_forward(weight, ids, y)
    with pytest.raises(ValueError, match=f"embedding.*ids.*{bad}"):
        _core.embedding_backward(y, ids, dweight, -1)
    assert (y == 5).all() and (dweight == 5).all()
