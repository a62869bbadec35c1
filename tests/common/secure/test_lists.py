"""Which lists of sites may be told beside one another, against all that can be computed from their sums."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.secure.lists import too_few

LEAST = 3
SITES = "abcdefghi"
LISTS = st.lists(st.sets(st.sampled_from(SITES), min_size=LEAST), min_size=1, max_size=5)


@given(LISTS)
def test_no_combination_of_sums_that_were_let_through_is_over_fewer_sites(lists: list[set[str]]) -> None:
    """Whether a vector over few sites lies in the span of the lists is a question of ranks."""
    told: list[set[str]] = []
    for sites in lists:
        if not too_few(told, sites, LEAST):
            told.append(sites)
    rows = np.array([[float(site in sites) for site in SITES] for sites in told])
    rank = np.linalg.matrix_rank(rows)
    for size in range(1, LEAST):
        for few in combinations(range(len(SITES)), size):
            rest = np.delete(rows, few, axis=1)  # a combination that is 0 there and not 0 everywhere is over few
            assert np.linalg.matrix_rank(rest) == rank


@pytest.mark.parametrize(
    ("earlier", "new", "few"),
    [
        ([], "abc", ""),
        (["abcdef"], "abcdef", ""),
        (["abcdef"], "abcde", "f"),
        (["abcde"], "abcdef", "f"),
        (["abcdef"], "abc", ""),
        (["abcdef", "abc"], "def", ""),
        (["abcdef"], "abcd", "ef"),
        (["abcdef"], "defghi", ""),
    ],
)
def test_a_list_beside_others(earlier: list[str], new: str, few: str) -> None:
    assert "".join(sorted(too_few(earlier, new, LEAST))) == few
